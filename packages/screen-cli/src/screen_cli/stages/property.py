"""A property from a plugin as a stage of its own, and the recomputation that some of them ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import override_settings
from screen_cli.errors import ConfigError, PluginError
from screen_cli.plugins.manager import PluginRegistry
from screen_cli.plugins.records import PropertyPlugin
from screen_cli.stages.conductivity import ComputeConductivity
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import FitForceConstants
from screen_cli.stages.forces import Forces
from screen_cli.stages.harmonic import ComputeHarmonic
from screen_cli.stages.stage import AnyRecord, Inputs, Stage, options_identity, plugin_identity
from screen_cli.store.record import Json, Record, TypedRecord

_PREFIX = "property_"

_FIT = FitForceConstants()
RECOMPUTED: Mapping[str, tuple[Stage[AnyRecord], ...]] = {
    "force_constants": (_FIT,),
    "harmonic": (_FIT, ComputeHarmonic()),
    "conductivity": (_FIT, ComputeConductivity()),
}
"""Sub-pipelines for other forces on the same supercells, by their last stage."""
WITHOUT_EXTRAS = {
    "force_constants": {"holdout": 0.0},
    "harmonic": {"phase_space": False},
    "conductivity": {"keep_modes": False},
}
"""Settings of these sub-pipelines: nothing is held out, and no mode is kept."""


def stage_name(name: str) -> str:
    """Name of the stage of a property."""
    return f"{_PREFIX}{name}"


@dataclass(frozen=True)
class Property(Stage[AnyRecord]):
    """The stage: typed records in, the record of the plugin out.

    Parameters
    ----------
    plugin : PropertyPlugin
    instead : mapping of str to str
        Stages that it reads in place of those that the plugin declares.
    """

    plugin: PropertyPlugin
    instead: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:  # type: ignore[override]
        """``property_<name>``."""
        return stage_name(self.plugin.name)

    @property
    def record_class(self) -> type[AnyRecord]:  # type: ignore[override]
        """As the plugin declares: its typed record, or values by name."""
        return declared_record(self.plugin)

    @property
    def needs(self) -> tuple[str, ...]:
        """As the plugin declares."""
        return tuple(self.instead.get(name, name) for name in self.plugin.needs)

    def depends(self, inputs: Inputs) -> Json:
        """Plugin, options, and what it declares to read besides records."""
        options = inputs.settings.properties.options.get(self.plugin.name, {})
        depends: list[Json] = [plugin_identity(self.plugin), options_identity(options)]
        if self.plugin.uses_calculator:
            depends.append(inputs.force_field.identity())
        if self.plugin.fingerprint:
            fingerprint = cast("Callable[..., Json]", replace(self.plugin, factory=self.plugin.fingerprint).load())
            depends.append(fingerprint(inputs.structure, **options))
        return depends

    def run(self, inputs: Inputs) -> AnyRecord:
        """Call the plugin's function.

        Raises
        ------
        PluginError
            It gives something else than it declares.
        """
        records = {name: inputs.records[self.instead.get(name, name)] for name in self.plugin.needs}
        options: dict[str, object] = dict(inputs.settings.properties.options.get(self.plugin.name, {}))
        if self.plugin.uses_calculator:
            options["calculator"] = inputs.force_field.calculator
        if self.plugin.recomputes:
            options["recompute"] = Recomputation(inputs)
        if self.plugin.uses_structure:
            options["structure"] = inputs.structure
        values: object = self.plugin.load()(records, **options)
        return record_of(self.plugin, values)


def declared_record(plugin: PropertyPlugin) -> type[AnyRecord]:
    """Give the class of the records of a property: what its plugin declares, else values by name.

    Raises
    ------
    PluginError
        It declares what is no typed record.
    """
    if not plugin.record:
        return Record
    declared: object = replace(plugin, factory=plugin.record).load()
    if not (isinstance(declared, type) and issubclass(declared, TypedRecord)):
        raise PluginError(f"property '{plugin.name}' declares the record {plugin.record}, which is no TypedRecord.")
    return declared


def record_of(plugin: PropertyPlugin, values: object) -> AnyRecord:
    """Give what a property returned as its record.

    Parameters
    ----------
    plugin : PropertyPlugin
    values : PropertyResult
        What its function returned.

    Raises
    ------
    PluginError
        It is not what the plugin declares.
    """
    if plugin.record:
        declared = declared_record(plugin)
        if isinstance(values, declared):
            return values
    elif isinstance(values, (Record, TypedRecord)):
        return values.to_storage()
    elif isinstance(values, dict):
        return Record(values)
    elif dataclasses.is_dataclass(values) and not isinstance(values, type):
        return Record.of_dataclass(values)
    expected = plugin.record or "a dict of values, a frozen dataclass or a Record"
    raise PluginError(f"property '{plugin.name}' returned {type(values).__name__}, expected {expected}.")


@dataclass(frozen=True)
class Recomputation:
    """Other forces through :data:`RECOMPUTED`, in memory (:class:`screen_cli.plugins.protocols.Recompute`).

    Parameters
    ----------
    inputs : Inputs
        Of the property; with the displaced supercells.
    """

    inputs: Inputs

    def __call__(self, forces: Mapping[str, NDArray[np.float64]], last_stage: str) -> dict[str, AnyRecord]:
        """Run the fit and, where asked, one stage that follows it.

        Raises
        ------
        ConfigError
            No stage of that name is recomputed.
        """
        if last_stage not in RECOMPUTED:
            raise ConfigError(f"'{last_stage}' is not recomputed from forces. Known: {', '.join(RECOMPUTED)}.")
        settings = override_settings(self.inputs.settings, WITHOUT_EXTRAS, "settings of a recomputation")
        records: dict[str, AnyRecord] = {
            "displace": self.inputs.record("displace", Displaced),
            "forces": Forces.of_arrays(forces),
        }
        inputs = replace(self.inputs, settings=settings, records=records)
        for stage in RECOMPUTED[last_stage]:
            records[stage.name] = stage.run(inputs)
        return records


def property_stages(
    names: Sequence[str], registry: PluginRegistry, known: set[str], instead: Mapping[str, str] | None = None
) -> list[Property]:
    """List the stages of properties: those asked for, each after the properties it reads.

    Parameters
    ----------
    names : sequence of str
        Registered properties.
    registry : PluginRegistry
    known : set of str
        Names of the stages before them.
    instead : mapping of str to str, optional
        Stages that they read in place of those that the plugins declare.

    Raises
    ------
    UnknownNameError
        A property is not registered.
    ConfigError
        A property needs a stage that is switched off.
    PluginError
        Properties need one another in a circle.
    """
    ordered: dict[str, Property] = {}

    def visit(name: str, within: tuple[str, ...] = ()) -> None:
        if stage_name(name) in ordered:
            return
        if name in within:
            raise PluginError(f"the properties {' → '.join((*within, name))} need one another. Break the circle.")
        plugin = registry.get("properties", name)
        for stage in plugin.needs:
            if stage.startswith(_PREFIX):
                visit(stage.removeprefix(_PREFIX), (*within, name))
        missing = {(instead or {}).get(stage, stage) for stage in plugin.needs} - known - ordered.keys()
        if missing:
            raise ConfigError(f"property '{name}' needs the stages {sorted(missing)}, which these settings switch off.")
        ordered[stage_name(name)] = Property(plugin, instead or {})

    for name in names:
        visit(name)
    return list(ordered.values())
