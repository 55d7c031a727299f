"""The gate: which crystals go on to the conductivity, and which of those held back are computed all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from screen_cli.config import GateSettings
from screen_cli.crystal.metadata import SOURCE_COLUMNS
from screen_cli.settings_file import settings_to_dict
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.expression import evaluate
from screen_cli.store.record import Json, Scalar, TypedRecord


@dataclass(frozen=True, kw_only=True, eq=False)
class GateDecision(TypedRecord):
    """Whether a crystal goes on.

    Parameters
    ----------
    passed_gate : bool
    gate_audited : bool
        Held back by the expression, and drawn to go on all the same.
    gate_reason : str
        Why it is held back; empty where it is not.
    """

    passed_gate: bool
    gate_audited: bool
    gate_reason: str


@dataclass(frozen=True)
class Gate(Stage[GateDecision]):
    """The stage: columns of the crystal in, decision out.

    Parameters
    ----------
    sees : tuple of str
        Stages whose columns its expression may name.
    plain : tuple of str
        Those of them whose columns it knows without their name in front.
    """

    name: str = "gate"
    sees: tuple[str, ...] = ("relax", "displace", "force_constants", "harmonic")
    plain: tuple[str, ...] = ()
    prefixes_columns: bool = False
    record_class: ClassVar[type[GateDecision]] = GateDecision

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose columns it sees."""
        return self.sees

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings, and metadata of the source that the expression may name."""
        settings = settings_to_dict(inputs.settings.gate)
        settings.pop("audit_target")  # says how results are counted, not which there are
        settings.pop("after_relaxation")  # stops crystals before this gate
        settings.pop("before_third_order")  # says which stages it reads, which its key has already
        return [settings, _of_the_source(inputs)]

    def run(self, inputs: Inputs) -> GateDecision:
        """Decide."""
        scalars = dict(inputs.scalars)
        for stage in self.plain:
            front = f"{stage}_"
            scalars |= {name.removeprefix(front): value for name, value in scalars.items() if name.startswith(front)}
        return decide(inputs.settings.gate, scalars, inputs.structure.id)

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why the crystal is held back."""
        return "" if data["passed_gate"] else str(data["gate_reason"])


@dataclass(frozen=True)
class GateOfRelaxed(Stage[GateDecision]):
    """The stage: columns of the relaxed crystal in, decision out; what is held back costs no supercell.

    Parameters
    ----------
    sees : tuple of str
        ``relax``, and the properties that need no more.
    """

    name: str = "relax_gate"
    sees: tuple[str, ...] = ("relax",)
    prefixes_columns: bool = True
    record_class: ClassVar[type[GateDecision]] = GateDecision

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose columns it sees."""
        return self.sees

    def depends(self, inputs: Inputs) -> Json:
        """Give the expression, and metadata of the source that it may name."""
        return [inputs.settings.gate.after_relaxation, _of_the_source(inputs)]

    def run(self, inputs: Inputs) -> GateDecision:
        """Decide."""
        expression = inputs.settings.gate.after_relaxation
        passes = bool(evaluate(expression, inputs.scalars))
        reason = "" if passes else f"gated: not ({expression})"
        return GateDecision(passed_gate=passes, gate_audited=False, gate_reason=reason)

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why the crystal is held back."""
        return "" if data["passed_gate"] else str(data["gate_reason"])


def _of_the_source(inputs: Inputs) -> dict[str, Json]:
    """Metadata of the source that an expression may name."""
    metadata = inputs.structure.metadata
    return {name: metadata[name] for name in SOURCE_COLUMNS if name in metadata}


def decide(settings: GateSettings, scalars: Mapping[str, Scalar | None], structure_id: str) -> GateDecision:
    """Decide about one crystal.

    Parameters
    ----------
    settings : GateSettings
    scalars : mapping of str to value
        Its columns; ``stable`` and ``min_frequency_thz`` among them.
    structure_id : str
        Which of those held back are drawn follows from it.

    Raises
    ------
    FilterError
        The expression cannot be parsed or names an unknown column.
    """
    if settings.require_stable and not scalars["stable"]:
        reason = f"unstable: lowest frequency {scalars['min_frequency_thz']:.3f} THz"
        return GateDecision(passed_gate=False, gate_audited=False, gate_reason=reason)
    if not settings.expression or evaluate(settings.expression, scalars):
        return GateDecision(passed_gate=True, gate_audited=False, gate_reason="")
    audited = is_drawn(structure_id, settings.audit_share, settings.audit_seed)
    reason = f"gated: not ({settings.expression})"
    return GateDecision(passed_gate=audited, gate_audited=audited, gate_reason=reason)


def is_drawn(structure_id: str, share: float, seed: int = 0) -> bool:
    """Draw a crystal with probability ``share``, the same way each time: from the hash of its id and the seed."""
    digest = hashlib.sha256(f"{seed}-{structure_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
