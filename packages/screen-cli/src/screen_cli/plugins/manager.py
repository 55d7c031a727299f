"""Discovery: find plugins, keep the broken ones from hurting the rest, look records up by name.

Entry points of the group ``screen_cli`` are loaded one at a time. One that fails becomes a *broken* row and
one warning. Two records of one kind with one name are an error that names both distributions.

Environment
-----------
SCREEN_PLUGINS
    Comma-separated entry-point names: load only these.
SCREEN_DISABLE_PLUGINS
    Comma-separated entry-point names: do not load these.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Literal, overload

import pluggy

from screen_cli.errors import DuplicateNameError, PluginError, UnknownNameError, unknown_name
from screen_cli.plugins import builtin, hookspecs
from screen_cli.plugins.records import PluginRecord

logger = logging.getLogger(__name__)

KINDS: dict[str, type[PluginRecord[object]]] = {
    "calculators": hookspecs.CalculatorPlugin,
    "trainers": hookspecs.TrainerPlugin,
    "structure_sources": hookspecs.StructureSourcePlugin,
    "force_constant_solvers": hookspecs.ForceConstantSolverPlugin,
    "conductivity_solvers": hookspecs.ConductivitySolverPlugin,
    "metrics": hookspecs.MetricPlugin,
    "properties": hookspecs.PropertyPlugin,
    "engines": hookspecs.EnginePlugin,
    "exporters": hookspecs.ExporterPlugin,
    "commands": hookspecs.CommandPlugin,
}
_HOST = "screen-cli (built in)"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was found but cannot be used.

    Parameters
    ----------
    name : str
        Entry-point name.
    distribution : str
        Name and version of the distribution.
    reason : str
        Exception type and message.
    """

    name: str
    distribution: str
    reason: str


