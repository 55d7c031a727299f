"""SRD, SRE and SRME of plain arrays, for a host that keeps its own records."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phon_wigner.conductivity.metrics import ModeConductivity, compare


def score_modes(result: Mapping[str, object], reference: Mapping[str, object]) -> dict[str, float]:
    """Compare two mode-resolved conductivities.

    Parameters
    ----------
    result, reference : mapping
        ``name``; ``temperature`` (K); ``kappa`` (W/(m K)); ``modes`` (n_qpoints, n_bands; W/(m K), weight of q
        inside); ``weights`` (n_qpoints,); ``qpoints`` (n_qpoints, 3); ``frequencies`` (n_qpoints, n_bands; THz).

    Returns
    -------
    dict[str, float]
        ``srd``, ``sre``, ``srme`` (:mod:`phon_wigner.conductivity.metrics`).

    Raises
    ------
    GridMismatchError
        Grids, weights, bands or temperatures differ, or the modes do not sum to κ.
    """
    comparison = compare(_modes(result), _modes(reference))
    return {"srd": comparison.srd, "sre": comparison.sre, "srme": comparison.srme}


def _modes(fields: Mapping[str, object]) -> ModeConductivity:
    """Check the fields of one conductivity."""
    return ModeConductivity(
        kappa=float(np.asarray(fields["kappa"], dtype=np.float64)),
        modes=np.asarray(fields["modes"], dtype=np.float64),
        weights=np.asarray(fields["weights"], dtype=np.int64),
        qpoints=np.asarray(fields["qpoints"], dtype=np.float64),
        frequencies=np.asarray(fields["frequencies"], dtype=np.float64),
        temperature=float(np.asarray(fields["temperature"], dtype=np.float64)),
        name=str(fields["name"]),
    ).checked()
