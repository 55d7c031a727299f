"""The stage ``renormalise``: which crystals go on at temperatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.expression import evaluate as evaluate_expression
from screen_cli.store.record import Json, TypedRecord


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection(TypedRecord):
    """Whether the force constants of a crystal are sought at temperatures.

    Parameters
    ----------
    selected : bool
    reason : str
        Why not; empty where they are.
    """

    selected: bool
    reason: str


@dataclass(frozen=True)
class SelectWarm(Stage[Selection]):
    """The stage: columns in, decision out.

    Parameters
    ----------
    sees : tuple of str
        Stages whose columns its expression may name.
    """

    name: str = "renormalise"
    sees: tuple[str, ...] = ("relax", "displace", "force_constants", "harmonic")
    branch: str = "renormalise"
    prefixes_columns: bool = True
    record_class: ClassVar[type[Selection]] = Selection

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose columns it sees."""
        return self.sees

    def depends(self, inputs: Inputs) -> Json:
        """Give the choice."""
        return inputs.settings.renormalise.select

    def run(self, inputs: Inputs) -> Selection:
        """Decide."""
        wanted = inputs.settings.renormalise.select
        if wanted == "all":
            return Selection(selected=True, reason="")
        if wanted == "unstable":
            selected = not inputs.scalars["stable"]
            return Selection(selected=selected, reason="" if selected else "stable at 0 K")
        selected = evaluate_expression(wanted, inputs.scalars)
        return Selection(selected=selected, reason="" if selected else f"not ({wanted})")

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why it is not selected."""
        return str(data["reason"])
