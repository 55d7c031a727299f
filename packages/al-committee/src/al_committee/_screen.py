"""What al-committee offers to screen-cli; the only file that knows the host, and only the host imports it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from screen_cli.errors import ScreenError
from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.manager import installed_plugins
from screen_cli.plugins.records import CalculatorPlugin, CommandPlugin, PropertyPlugin

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

    from al_committee.committee.protocols import Trainer

__all__ = ["registered_calculator", "run_al", "screen_calculators", "screen_commands", "screen_properties"]


class RegisteredNames:
    """What screen-cli knows by name, for a loop's configuration."""

    def trainer(self, name: str, options: Mapping[str, object]) -> Trainer:
        """Make a registered trainer.

        Raises
        ------
        ConfigError
            No such trainer, or it does not take the options.
        """
        from al_committee.errors import ConfigError

        try:
            trainer = installed_plugins().get("trainers", name).load()(**options)
        except (ScreenError, TypeError, ValueError, ImportError) as error:
            raise ConfigError(f"training.trainer = {name!r}: {error}") from error
        return cast("Trainer", trainer)

    def calculator(self, name: str) -> tuple[str, Mapping[str, object]]:
        """Give what makes a registered calculator in any process of this environment."""
        from al_committee.errors import ConfigError

        if not name.startswith("ase:"):
            try:
                installed_plugins().get("calculators", name)
            except ScreenError as error:
                raise ConfigError(f"labels.factory = {name!r}: {error}") from error
        return "al_committee._screen:registered_calculator", {"name": name}

    def crystals(self, name: str, options: Mapping[str, object]) -> Iterable[tuple[str, Atoms, str]]:
        """Yield (id, cell, prototype) from a registered source of structures."""
        from al_committee.errors import ConfigError
        from screen_cli.crystal.structure import RejectedStructure

        try:
            for structure in installed_plugins().get("structure_sources", name).load()(**options):
                if isinstance(structure, RejectedStructure):
                    logger.warning("pool: %s is left out: %s", structure.provider_id, structure.reason)
                    continue
                prototype = str(structure.metadata.get("prototype") or "")
                yield structure.provider_id, structure.atoms, prototype
        except (ScreenError, TypeError, ValueError) as error:
            raise ConfigError(f"pool.source = {name!r}: {error}") from error


def registered_calculator(name: str, options: Mapping[str, object]) -> GetPropertiesMixin:
    """Make a registered calculator, in this process or a worker's."""
    from screen_cli.calculators.registered import make_calculator

    calculator: GetPropertiesMixin = make_calculator(name, options)
    return calculator


def run_al(argv: Sequence[str]) -> int:
    """Run ``screen-cli al``: al-committee's own command line, which learns the names that screen-cli knows."""
    from al_committee.cli import main

    return main(argv, names=RegisteredNames())


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Offer the active-learning loop as ``screen-cli al``."""
    yield CommandPlugin(
        name="al",
        summary="Active learning: committee, selection, labelling, the closed loop.",
        factory="al_committee._screen:run_al",
    )


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Offer the committee of several force fields as one calculator."""
    yield CalculatorPlugin(
        name="committee",
        summary="Mean of several force fields, with their disagreement per atom (Eq. 3).",
        factory="al_committee.committee.ensemble_factory:make_committee",
        licence="BSD-3-Clause (the members keep their own)",
        citation="Rodriguez et al., Commun. Mater. 4, 61 (2023), doi:10.1038/s43246-023-00390-3",
    )


@hookimpl
def screen_properties() -> Iterator[PropertyPlugin]:
    """Offer intervals from the members' forces, when the calculator is a committee."""
    yield PropertyPlugin(
        name="kappa_interval",
        version="2",
        summary="κ ± σ: every member's forces through fit and conductivity",
        needs=("displace", "forces", "force_constants", "conductivity"),
        recomputes=True,
        columns=(
            ("kappa_p_sigma_w_mk", "standard deviation of κ_P over the members, W/(m K)"),
            ("kappa_c_sigma_w_mk", "the same of κ_C, W/(m K); empty without coherences"),
            ("kappa_total_sigma_w_mk", "the same of κ_total, W/(m K)"),
            ("kappa_interval_factor", "one standard deviation of ln κ_total, as a factor"),
            ("n_kappa_members", "members whose κ counts"),
            ("kappa_interval_warning", "why the others were left out"),
        ),
        factory="al_committee.committee.intervals:kappa_interval",
    )
    yield PropertyPlugin(
        name="frequency_interval",
        version="2",
        summary="Frequencies ± σ, and the share of members for which the crystal is stable",
        needs=("displace", "forces", "force_constants", "harmonic"),
        recomputes=True,
        columns=(
            ("frequency_sigma_thz", "root mean square of the modes' standard deviations over the members, THz"),
            ("min_frequency_sigma_thz", "standard deviation of the lowest frequency, THz"),
            ("max_msd_sigma", "the same of the largest mean square displacement, Å²"),
            ("cv_sigma_j_mol_k", "the same of c_v, J/(mol K)"),
            ("stable_share", "share of the members for which the crystal is stable"),
        ),
        factory="al_committee.committee.intervals:frequency_interval",
    )
