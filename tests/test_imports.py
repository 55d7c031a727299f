"""The direction of imports, and what may not be imported at start-up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "phono3py", "phonopy", "ase", "matplotlib", "h5py", "e3nn", "scipy")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from screen_cli.cli import main\n"
        "assert main(['--help']) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert loaded == [], loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "init", "al", "wigner", "sdnnff"):
        assert command in done.stdout


@pytest.mark.parametrize("package", ["phon_wigner", "sdnnff_calc", "al_committee"])
def test_a_plugin_package_imports_without_the_host(package):
    """Every module of it, but the one that the host imports and those that are programs."""
    code = (
        "import sys; sys.modules['screen_cli'] = None\n"
        f"import importlib, pkgutil, {package}\n"
        f"found = [item.name for item in pkgutil.walk_packages({package}.__path__, '{package}.')]\n"
        "chosen = [name for name in found if name.rpartition('.')[2] not in ('_screen', '__main__')]\n"
        "assert len(chosen) > 40 and len(found) > len(chosen)\n"
        "for name in chosen: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
