"""Disagreement of a committee, as pure array maths (no ASE, no files).

With :math:`f_i^m` the force on atom *i* by model *m* and :math:`\\langle\\cdot\\rangle` the plain mean over
the models (population mean, no Bessel correction), Eq. 3 of [1]_ reads

.. math:: \\varepsilon_i = \\sqrt{\\langle \\|f_i^m - \\langle f_i \\rangle\\|^2 \\rangle}

Everything here is translation-safe: members are compared after subtracting the first one, so that clones
give a spread of exactly zero and not of one rounding error.

References
----------
.. [1] Rodriguez et al., Commun. Mater. 4, 61 (2023), Eq. 3, doi:10.1038/s43246-023-00390-3
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["committee_mean", "force_deviation", "scalar_spread", "supercell_score", "tensor_spread"]

FloatArray = NDArray[np.float64]


def _centred(values: ArrayLike, ndim: int | None, what: str) -> tuple[FloatArray, FloatArray]:
    """Mean over the leading axis and the departures from it, exact for clones."""
    array = np.asarray(values, dtype=np.float64)
    if (ndim is not None and array.ndim != ndim) or array.ndim < 1 or array.shape[0] < 1:
        expected = f"{ndim} axes" if ndim is not None else "at least one axis"
        raise ValueError(
            f"{what} have shape {array.shape}, expected {expected} with n_models >= 1 first. "
            "Stack the members along axis 0."
        )
    departures = array - array[0]  # mabc...
    offset = departures.mean(axis=0)
    return array[0] + offset, departures - offset


def committee_mean(values: ArrayLike) -> FloatArray:
    """Average a quantity over the members, exactly the first member's value when all are equal.

    Parameters
    ----------
    values : ArrayLike, float64, shape (n_models, ...)
        Any unit.

    Returns
    -------
    NDArray[np.float64]
        shape ``(...)``, same unit.

    Raises
    ------
    ValueError
        With no member along axis 0.
    """
    return _centred(values, None, "committee values")[0]


def force_deviation(forces: ArrayLike) -> FloatArray:
    """Measure how far the members' forces lie from their mean on every atom (Eq. 3 of the SDNNFF paper).

    ``eps[i] = sqrt(mean_m sum_xyz (forces[m, i] - mean_m forces[:, i])**2)``

    Parameters
    ----------
    forces : ArrayLike, float64, shape (n_models, n_atoms, 3), eV/Å

    Returns
    -------
    NDArray[np.float64]
        shape ``(n_atoms,)``, eV/Å, ≥ 0; zero for one member and for clones.

    Raises
    ------
    ValueError
        When the array does not have shape ``(n_models, n_atoms, 3)``.

    References
    ----------
    Rodriguez et al., Commun. Mater. 4, 61 (2023), Eq. 3, doi:10.1038/s43246-023-00390-3
    """
    array = np.asarray(forces, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"committee forces have shape {array.shape}, expected (n_models, n_atoms, 3). "
            "Stack the members' forces along axis 0."
        )
    _, departures = _centred(array, 3, "committee forces")
    deviation: FloatArray = np.sqrt((departures**2).sum(axis=2).mean(axis=0))
    return deviation


def scalar_spread(values: ArrayLike) -> float | FloatArray:
    """Give the standard deviation over the members of a quantity, component by component.

    Parameters
    ----------
    values : ArrayLike, float64, shape (n_models, ...)
        Any unit (energies in eV, frequencies in THz, κ in W/(m·K)).

    Returns
    -------
    float or NDArray[np.float64]
        Population standard deviation, shape ``(...)``; a float for shape ``(n_models,)``.

    Raises
    ------
    ValueError
        With no member along axis 0.
    """
    _, departures = _centred(values, None, "committee values")
    spread = np.sqrt((departures**2).mean(axis=0))
    return float(spread) if spread.ndim == 0 else spread


def tensor_spread(stresses: ArrayLike) -> float:
    """Measure the disagreement about a stress tensor by one rotation-invariant number.

    The analogue of Eq. 3 with the Frobenius norm of the 3×3 tensor; off-diagonal Voigt components count
    twice, as they stand twice in the tensor.

    Parameters
    ----------
    stresses : ArrayLike, float64, shape (n_models, 6), eV/Å³
        ASE's Voigt order xx yy zz yz xz xy.

    Returns
    -------
    float
        eV/Å³, ≥ 0.

    Raises
    ------
    ValueError
        When the array does not have shape ``(n_models, 6)``.
    """
    array = np.asarray(stresses, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 6:
        raise ValueError(f"committee stresses have shape {array.shape}, expected (n_models, 6) in Voigt order.")
    _, departures = _centred(array, 2, "committee stresses")
    weights = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    return float(np.sqrt((departures**2 * weights).sum(axis=1).mean()))


def supercell_score(deviation: ArrayLike, percentile: float = 100.0) -> float:
    """Reduce the deviations of one supercell's atoms to one score.

    Parameters
    ----------
    deviation : ArrayLike, float64, shape (n_atoms,), eV/Å
        From :func:`force_deviation`.
    percentile : float
        100 gives the paper's max_i ε_i; a smaller one is blind to a single odd atom.

    Returns
    -------
    float
        eV/Å.

    Raises
    ------
    ValueError
        For no atom, or a percentile outside 0–100.
    """
    array = np.asarray(deviation, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"deviations have shape {array.shape}, expected (n_atoms,) with at least one atom.")
    if not 0.0 <= percentile <= 100.0:
        raise ValueError(f"percentile is {percentile}, expected 0 to 100.")
    return float(array.max()) if percentile == 100.0 else float(np.percentile(array, percentile))
