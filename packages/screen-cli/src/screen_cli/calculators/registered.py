"""Calculators by name, and what makes one the same as another."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from screen_cli.calculators.environments.virtual import ModelEnvironment, environment_of, find_environment
from screen_cli.calculators.factories.trust import checksum
from screen_cli.errors import ConfigError, MissingExtraError, PluginError, ScreenError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins
from screen_cli.plugins.records import CalculatorPlugin

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.calculators.environments.calculator import ForeignCalculator
    from screen_cli.store.record import Json

_ASE_PREFIX = "ase:"
_HERE = "here"
_HOST = "screen_cli"


def make_calculator(
    name: str,
    options: Mapping[str, object] | None = None,
    registry: PluginRegistry | None = None,
    *,
    environment: str = "",
) -> BaseCalculator:
    """Make an ASE calculator, here or in an environment of its own.

    Parameters
    ----------
    name : str
        A registered name, or ``"ase:package.module.Class"`` for any ASE calculator (VASP, Quantum ESPRESSO,
        GPAW, ...).
    options : mapping, optional
        Keyword options.
    registry : PluginRegistry, optional
        Default: the installed plugins.
    environment : str
        A name of ``screen-cli env list``, or the path of a virtual or conda environment or interpreter; ``"here"`` for
        this process. Empty: here when the calculator's library is installed here, else the environment that
        ``screen-cli env create NAME`` made for it.

    Returns
    -------
    ase.calculators.calculator.BaseCalculator

    Raises
    ------
    UnknownNameError, MissingExtraError
        No such calculator, or its library is not installed (the message holds the line that installs it).
    ConfigError
        The calculator does not accept the options, or there is no such environment.
    PluginError
        It cannot be made, or its environment cannot be used: that is no crystal's fault.
    """
    options = dict(options or {})
    place = calculator_environment(name, environment, registry)
    try:
        if place is not None:
            return serve(name, options, place, registry)
        return _factory(name, registry)(**options)
    except ScreenError:
        raise
    except TypeError as error:
        raise ConfigError(f"calculator '{name}' does not accept its options {options}: {error}.") from error
    except ImportError as error:
        raise MissingExtraError(_missing(name, error, registry)) from error
    except (Exception, SystemExit) as error:  # a plugin or model may fail in any way
        raise PluginError(
            f"calculator '{name}' cannot be made with its options {options}: {type(error).__name__}: {error}."
        ) from error


def foreign(name: str, *, environment: str = "", shared: bool | None = None, **options: object) -> ForeignCalculator:
    """Make an ASE calculator whose force field lives in another Python environment.

    Parameters
    ----------
    name : str
        As for :func:`make_calculator`.
    environment : str
        As there; empty: the one made by ``screen-cli env create NAME``.
    shared : bool, optional
        One server for all processes of this user that ask for the same, instead of one each; default: where the
        option ``device`` names a GPU.
    **options : object
        Of the calculator.

    Returns
    -------
    ForeignCalculator

    Raises
    ------
    ConfigError
        There is no such environment, or the calculator does not accept the options.
    MissingExtraError
        The environment lacks a library.
    ModelEnvironmentError
        The environment cannot be used.

    Examples
    --------
    >>> from screen_cli.calculators import foreign
    >>> atoms.calc = foreign("mace", path="mace.model", trust=True)  # doctest: +SKIP
    """
    return serve(name, options, find_environment(environment or name), None, shared)


def calculator_environment(
    name: str, environment: str = "", registry: PluginRegistry | None = None
) -> ModelEnvironment | None:
    """Give the environment in which a calculator is made; None for this process.

    Parameters
    ----------
    name, environment, registry : str, str, PluginRegistry
        As for :func:`make_calculator`.

    Raises
    ------
    ConfigError
        There is no such environment.
    """
    if environment == _HERE:
        return None
    if environment:
        return find_environment(environment)
    if name.startswith(_ASE_PREFIX):
        return None
    missing = [module for module in _plugin(name, registry).requires if find_spec(module) is None]
    return environment_of(name) if missing else None


def calculator_identity(
    name: str,
    options: Mapping[str, object] | None = None,
    registry: PluginRegistry | None = None,
    *,
    environment: str = "",
) -> dict[str, Json]:
    """Describe a calculator so that two with equal descriptions give equal forces.

    Parameters
    ----------
    name, options, registry, environment : str, mapping, PluginRegistry, str
        As for :func:`make_calculator`.

    Returns
    -------
    dict
        Name, options with files replaced by their SHA-256, and the versions of the libraries behind it.
    """
    options = dict(options or {})
    shown = {key: _with_file_hashes(value) for key, value in options.items() if key not in ("device", "download")}
    place = calculator_environment(name, environment, registry)
    if name.startswith(_ASE_PREFIX):
        modules = [name.removeprefix(_ASE_PREFIX).split(".")[0]]
        origin: list[str] = []
    else:
        plugin = _plugin(name, registry)
        modules = [*plugin.requires, plugin.factory.split(":")[0].split(".")[0]]
        origin = [plugin.distribution, plugin.version]
    versions = _versions([module for module in modules if place is None or module == _HOST])
    if place is not None:
        versions |= place.owners([module for module in modules if module != _HOST])
    return {"name": name, "options": shown, "origin": origin, "versions": versions}


def _plugin(name: str, registry: PluginRegistry | None) -> CalculatorPlugin:
    """Find a registered calculator."""
    return (registry or installed_plugins()).get("calculators", name)


def serve(
    name: str,
    options: Mapping[str, object],
    place: ModelEnvironment,
    registry: PluginRegistry | None,
    shared: bool | None = None,
) -> ForeignCalculator:
    """Make the calculator that speaks for one in another environment.

    Raises
    ------
    ConfigError
        The calculator does not accept the options.
    MissingExtraError
        The environment lacks a library.
    """
    from screen_cli.calculators.environments.calculator import ForeignCalculator
    from screen_cli.calculators.environments.server import ServedCalculator

    if name.startswith(_ASE_PREFIX):
        module, _, attribute = name.removeprefix(_ASE_PREFIX).rpartition(".")
        factory = f"{module}:{attribute}"
    else:
        factory = _plugin(name, registry).factory
    if shared is None:
        shared = str(options.get("device", "cpu")) not in ("cpu", "auto")
    try:
        return ForeignCalculator(ServedCalculator(name, place, factory, dict(options), shared))
    except TypeError as error:
        raise ConfigError(f"calculator '{name}' does not accept its options {dict(options)}: {error}.") from error
    except ImportError as error:
        raise MissingExtraError(f"calculator '{name}': {error}.") from error


def _factory(name: str, registry: PluginRegistry | None) -> Callable[..., BaseCalculator]:
    """Find the callable that makes a calculator."""
    if not name.startswith(_ASE_PREFIX):
        return _plugin(name, registry).load()
    path = name.removeprefix(_ASE_PREFIX)
    module_name, _, class_name = path.rpartition(".")
    if not module_name:
        raise ConfigError(f"calculator '{name}': expected 'ase:package.module.Class'.")
    try:
        factory: Callable[..., BaseCalculator] = getattr(importlib.import_module(module_name), class_name)
        return factory
    except ImportError as error:
        raise MissingExtraError(f"calculator '{name}': cannot import {module_name}: {error}.") from error
    except AttributeError as error:
        raise ConfigError(f"calculator '{name}': {module_name} has no class {class_name}.") from error


def _missing(name: str, error: ImportError, registry: PluginRegistry | None) -> str:
    """Say what to install, here or in an environment of its own."""
    fixes = []
    if not name.startswith(_ASE_PREFIX):
        plugin = _plugin(name, registry)
        fixes += [f"pip install '{plugin.pip}'"] if plugin.pip else []
        fixes += [f"screen-cli env create {name} (in an environment of its own)"] if plugin.environment else []
    fix = f" Install it: {', or '.join(fixes)}." if fixes else ""
    return f"calculator '{name}' needs {error.name or 'a package'} that is not installed ({error}).{fix}"


def _with_file_hashes(value: object) -> Json:
    """Give an option with every name of a file or folder in it, also inside lists and tables, replaced by its hash."""
    if isinstance(value, Mapping):
        return {key: _with_file_hashes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_file_hashes(item) for item in value]
    if isinstance(value, str) and value and Path(value).exists():
        return f"sha256:{checksum(Path(value))}"
    return cast("Json", value)


def _versions(modules: Sequence[str]) -> dict[str, str]:
    """Versions of the distributions that hold the modules."""
    found: dict[str, str] = {}
    installed = list(distributions())
    for module in modules:
        for distribution in installed:
            if _holds(distribution, module):
                found.setdefault(distribution.metadata["Name"], distribution.version)
    return found


def _holds(distribution: Distribution, module: str) -> bool:
    """Whether a distribution holds a top-level module.

    ``importlib.metadata.packages_distributions`` gives the same answer for all modules and takes half a second: it
    parses the list of files of every distribution.
    """
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return module in declared
    record = distribution.read_text("RECORD")
    if record is not None and f"\n{module}" not in f"\n{record}":
        return False
    paths = distribution.files or ()
    return any(module == (path.parts[0] if len(path.parts) > 1 else inspect.getmodulename(path)) for path in paths)
