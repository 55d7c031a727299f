"""What a stage is: one object that says what it reads, what its key depends on, and how it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast

from screen_cli.config import RunSettings, override_settings
from screen_cli.errors import RecordError
from screen_cli.plugins.records import PluginRecord
from screen_cli.store.record import Json, Record, Scalar, TypedRecord

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.crystal.born import BornTensors
    from screen_cli.crystal.structure import Structure
    from screen_cli.store.interim import Interim

AnyRecord = TypedRecord | Record
RecordT = TypeVar("RecordT", bound=AnyRecord)
ResultT = TypeVar("ResultT", bound=AnyRecord, covariant=True)


class ForceField(Protocol):
    """The calculator of a run, and what makes its forces its own."""

    @property
    def calculator(self) -> BaseCalculator:
        """The ASE calculator; made when it is first needed."""

    def identity(self) -> Json:
        """Describe it so that two with equal descriptions give equal forces."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a stage may look at.

    Parameters
    ----------
    structure : Structure
        The crystal.
    settings : RunSettings
    force_field : ForceField
    records : mapping of str to record
        Of the stages it names in ``needs``.
    scalars : mapping of str to value
        Columns of all earlier stages.
    born : BornTensors or None
        Dielectric tensor and Born charges, in the frame and order of ``structure.atoms``.
    interim : Interim, optional
        Where a long stage keeps what it has so far; a calculation in memory has none.
    """

    structure: Structure
    settings: RunSettings
    force_field: ForceField
    records: Mapping[str, AnyRecord]
    scalars: Mapping[str, Scalar | None]
    born: BornTensors | None = None
    interim: Interim | None = None

    def record(self, stage: str, record_class: type[RecordT]) -> RecordT:
        """Return the record of an earlier stage.

        Raises
        ------
        RecordError
            It is of another class.
        """
        record = self.records[stage]
        if not isinstance(record, record_class):
            raise RecordError(f"'{stage}' gave a {type(record).__name__}, expected a {record_class.__name__}.")
        return record

    def born_dependence(self) -> Json:
        """Give what a key depends on where the non-analytical correction enters."""
        return None if self.born is None else [self.born.to_json(), self.settings.nac.method]


class Stage(ABC, Generic[ResultT]):
    """One step of the pipeline; its subclasses are frozen dataclasses, whose fields name the stages they read.

    Attributes
    ----------
    name : str
        Of its records on disk.
    needs : tuple of str
        Stages whose records it reads.
    record_class : type
        Of its result.
    version : int
        Part of the key; raised when the code changes the numbers.
    prefixes_columns : bool
        Its columns carry its name, as another stage has the plain ones.
    branch : str
        Branch of the pipeline it stands on, empty for the trunk: what stops a crystal on a branch stops it there, and
        on the branches of that branch (``renormalise/300k`` of ``renormalise``), and nowhere else.
    """

    name: str
    record_class: ClassVar[type[AnyRecord]]
    version: int = 1
    prefixes_columns: bool = False
    branch: str = ""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """Stages whose records it reads."""

    @abstractmethod
    def depends(self, inputs: Inputs) -> Json:
        """Give the settings and plugin identities its result depends on, besides the records it reads."""

    @abstractmethod
    def run(self, inputs: Inputs) -> ResultT:
        """Compute the record: a pure function of the inputs."""

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why the crystal goes no further, from the values of the record; empty: it goes on."""
        return ""

    def keeps_arrays(self, settings: RunSettings) -> bool:
        """Whether the store keeps the arrays of the record."""
        return True


@dataclass(frozen=True)
class Variant(Stage[RecordT]):
    """A stage on another branch, with some settings replaced.

    Parameters
    ----------
    of : Stage
        It has a name of its own.
    overrides : mapping of str to mapping
        Settings by table and key, e.g. ``{"harmonic": {"temperatures": [600.0]}}``.
    branch : str
    """

    of: Stage[RecordT]
    overrides: Mapping[str, Mapping[str, Json]]
    branch: str = ""
    prefixes_columns: bool = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the stage."""
        return self.of.name

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the stage."""
        return self.of.version

    @property
    def record_class(self) -> type[AnyRecord]:  # type: ignore[override]
        """Of the stage's result."""
        return self.of.record_class

    @property
    def needs(self) -> tuple[str, ...]:
        """Of the stage."""
        return self.of.needs

    def depends(self, inputs: Inputs) -> Json:
        """Give what the stage depends on, with these settings."""
        return self.of.depends(self._inputs(inputs))

    def run(self, inputs: Inputs) -> RecordT:
        """Run the stage with these settings."""
        return self.of.run(self._inputs(inputs))

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """As the stage says."""
        return self.of.reason_to_stop(data)

    def keeps_arrays(self, settings: RunSettings) -> bool:
        """As the stage says."""
        return self.of.keeps_arrays(settings)

    def _inputs(self, inputs: Inputs) -> Inputs:
        """Give inputs with these settings."""
        settings = override_settings(inputs.settings, self.overrides, f"settings of the stage {self.name}")
        return replace(inputs, settings=settings)


@dataclass
class Stops:
    """Where a crystal was stopped, branch by branch.

    Parameters
    ----------
    stages : sequence of Stage
        The pipeline.
    """

    stages: Sequence[Stage[AnyRecord]]
    reasons: dict[str, tuple[str, str]] = field(default_factory=dict)

    def passes_by(self, stage: Stage[AnyRecord]) -> bool:
        """Whether a stage does not run, as its branch, or the one it springs from, was stopped."""
        return any(_is_on(stage.branch, stopped) for stopped in self.reasons)

    def look(self, stage: Stage[AnyRecord], data: Mapping[str, Json]) -> None:
        """Note that a stage stops its branch, from the values of its record."""
        if reason := stage.reason_to_stop(data):
            self.reasons[stage.branch] = stage.name, reason

    def verdict(self) -> tuple[str, str]:
        """Stage and reason that stopped the crystal; empty where it came to the end of the trunk or of a branch."""
        branches = {stage.branch for stage in self.stages}
        ends = {end for end in branches if not any(other != end and _is_on(other, end) for other in branches)} | {""}
        if any(not any(_is_on(end, stopped) for stopped in self.reasons) for end in ends):
            return "", ""
        return self.reasons.get("") or next(iter(self.reasons.values()))


def _is_on(branch: str, stopped: str) -> bool:
    """Whether a branch is the stopped one or springs from it; what stops the trunk stops no branch."""
    return branch == stopped or (stopped != "" and branch.startswith(f"{stopped}/"))


def plugin_identity(plugin: PluginRecord[object]) -> list[str]:
    """Give what makes a plugin's results its own; where its code lies does not."""
    return [plugin.name, plugin.distribution, plugin.version]


def options_identity(options: Mapping[str, object]) -> Json:
    """Options of a plugin as part of a key; those that JSON does not hold are refused where the key is made."""
    return cast("Json", options)
