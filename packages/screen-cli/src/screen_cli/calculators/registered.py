"""Calculators by name, and what makes one the same as another."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from screen_cli.errors import ConfigError, MissingExtraError, PluginError, ScreenError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.store.record import Json

_ASE_PREFIX = "ase:"


def make_calculator(
    name: str, options: Mapping[str, object] | None = None, registry: PluginRegistry | None = None
) -> BaseCalculator:
    """Make an ASE calculator.

    Parameters
    ----------
    name : str
        A registered name, or ``"ase:package.module.Class"`` for any ASE calculator (VASP, Quantum ESPRESSO,
        GPAW, ...).
    options : mapping, optional
        Keyword options.
    registry : PluginRegistry, optional
        Default: the installed plugins.

    Returns
    -------
    ase.calculators.calculator.BaseCalculator

    Raises
    ------
    UnknownNameError, MissingExtraError
        No such calculator, or its library is not installed (the message holds the pip line).
    ConfigError
        The calculator does not accept the options.
    PluginError
        It cannot be made: that is no crystal's fault.
    """
    options = dict(options or {})
    try:
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


def calculator_identity(
    name: str, options: Mapping[str, object] | None = None, registry: PluginRegistry | None = None
) -> dict[str, Json]:
    """Describe a calculator so that two with equal descriptions give equal forces.

    Parameters
    ----------
    name, options : str, mapping of str to object
        As for :func:`make_calculator`.

    Returns
    -------
    dict
        Name, options with files replaced by their SHA-256, and the versions of the libraries behind it.
    """
    options = dict(options or {})
    shown = {key: _with_file_hashes(value) for key, value in options.items() if key not in ("device", "download")}
    if name.startswith(_ASE_PREFIX):
        modules: tuple[str, ...] = (name.removeprefix(_ASE_PREFIX).split(".")[0],)
        origin: list[str] = []
    else:
        plugin = (registry or installed_plugins()).get("calculators", name)
        modules = (*plugin.requires, plugin.factory.split(":")[0].split(".")[0])
        origin = [plugin.distribution, plugin.version]
    return {"name": name, "options": shown, "origin": origin, "versions": _versions(modules)}


def _factory(name: str, registry: PluginRegistry | None) -> Callable[..., BaseCalculator]:
    """Find the callable that makes a calculator."""
    if not name.startswith(_ASE_PREFIX):
        return (registry or installed_plugins()).get("calculators", name).load()
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
    """Say what to install."""
    pip = None
    if not name.startswith(_ASE_PREFIX):
        pip = (registry or installed_plugins()).get("calculators", name).pip
    fix = f" Install it: pip install '{pip}'." if pip else ""
    return f"calculator '{name}' needs {error.name or 'a package'} that is not installed ({error}).{fix}"


def _with_file_hashes(value: object) -> Json:
    """Give an option with every file name in it, also inside lists and tables, replaced by the file's hash."""
    if isinstance(value, Mapping):
        return {key: _with_file_hashes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_file_hashes(item) for item in value]
    return _file_hash(value) if isinstance(value, str) and Path(value).is_file() else cast("Json", value)


def _file_hash(path: str) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _versions(modules: tuple[str, ...]) -> dict[str, str]:
    """Versions of the distributions that hold the modules."""
    owners = packages_distributions()
    found = {}
    for module in modules:
        for distribution in owners.get(module, []):
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                continue
    return found
