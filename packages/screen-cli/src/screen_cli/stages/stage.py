"""What a stage is: one object that says what it reads, what its key depends on, and how it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast

from screen_cli.errors import RecordError
from screen_cli.plugins.records import PluginRecord
from screen_cli.store.record import Json, Record, Scalar, TypedRecord

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.config import RunSettings
    from screen_cli.crystal.born import BornTensors
    from screen_cli.crystal.structure import Structure

AnyRecord = TypedRecord | Record
RecordT = TypeVar("RecordT", bound=AnyRecord)


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
    """

    structure: Structure
    settings: RunSettings
    force_field: ForceField
    records: Mapping[str, AnyRecord]
    scalars: Mapping[str, Scalar | None]
    born: BornTensors | None = None

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


class Stage(ABC, Generic[RecordT]):
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
    """

    name: str
    record_class: ClassVar[type[AnyRecord]]
    version: int = 1
    prefixes_columns: bool = False

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """Stages whose records it reads."""

    @abstractmethod
    def depends(self, inputs: Inputs) -> Json:
        """Give the settings and plugin identities its result depends on, besides the records it reads."""

    @abstractmethod
    def run(self, inputs: Inputs) -> RecordT:
        """Compute the record: a pure function of the inputs."""

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why the crystal goes no further, from the values of the record; empty: it goes on."""
        return ""

    def keeps_arrays(self, settings: RunSettings) -> bool:
        """Whether the store keeps the arrays of the record."""
        return True


def plugin_identity(plugin: PluginRecord[object]) -> list[str]:
    """Give what makes a plugin's results its own; where its code lies does not."""
    return [plugin.name, plugin.distribution, plugin.version]


def options_identity(options: Mapping[str, object]) -> Json:
    """Options of a plugin as part of a key; those that JSON does not hold are refused where the key is made."""
    return cast("Json", options)