@dataclass
class PluginRegistry:
    """Every record that could be collected, by kind and name, and what was broken."""

    records: dict[str, dict[str, PluginRecord[object]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    broken: list[BrokenPlugin] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)

    @overload
    def get(self, kind: Literal["calculators"], name: str) -> hookspecs.CalculatorPlugin: ...
    @overload
    def get(self, kind: Literal["trainers"], name: str) -> hookspecs.TrainerPlugin: ...
    @overload
    def get(self, kind: Literal["structure_sources"], name: str) -> hookspecs.StructureSourcePlugin: ...
    @overload
    def get(self, kind: Literal["force_constant_solvers"], name: str) -> hookspecs.ForceConstantSolverPlugin: ...
    @overload
    def get(self, kind: Literal["conductivity_solvers"], name: str) -> hookspecs.ConductivitySolverPlugin: ...
    @overload
    def get(self, kind: Literal["metrics"], name: str) -> hookspecs.MetricPlugin: ...
    @overload
    def get(self, kind: Literal["properties"], name: str) -> hookspecs.PropertyPlugin: ...
    @overload
    def get(self, kind: Literal["engines"], name: str) -> hookspecs.EnginePlugin: ...
    @overload
    def get(self, kind: Literal["exporters"], name: str) -> hookspecs.ExporterPlugin: ...
    @overload
    def get(self, kind: Literal["commands"], name: str) -> hookspecs.CommandPlugin: ...
    @overload
    def get(self, kind: str, name: str) -> PluginRecord[object]: ...
    def get(self, kind: str, name: str) -> PluginRecord[object]:
        """Return the record ``name`` of ``kind``.

        Raises
        ------
        UnknownNameError
            With the choices, the nearest name, and the broken plugins that might have offered it.
        """
        try:
            return self.records[kind][name]
        except KeyError:
            error = unknown_name(_singular(kind), name, self.records[kind])
            if self.broken:
                rows = "; ".join(f"{item.name} ({item.reason})" for item in self.broken)
                error = UnknownNameError(f"{error} Plugins that failed to load: {rows}.")
            raise error from None

    def names(self, kind: str) -> list[str]:
        """Sorted names of one kind."""
        return sorted(self.records[kind])

    def best_conductivity_solver(self) -> str:
        """Name of the solver that ``auto`` means: with coherences where one is installed, else a built-in one."""
        solvers = [self.get("conductivity_solvers", name) for name in self.names("conductivity_solvers")]
        return max(solvers, key=lambda solver: (solver.coherences, solver.distribution == _HOST)).name

    def __iter__(self) -> Iterator[tuple[str, PluginRecord[object]]]:
        """Iterate over (kind, record)."""
        for kind, records in self.records.items():
            for name in sorted(records):
                yield kind, records[name]


def load_plugins(
    points: Iterable[EntryPoint] | None = None,
    only: Iterable[str] | None = None,
    disabled: Iterable[str] | None = None,
) -> PluginRegistry:
    """Collect the built-in records and those of every entry point.

    Parameters
    ----------
    points : iterable of EntryPoint, optional
        Default: the installed ones of group ``screen_cli``.
    only, disabled : iterable of str, optional
        Entry-point names; default from ``SCREEN_PLUGINS`` and ``SCREEN_DISABLE_PLUGINS``.

    Raises
    ------
    DuplicateNameError
        Two distributions registered one name of one kind.
    """
    only = _names_from_environment("SCREEN_PLUGINS") if only is None else set(only)
    disabled = _names_from_environment("SCREEN_DISABLE_PLUGINS") if disabled is None else set(disabled)
    registry = PluginRegistry()
    for module in pkgutil.iter_modules(builtin.__path__, "screen_cli.plugins.builtin."):
        _collect(registry, _fresh_manager(importlib.import_module(module.name)), _HOST)
    for point in entry_points(group=hookspecs.ENTRY_POINT_GROUP) if points is None else points:
        if (only and point.name not in only) or point.name in disabled:
            registry.disabled.append(point.name)
            continue
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        staged = PluginRegistry()
        try:
            _collect(staged, _fresh_manager(point.load()), distribution)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way; the host must not
            reason = f"{type(error).__name__}: {error}"
            logger.warning("plugin '%s' of %s is broken and was left out: %s", point.name, distribution, reason)
            registry.broken.append(BrokenPlugin(point.name, distribution, reason))
            continue
        for kind, record in staged:
            _add(registry, kind, record)
    return registry


@cache
def installed_plugins() -> PluginRegistry:
    """Return the registry of this process (loaded once)."""
    return load_plugins()


def _singular(kind: str) -> str:
    """One of a kind, for messages."""
    return "property" if kind == "properties" else kind.replace("_", " ").removesuffix("s")


def _names_from_environment(variable: str) -> set[str]:
    """Split a comma-separated environment variable."""
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _fresh_manager(module: ModuleType) -> pluggy.PluginManager:
    """Register one module with a manager of its own and validate its hooks."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    for name in dir(module):
        if name.startswith("screen_") and callable(getattr(module, name)) and not hasattr(hookspecs, name):
            raise PluginError(
                f"{module.__name__} defines '{name}', which is no hook of API version {hookspecs.HOOK_API}. "
                f"Hooks: {', '.join('screen_' + kind for kind in KINDS)}."
            )
    return manager


def _collect(registry: PluginRegistry, manager: pluggy.PluginManager, distribution: str) -> None:
    """Call every hook of one manager and add what it yields."""
    for kind, record_type in KINDS.items():
        for records in getattr(manager.hook, f"screen_{kind}")():
            for record in records:
                if not isinstance(record, record_type):
                    raise PluginError(
                        f"hook screen_{kind} yielded a {type(record).__name__}, expected {record_type.__name__}."
                    )
                _add(registry, kind, dataclasses.replace(record, distribution=distribution))


def _add(registry: PluginRegistry, kind: str, record: PluginRecord[object]) -> None:
    """Add one record, refusing a second one of the same name."""
    present = registry.records[kind].get(record.name)
    if present is not None:
        raise DuplicateNameError(
            f"{kind.replace('_', ' ')}: '{record.name}' is registered by both {present.distribution} and "
            f"{record.distribution}. Uninstall one, or leave one out with SCREEN_DISABLE_PLUGINS."
        )
    registry.records[kind][record.name] = record
