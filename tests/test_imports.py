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
    code = f"import sys; sys.modules['screen_cli'] = None; import {package}; {package}.__version__"
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
