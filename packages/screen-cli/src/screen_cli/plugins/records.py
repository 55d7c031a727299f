"""The frozen records that hooks yield: what a plugin tells the host about itself.

Every ``factory`` (``main`` for a command) is a lazy string ``"package.module:attribute"``. The host
imports it when the thing is used and not before, so that ``screen-cli --help`` imports neither torch nor
phono3py. Fields are only ever added, always with a default.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

from screen_cli.errors import MissingExtraError, PluginError

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.crystal.structure import RejectedStructure, Structure
    from screen_cli.plugins.protocols import (
        ConductivitySolver,
        Exporter,
        ForceConstantSolver,
        Metric,
        PropertyFunction,
    )

Factory = TypeVar("Factory", covariant=True)
CalculatorFactory: TypeAlias = "Callable[..., BaseCalculator]"
AnyFactory: TypeAlias = "Callable[..., object]"
SourceFactory: TypeAlias = "Callable[..., Iterable[Structure | RejectedStructure]]"
ForceConstantFactory: TypeAlias = "Callable[..., ForceConstantSolver]"
ConductivityFactory: TypeAlias = "Callable[..., ConductivitySolver]"
MetricFactory: TypeAlias = "Metric"
PropertyFactory: TypeAlias = "PropertyFunction"
ExporterFactory: TypeAlias = "Exporter"
CommandFactory: TypeAlias = "Callable[[list[str]], int | None]"


@dataclass(frozen=True, kw_only=True)
class PluginRecord(Generic[Factory]):
    """What every record has; the type of what ``factory`` names is that of the record's class.

    Parameters
    ----------
    name : str
        What a user types, lower case.
    summary : str
        One line for tables and help.
    factory : str
        Lazy ``"package.module:attribute"``.
    pip : str or None
        What to install when the factory's module cannot be imported, e.g. ``"screen-cli[sevennet]"``.
    version : str
        Part of the content key of every result: change it when the numbers change.
    distribution : str
        Name and version of the distribution that registered the record; filled in by the host.
    """

    name: str
    summary: str
    factory: str
    pip: str | None = None
    version: str = "1"
    distribution: str = ""

    def load(self) -> Factory:
        """Import and return what ``factory`` names.

        Raises
        ------
        MissingExtraError
            The module, or something it needs, is not installed; the message holds the pip line.
        PluginError
            The string is malformed or the attribute does not exist.
        """
        module_name, _, attribute = self.factory.partition(":")
        if not module_name or not attribute:
            raise PluginError(
                f"plugin '{self.name}' has factory '{self.factory}', expected 'package.module:attribute'."
            )
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            fix = f" Install it: pip install '{self.pip}'." if self.pip else ""
            raise MissingExtraError(f"'{self.name}' needs {error.name or module_name}: {error}.{fix}") from error
        try:
            factory: Factory = getattr(module, attribute)
            return factory
        except AttributeError as error:
            raise PluginError(f"plugin '{self.name}': module {module_name} has no '{attribute}'.") from error


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecipe:
    """How to make a Python environment for a force field or a property's program, for ``screen-cli env create``.

    Requirements are pip's, pinned to what was tried.

    Parameters
    ----------
    requirements : tuple of str
        Installed with their dependencies, in one step.
    before : tuple of str
        Installed in a step before: what the others need to build, or what decides which build they take.
    without_dependencies : tuple of str
        Installed last and without dependencies, where a package asks for what it does not need.
    python : ((int, int), (int, int))
        Lowest and highest version of Python.
    gigabytes : float
        On disk, about, with a torch for CPUs.
    weights : str
        ``"inside"`` where they come with a package, else what must be given, in a phrase.
    note : str
        What else a user should know.
    tested : str
        ``"forces"`` where forces were computed in it, ``"crystals"`` where a property was, ``"installed"`` where it was
        made and its modules imported, empty where only names and keywords were compared with the package.
    name : str
        Of the environment; empty: the plugin's.
    """

    requirements: tuple[str, ...]
    before: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    python: tuple[tuple[int, int], tuple[int, int]] = ((3, 11), (3, 14))
    gigabytes: float = 2.0
    weights: str = "inside"
    note: str = ""
    tested: str = ""
    name: str = ""

    def groups(self) -> list[tuple[str, ...]]:
        """Give the requirements by step, those without dependencies apart."""
        return [group for group in (self.before, self.requirements) if group]

    def all_requirements(self) -> tuple[str, ...]:
        """Give every requirement."""
        return (*self.before, *self.requirements, *self.without_dependencies)


@dataclass(frozen=True, kw_only=True)
class CalculatorPlugin(PluginRecord[CalculatorFactory]):
    """A force field: ``factory(**options) -> ase.calculators.calculator.BaseCalculator``.

    Parameters
    ----------
    licence, citation : str
        Of the weights or the code; shown to the user and written to the manifest.
    models : tuple of str
        Names accepted by the option ``model``; empty when there is no choice.
    downloads : str
        Empty when weights ship in a wheel; otherwise what would be downloaded and from whom.
    provides_stress : bool
        Whether the cell can be relaxed.
    requires : tuple of str
        Importable modules without which the factory cannot work, for ``plugins check``.
    environment : EnvironmentRecipe, optional
        How to make an environment for it, where it may not get on with others in one.
    """

    licence: str = ""
    citation: str = ""
    models: tuple[str, ...] = ()
    downloads: str = ""
    provides_stress: bool = True
    requires: tuple[str, ...] = ()
    environment: EnvironmentRecipe | None = None


@dataclass(frozen=True, kw_only=True)
class TrainerPlugin(PluginRecord[AnyFactory]):
    """Trains a force field from a labelled set: ``factory(**options)`` gives an object with ``train``.

    ``train(train_atoms, validation_atoms, *, workdir, seed, warm_start, n_members) -> list[path]`` and
    ``committee(paths)`` whose ``predict_committee(list[Atoms])`` returns ``{"forces": [(n_models, n_atoms,
    3), ...], "energies": (n_models, n_structures) or None}``.
    """

    licence: str = ""
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class StructureSourcePlugin(PluginRecord[SourceFactory]):
    """A source of crystals: ``factory(**options) -> Iterator[screen_cli.crystal.structure.Structure]``."""


@dataclass(frozen=True, kw_only=True)
class ForceConstantSolverPlugin(PluginRecord[ForceConstantFactory]):
    """Displacements and forces to force constants.

    ``factory(**options)`` returns a :class:`screen_cli.plugins.protocols.ForceConstantSolver`.

    Parameters
    ----------
    displacements : {"random", "finite-difference"}
        Which kind of displaced supercells the solver needs.
    citation : str
        What to cite.
    """

    displacements: Literal["random", "finite-difference"] = "random"
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class ConductivitySolverPlugin(PluginRecord[ConductivityFactory]):
    """Transport: ``factory(**options)`` returns a :class:`screen_cli.plugins.protocols.ConductivitySolver`.

    Parameters
    ----------
    coherences : bool
        Whether the result has ``kappa_c``.
    """

    coherences: bool = False
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricPlugin(PluginRecord[MetricFactory]):
    """A judgement of one conductivity against another: a :class:`screen_cli.plugins.protocols.Metric`.

    ``factory(result, reference)`` gives scores by name, from two
    :class:`screen_cli.plugins.protocols.ModeConductivity`. What cannot be compared raises ``ValueError``
    with one sentence.

    Parameters
    ----------
    citation : str
        What to cite.
    """

    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class PropertyPlugin(PluginRecord[PropertyFactory]):
    """A per-structure property: ``factory(records, **options)`` gives values by column.

    ``records`` maps stage names to the typed records of :mod:`screen_cli.stages`; another property is the stage
    ``property_<name>``, and naming it in ``needs`` runs it too. A property gives the typed record that it declares with
    ``record``; without one, whatever it gives (a dict of values, a frozen dataclass, a record) reaches others as
    :class:`screen_cli.store.record.Record`, values and arrays by name.

    Parameters
    ----------
    needs : tuple of str
        Stages whose records the property reads; it runs after the last of them.
    columns : dict of str to str
        Name of each scalar it returns, and its meaning with unit.
    uses_calculator : bool
        The function gets the force field of the run as keyword ``calculator``.
    recomputes : bool
        The function gets keyword ``recompute``: ``recompute(arrays, last_stage)`` sends other forces, under the
        names ``forces`` (n_supercells, n_atoms, 3) and ``forces_fc2``, through the run's own fit up to
        ``"force_constants"``, ``"harmonic"`` or ``"conductivity"`` and returns these records by stage. ``needs``
        must name ``displace`` and those stages. Nothing is stored, held out or left for the mode-resolved arrays.
    uses_structure : bool
        The function gets the crystal as keyword ``structure`` (:class:`screen_cli.crystal.structure.Structure`).
    fingerprint : str
        Lazy ``"module:function"``; ``function(structure, **options)`` returns JSON that becomes part of the content
        key, e.g. checksums of files the property reads. Empty: the records and options are all it depends on.
    before_gate : bool
        It runs before the gate, which may name its columns, and for unstable crystals too; ``needs`` must name nothing
        behind it. With ``gate.before_third_order`` it reads the fit of fc2 alone.
    record : str
        Lazy ``"module:class"`` of the :class:`screen_cli.store.record.TypedRecord` that it gives.
    environment : EnvironmentRecipe, optional
        How to make the environment of a program that it runs.
    """

    needs: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    uses_calculator: bool = False
    recomputes: bool = False
    uses_structure: bool = False
    fingerprint: str = ""
    before_gate: bool = False
    record: str = ""
    environment: EnvironmentRecipe | None = None


@dataclass(frozen=True, kw_only=True)
class EnginePlugin(PluginRecord[AnyFactory]):
    """Where tasks run: ``factory(settings)`` returns a :class:`screen_cli.engines.Engine`.

    A factory that has a parameter ``workdir`` gets a folder (Path) inside the run directory, which the compute nodes
    see, for its logs and scripts.
    """


@dataclass(frozen=True, kw_only=True)
class ExporterPlugin(PluginRecord[ExporterFactory]):
    """Rows out: a :class:`screen_cli.plugins.protocols.Exporter`.

    ``rows`` has a length and can be walked through any number of times, each time from the front; it holds flat dicts
    and may be too many for the memory. ``run`` is the :class:`screen_cli.store.run_directory.RunDirectory`, or None.

    Parameters
    ----------
    suffix : str
        File ending that selects the exporter, e.g. ``".csv"``.
    """

    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class CommandPlugin(PluginRecord[CommandFactory]):
    """A sub-command of ``screen-cli``: ``factory(argv: list[str]) -> int`` gets what follows its name.

    It may use any option parser it likes; ``screen-cli NAME --help`` reaches it unchanged.
    """
