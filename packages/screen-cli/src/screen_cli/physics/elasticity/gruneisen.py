r"""Mode Grüneisen tensors: strain derivatives of phonon frequencies.

.. math:: \gamma^{kl}_{qs} = -\frac{1}{\omega_{qs}} \frac{\partial \omega_{qs}}{\partial \varepsilon_{kl}}
          = -\frac{1}{2 \omega_{qs}^2} \langle e_{qs} | \frac{\partial D(q)}{\partial \varepsilon_{kl}} | e_{qs} \rangle

at fixed fractional q, with the ions relaxed at each strain; γ^kl is taken symmetric. D is linear in the force
constants, so a finite difference of these, [Φ(ε) − Φ(−ε)]/2, put on the unstrained lattice gives the derivative of D
itself: no bands have to be followed, and nothing depends on the basis of a degenerate set but its own split.

References
----------
T. H. K. Barron, J. G. Collins and G. K. White, Adv. Phys. 29, 609 (1980), doi:10.1080/00018738000101426.
The formula of fc3 is phono3py's (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError


@dataclass(frozen=True)
class ModeGruneisen:
    """Grüneisen tensors of the modes at irreducible q points.

    Parameters
    ----------
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    weights : ndarray
        int64 (n_irr,), multiplicity in the mesh.
    frequencies : ndarray
        float64 (n_irr, n_bands), THz.
    tensors : ndarray
        float64 (n_irr, n_bands, 3, 3), symmetric, dimensionless, Cartesian. Zero for the translations at Γ. From
        strains that keep the symmetry only this part of each tensor is known, which is all that α needs.
    translations : ndarray
        bool (n_irr, n_bands), True for the three translations at Γ, which have neither frequency nor γ.
    """

    qpoints: NDArray[np.float64]
    weights: NDArray[np.int64]
    frequencies: NDArray[np.float64]
    tensors: NDArray[np.float64]
    translations: NDArray[np.bool_]

    @property
    def volumetric(self) -> NDArray[np.float64]:
        """γ = −∂ln ω/∂ln V under isotropic strain, (n_irr, n_bands): a third of the trace."""
        mean: NDArray[np.float64] = np.trace(self.tensors, axis1=2, axis2=3) / 3
        return mean

    def with_tensors(self, tensors: NDArray[np.float64]) -> ModeGruneisen:
        """Put tensors (n_irr, n_bands, 3, 3) on these modes; translations get none.

        Raises
        ------
        PhysicsError
            A tensor is not finite.
        """
        tensors = np.where(self.translations[..., None, None], 0.0, tensors)
        if not np.isfinite(tensors).all():
            raise PhysicsError("a Grüneisen tensor is not finite: a mode away from Γ has zero frequency.")
        return replace(self, tensors=tensors)


def relative_shifts(
    squares: NDArray[np.float64],
    eigenvectors: NDArray[np.complex128],
    derivatives: NDArray[np.complex128],
    moving: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """−⟨e|∂D|e⟩/2ω² of the modes at one q, for each derivative of the dynamical matrix.

    Parameters
    ----------
    squares : ndarray
        float64 (n_bands,), ω² in any unit.
    eigenvectors : ndarray
        complex128 (3 n_atoms, n_bands), columns are modes.
    derivatives : ndarray
        complex128 (n_derivatives, 3 n_atoms, 3 n_atoms), in the unit of ω².
    moving : ndarray
        bool (n_bands,), False for translations.

    Returns
    -------
    ndarray
        float64 (n_bands, n_derivatives), zero for translations.
    """
    expected = np.einsum("is,nij,js->sn", eigenvectors.conj(), derivatives, eigenvectors).real
    values = np.zeros(expected.shape)
    values[moving] = -0.5 * expected[moving] / squares[moving, None]
    return values
