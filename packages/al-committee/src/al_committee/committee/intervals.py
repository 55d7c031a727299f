r"""κ ± σ and frequencies ± σ of one crystal in a screening run, from the members' forces.

The forces of every member go through the run's own fit of force constants, harmonic properties and conductivity;
σ is the standard deviation of what comes out, with n − 1. The value itself stays the one of the mean forces. For κ,
whose spread is closer to a factor, the logarithmic interval κ̄/f … κ̄·f is given too.

These are properties of the pipeline: functions of records, in which nothing of the host is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from al_committee.committee.propagation import PropagatedValue, propagate
from al_committee.errors import CommitteeMemberError

__all__ = ["FrequencyInterval", "KappaInterval", "frequency_interval", "kappa_interval"]

FloatArray = NDArray[np.float64]
Recompute = Callable[[Mapping[str, FloatArray], str], Mapping[str, object]]
"""``recompute(arrays, last_stage)`` gives the records of the stages from the fit to the last one named."""


class ForceSet(Protocol):
    """Forces on the supercells of one size."""

    @property
    def forces_committee(self) -> FloatArray | None:
        """float64 (n_models, n_supercells, n_atoms, 3), eV/Å; None of a single force field."""
        ...


class ForceRecord(Protocol):
    """Forces of a crystal, of the fc3 and of the fc2 supercells."""

    @property
    def supercells(self) -> ForceSet | None:
        """Of fc3."""
        ...

    @property
    def supercells_fc2(self) -> ForceSet | None:
        """Of fc2, where they are others."""
        ...


class ConductivityRecord(Protocol):
    """κ of a crystal, W/(m K)."""

    @property
    def n_imaginary_modes_ignored(self) -> int:
        """On the full mesh."""
        ...

    @property
    def kappa_p_w_mk(self) -> float:
        """Of the populations."""
        ...

    @property
    def kappa_c_w_mk(self) -> float | None:
        """Of the coherences; None where the solver has none."""
        ...

    @property
    def kappa_total_w_mk(self) -> float:
        """Of both."""
        ...

    @property
    def kappa_by_temperature(self) -> Mapping[str, list[float]]:
        """At every temperature, ``kappa_total`` among them."""
        ...


class HarmonicRecord(Protocol):
    """Harmonic properties of a crystal."""

    @property
    def weights(self) -> NDArray[np.int64]:
        """int64 (n_irr,)."""
        ...

    @property
    def frequencies(self) -> FloatArray:
        """float64 (n_irr, n_bands), THz."""
        ...

    @property
    def min_frequency_thz(self) -> float:
        """Lowest frequency, THz."""
        ...

    @property
    def max_msd(self) -> float:
        """Largest mean square displacement, Å²."""
        ...

    @property
    def cv_j_mol_k(self) -> float:
        """Heat capacity, J/(mol K)."""
        ...

    @property
    def stable(self) -> bool:
        """Whether no mode is imaginary."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class KappaInterval:
    """κ ± σ of one crystal, W/(m K), at the temperature of the κ columns; σ has n − 1.

    Parameters
    ----------
    kappa_p_sigma_w_mk, kappa_total_sigma_w_mk : float
        Of the populations, and of all.
    kappa_c_sigma_w_mk : float or None
        Of the coherences; None where the solver has none.
    kappa_interval_factor : float or None
        One standard deviation of ln κ_total as a factor; None when a member's κ is not positive.
    n_kappa_members : int
        Members that were kept.
    kappa_interval_warning : str
        Why others were left out; empty when none was.
    kappa_p_members_w_mk, kappa_total_members_w_mk : ndarray
        float64 (n_models,), W/(m K): of the members kept.
    kappa_c_members_w_mk : ndarray or None
        float64 (n_models,), W/(m K), likewise.
    kappa_total_sigma_by_temperature : ndarray
        float64 (n_temps,), W/(m K).
    """

    kappa_p_sigma_w_mk: float
    kappa_c_sigma_w_mk: float | None
    kappa_total_sigma_w_mk: float
    kappa_interval_factor: float | None
    n_kappa_members: int
    kappa_interval_warning: str
    kappa_p_members_w_mk: FloatArray
    kappa_c_members_w_mk: FloatArray | None
    kappa_total_members_w_mk: FloatArray
    kappa_total_sigma_by_temperature: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FrequencyInterval:
    """Harmonic properties ± σ of one crystal.

    Parameters
    ----------
    frequency_sigma_thz : float
        Root mean square over the modes of the mesh of each mode's σ, THz.
    min_frequency_sigma_thz : float
        Of the lowest frequency, THz.
    max_msd_sigma : float
        Of the largest mean square displacement, Å².
    cv_sigma_j_mol_k : float
        Of the heat capacity, J/(mol K).
    stable_share : float
        Share of the members for which the crystal is stable.
    min_frequency_members_thz : ndarray
        float64 (n_models,), THz: lowest frequency of each member.
    """

    frequency_sigma_thz: float
    min_frequency_sigma_thz: float
    max_msd_sigma: float
    cv_sigma_j_mol_k: float
    stable_share: float
    min_frequency_members_thz: FloatArray


