"""The built wheels work elsewhere: every plugin is listed, a third-party plugin is found and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from screen_cli.plugins.new_package import write_package

ROOT = Path(__file__).parents[1]
PACKAGES = ("screen-cli", "phon-wigner", "sdnnff-calc", "al-committee")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return what would be published: source distribution, and the wheel made of it, by package."""
    folder = tmp_path_factory.mktemp("published")
    for package in PACKAGES:
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / package, ROOT / "packages" / package)
    return {package: sorted((folder / package).iterdir()) for package in PACKAGES}


@pytest.fixture(scope="module")
def elsewhere(published, tmp_path_factory):
    """A virtual environment with the wheels; third-party libraries come from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("elsewhere")
    wheels = folder / "wheels"
    fresh = write_package("screen-fresh", folder)
    for package in [ROOT / "examples" / "screen-morse", fresh]:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, package)
    environment = folder / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    site = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])").strip())
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    run(*install, *(files[0] for files in published.values()), *sorted(wheels.glob("*.whl")))
    # appended after site-packages, without the editable installs' own .pth files: the wheels win
    libraries = Path(pytest.__file__).parents[1]
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return environment / "bin"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_would_be_published_is_complete(package, published):
    """Source distribution and wheel pass twine's check; links of the page on an index lead somewhere from there."""
    built = published[package]
    assert [path.suffix for path in built] == [".whl", ".gz"]
    assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", *built)
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        metadata = Parser().parsestr(wheel.read(name).decode())
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Project-URL"]
    assert "Operating System :: OS Independent" in metadata.get_all("Classifier")
    for link in re.findall(r"\]\(([^)]+)\)", metadata.get_payload()):
        assert link.startswith(("https://", "#")), f"{package}: {link} leads nowhere on a package index"
    with tarfile.open(built[1]) as source:
        assert any(name.endswith("/CITATION.cff") for name in source.getnames())


def plugins(elsewhere, **variables):
    text = run(elsewhere / "screen-cli", "plugins", "--json", env={**os.environ, **variables}, cwd=elsewhere)
    return json.loads(text)


def names(listing, kind):
    return {row["name"] for row in listing["plugins"] if row["kind"] == kind}


def test_every_package_registers_what_it_offers(elsewhere):
    listing = plugins(elsewhere)
    assert listing["broken"] == []
    assert {"sevennet", "chgnet", "emt", "sdnnff", "committee", "morse"} <= names(listing, "calculators")
    assert {"wigner", "standard"} <= names(listing, "conductivity_solvers")
    assert {"symfc", "hiphive", "finite-difference"} <= names(listing, "force_constant_solvers")
    assert {"run", "status", "show", "export", "plot", "al", "wigner", "morse-table"} <= names(listing, "commands")
    where = run(elsewhere / "python", "-c", "import screen_cli; print(screen_cli.__file__)", cwd=elsewhere)
    assert "venv" in where


def test_plugins_can_be_limited(elsewhere):
    listing = plugins(elsewhere, SCREEN_PLUGINS="screen-morse")
    assert "morse" in names(listing, "calculators")
    assert "sdnnff" not in names(listing, "calculators")
    listing = plugins(elsewhere, SCREEN_DISABLE_PLUGINS="screen-morse")
    assert "morse" not in names(listing, "calculators")


def test_the_example_plugin_is_used_in_a_run(elsewhere, tmp_path):
    """Calculator, property and command of the third-party wheel, end to end."""
    assert "Cu" in run(elsewhere / "screen-cli", "morse-table", "Cu", cwd=tmp_path)
    config = tmp_path / "copper.toml"
    config.write_text(
        """
        [source]
        name = "prototypes"
        options = { entries = [{ prototype = "cu3au", elements = ["Cu", "Cu"], a = 3.6 }] }
        [calculator]
        name = "morse"
        options = { element = "Cu" }
        [displace]
        dim = [2, 2, 2]
        [force_constants]
        third_order = false
        [harmonic]
        mesh = [7, 7, 7]
        phase_space = false
        [properties]
        names = ["bandwidth"]
        [engine]
        name = "serial"
        """
    )
    run(elsewhere / "screen-cli", "run", config, "--quiet", cwd=tmp_path)
    rows = json.loads(run(elsewhere / "screen-cli", "show", tmp_path / "copper", "--format", "json", cwd=tmp_path))
    assert [row["state"] for row in rows] == ["done"], rows
    assert rows[0]["formula"] == "Cu"
    assert 3 < rows[0]["bandwidth_thz"] < 15


@pytest.mark.parametrize("plugin", ["screen-morse", "screen-fresh"])
def test_plugins_pass_their_contract_tests(elsewhere, plugin):
    """The example, and the one that plugins new wrote."""
    above = ROOT / "examples" if plugin == "screen-morse" else elsewhere.parents[1]
    tests = above / plugin / "tests"
    out = run(elsewhere / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=elsewhere)
    assert "passed" in out
