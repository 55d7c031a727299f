"""A complete plugin package from nothing: what ``screen-cli plugins new`` writes."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from screen_cli.errors import PluginError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.store.atomic_write import write_text

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "A plugin of screen-cli"
readme = "README.md"
requires-python = ">=3.11"
keywords = ["screen-cli"]
dependencies = ["ase>=3.23", "numpy>=1.26"]     # not screen-cli: only the host imports _screen.py

[project.optional-dependencies]
test = ["pytest>=8", "screen-cli"]

[project.entry-points.screen_cli]
$name = "$module._screen"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]
"""

_README = """\
# $name

A plugin of screen-cli: the calculator `$short`, the property `${short}_bandwidth`, the command `$short-info`.

    pip install -e '.[test]'
    screen-cli plugins check
    pytest
"""

_SCREEN = '''\
"""What this package offers to screen-cli. Runs at every start of the host, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin, CommandPlugin, PropertyPlugin


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Offer the force field."""
    yield CalculatorPlugin(
        name="$short",
        summary="Pair potential of argon",
        factory="$module.potential:make_calculator",
        licence="BSD-3-Clause",
    )


@hookimpl
def screen_properties() -> Iterator[PropertyPlugin]:
    """Offer the property."""
    yield PropertyPlugin(
        name="${short}_bandwidth",
        summary="Width of the phonon spectrum",
        needs=("harmonic",),
        columns=(("${short}_bandwidth_thz", "highest minus lowest frequency on the mesh, THz"),),
        factory="$module.bandwidth:bandwidth",
    )


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Offer the command."""
    yield CommandPlugin(name="$short-info", summary="Print the parameters", factory="$module.command:main")
'''

_POTENTIAL = '''\
"""The force field: put your own ASE calculator here."""

from __future__ import annotations

from ase.calculators.lj import LennardJones

EPSILON, SIGMA = 0.0104, 3.40
"""Depth in eV and length in Å of argon."""


def make_calculator(epsilon: float = EPSILON, sigma: float = SIGMA) -> LennardJones:
    """Make the calculator; the keywords are what [calculator] options may hold."""
    return LennardJones(epsilon=epsilon, sigma=sigma, rc=3 * sigma, smooth=True)
'''

_BANDWIDTH = '''\
"""The width of the phonon spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bandwidth(records: Mapping[str, Any]) -> dict[str, float]:
    """Return highest minus lowest frequency on the mesh, THz."""
    frequencies = records["harmonic"].frequencies  # float64 (n_irr, n_bands), THz
    return {"${short}_bandwidth_thz": float(frequencies.max() - frequencies.min())}
'''

_COMMAND = '''\
"""The command ``screen-cli $short-info``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from $module.potential import EPSILON, SIGMA


def main(argv: Sequence[str]) -> int:
    """Print the parameters."""
    argparse.ArgumentParser(prog="screen-cli $short-info", description="Print the parameters.").parse_args(argv)
    print(f"epsilon {EPSILON} eV, sigma {SIGMA} Å")
    return 0
'''

_TESTS = '''\
"""The contract tests of screen-cli, applied to this plugin."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from screen_cli.testing import CalculatorContract, CommandContract, PropertyContract


class TestCalculator(CalculatorContract):
    name = "$short"
    elements = ("Ar",)


class TestProperty(PropertyContract):
    name = "${short}_bandwidth"

    def records(self):
        return {"harmonic": SimpleNamespace(frequencies=np.array([[0.0, 2.0], [1.0, 7.5]]))}


class TestCommand(CommandContract):
    name = "$short-info"
'''

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "src/$module/__init__.py": '"""A plugin of screen-cli."""\n',
    "src/$module/_screen.py": _SCREEN,
    "src/$module/potential.py": _POTENTIAL,
    "src/$module/bandwidth.py": _BANDWIDTH,
    "src/$module/command.py": _COMMAND,
    "tests/test_contract.py": _TESTS,
}


def write_package(name: str, parent: Path | None = None, *, force: bool = False) -> Path:
    """Write a plugin package whose tests pass.

    Parameters
    ----------
    name : str
        Of the distribution and its folder: ``screen-argon`` offers the calculator ``argon``.
    parent : Path, optional
        Where the folder is made (default: the working directory).
    force : bool
        Write into a folder that exists.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PluginError
        The name cannot be one, is taken, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(
            f"'{name}' is no name for a package. Use small letters, digits and single hyphens: screen-argon."
        )
    short = name.removeprefix("screen-").replace("-", "_")
    registry = installed_plugins()
    taken = short in registry.records["calculators"] or f"{short}-info" in registry.records["commands"]
    if taken:
        raise PluginError(f"a calculator '{short}' is registered already. Choose another name.")
    folder = (parent or Path()) / name
    if folder.exists() and not force:
        raise PluginError(f"{folder} exists. Choose another name, or write into it with --force.")
    words = {"name": name, "module": name.replace("-", "_"), "short": short}
    for path, text in _FILES.items():
        target = folder / Template(path).substitute(words)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, Template(text).substitute(words))
    return folder