def kappa_interval(records: Mapping[str, object], *, recompute: Recompute) -> KappaInterval:
    """Give κ an interval.

    Parameters
    ----------
    records : mapping of str to object
        ``forces`` with ``supercells.forces_committee`` (n_models, n_supercells, n_atoms, 3), eV/Å, and the same of
        ``supercells_fc2`` where there are such; ``conductivity`` of the mean forces.
    recompute : Recompute
        Sends forces through the run's stages.

    Raises
    ------
    CommitteeMemberError
        The run's calculator is no committee, or fewer than two members give a κ.
    """

    def evaluate(forces: Mapping[str, FloatArray]) -> dict[str, ArrayLike]:
        """Compute κ of one member; imaginary modes make its κ meaningless."""
        conductivity = cast("ConductivityRecord", recompute(forces, "conductivity")["conductivity"])
        if conductivity.n_imaginary_modes_ignored:
            raise ValueError(f"{conductivity.n_imaginary_modes_ignored} imaginary modes")
        return _kappas(conductivity)

    of_mean = cast("ConductivityRecord", records["conductivity"])
    values = propagate(_members(records), evaluate, nominal=_kappas(of_mean))
    populations, total, coherences = values["kappa_p_w_mk"], values["kappa_total_w_mk"], values.get("kappa_c_w_mk")
    return KappaInterval(
        kappa_p_sigma_w_mk=float(populations.std),
        kappa_c_sigma_w_mk=None if coherences is None else float(coherences.std),
        kappa_total_sigma_w_mk=float(total.std),
        kappa_interval_factor=float(total.logarithmic()[1]) if bool((total.members > 0).all()) else None,
        n_kappa_members=len(total.members),
        kappa_interval_warning=_reasons(total),
        kappa_p_members_w_mk=populations.members,
        kappa_c_members_w_mk=None if coherences is None else coherences.members,
        kappa_total_members_w_mk=total.members,
        kappa_total_sigma_by_temperature=values["by_temperature"].std,
    )


def frequency_interval(records: Mapping[str, object], *, recompute: Recompute) -> FrequencyInterval:
    """Give the harmonic properties an interval.

    Parameters
    ----------
    records : mapping of str to object
        ``forces`` as for :func:`kappa_interval`; ``harmonic`` of the mean forces.
    recompute : Recompute
        Sends forces through the run's stages.

    Raises
    ------
    CommitteeMemberError
        The run's calculator is no committee, or fewer than two members give frequencies.
    """

    def evaluate(forces: Mapping[str, FloatArray]) -> dict[str, ArrayLike]:
        """Harmonic properties of one member."""
        return _harmonic(cast("HarmonicRecord", recompute(forces, "harmonic")["harmonic"]))

    harmonic = cast("HarmonicRecord", records["harmonic"])
    values = propagate(_members(records), evaluate, nominal=_harmonic(harmonic))
    weights = np.asarray(harmonic.weights, dtype=np.float64)
    square = (values["frequencies"].std ** 2).mean(axis=1)
    return FrequencyInterval(
        frequency_sigma_thz=float(np.sqrt(np.average(square, weights=weights))),
        min_frequency_sigma_thz=float(values["min_frequency_thz"].std),
        max_msd_sigma=float(values["max_msd"].std),
        cv_sigma_j_mol_k=float(values["cv_j_mol_k"].std),
        stable_share=float(values["stable"].members.mean()),
        min_frequency_members_thz=values["min_frequency_thz"].members,
    )


def _members(records: Mapping[str, object]) -> Mapping[str, FloatArray]:
    """Members' forces under the names that the stages read."""
    record = cast("ForceRecord", records["forces"])
    sets = {"forces": record.supercells, "forces_fc2": record.supercells_fc2}
    found = {
        name: forces.forces_committee
        for name, forces in sets.items()
        if forces is not None and forces.forces_committee is not None
    }
    if not found:
        raise CommitteeMemberError(
            "the forces of this crystal come from a single force field, so there is no interval. Set calculator.name = "
            '"committee" with two members or more.'
        )
    return found


def _kappas(conductivity: ConductivityRecord) -> dict[str, ArrayLike]:
    """κ of a conductivity record, W/(m K)."""
    found = {name: getattr(conductivity, name) for name in ("kappa_p_w_mk", "kappa_c_w_mk", "kappa_total_w_mk")}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "by_temperature": conductivity.kappa_by_temperature["kappa_total"],
    }


def _harmonic(record: HarmonicRecord) -> dict[str, ArrayLike]:
    """Scalars and frequencies of a harmonic record."""
    names = ("min_frequency_thz", "max_msd", "cv_j_mol_k", "stable", "frequencies")
    return {name: getattr(record, name) for name in names}


def _reasons(value: PropagatedValue) -> str:
    """Why members were left out."""
    return "; ".join(f"member {index}: {reason}" for index, reason in sorted(value.failures.items()))
