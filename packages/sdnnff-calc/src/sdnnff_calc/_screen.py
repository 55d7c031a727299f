"""What sdnnff-calc offers to screen-cli: its calculator, its trainer, its command.

Only the host imports this module, and nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin, CommandPlugin, TrainerPlugin

_CITATION = "Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3"


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Offer ``sdnnff``, whose option ``path`` names a checkpoint, and the committee of the bundled weights."""
    yield CalculatorPlugin(
        name="sdnnff",
        summary="Spatial-density neural-network force field, grid or equivariant; path = a checkpoint",
        factory="sdnnff_calc.calculators.sdnnff:SDNNFF",
        licence="BSD-3-Clause",
        citation=_CITATION,
        pip="sdnnff-calc",
        requires=("torch", "e3nn", "vesin"),
    )
    yield CalculatorPlugin(
        name="sdnnff-committee",
        summary="The five bundled force fields, or models = [checkpoints]: their mean and disagreement",
        factory="sdnnff_calc.calculators.committee_calculator:SDNNFFCommittee",
        licence="BSD-3-Clause",
        citation=_CITATION,
        pip="sdnnff-calc",
        requires=("torch", "e3nn", "vesin"),
    )


@hookimpl
def screen_trainers() -> Iterator[TrainerPlugin]:
    """Offer the training of committees."""
    yield TrainerPlugin(
        name="sdnnff",
        summary="Train committees of spatial-density force fields",
        factory="sdnnff_calc.training.trainer:Trainer",
        licence="BSD-3-Clause",
        citation=_CITATION,
        pip="sdnnff-calc",
    )


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Offer ``screen-cli sdnnff``, the same as the command ``sdnnff``."""
    yield CommandPlugin(
        name="sdnnff",
        summary="Train, fine-tune and evaluate the sdnnff force field",
        factory="sdnnff_calc.cli:main",
        pip="sdnnff-calc",
    )
