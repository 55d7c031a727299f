"""The plan of the house: how much stands in one folder, in one file and in one function."""

from __future__ import annotations

from pathlib import Path

import pytest

PACKAGES = sorted(path for path in Path(__file__).parents[1].glob("packages/*/src/*") if path.is_dir())
MOST_ENTRIES = 12
ROOMS_OF_THE_HOST = {
    *("crystal", "sources", "calculators", "plugins", "physics", "kinds", "stages", "solvers", "properties", "store"),
    *("run", "engines", "analysis", "bench", "report", "cli", "config", "errors", "testing", "settings_file"),
    *("single_crystal", "__main__"),
}
"""Entries of ``screen_cli``: the one folder over a dozen, since these rooms are its plan."""


def entries(folder: Path) -> set[str]:
    """Names of the modules and packages of a folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_folder_holds_a_dozen_entries_at_most(package):
    crowded = {
        str(folder.relative_to(package.parent)): sorted(entries(folder))
        for folder in [package, *(path.parent for path in package.rglob("__init__.py"))]
        if len(entries(folder)) > MOST_ENTRIES
    }
    if crowded.pop("screen_cli", None):
        assert entries(package) == ROOMS_OF_THE_HOST
    assert crowded == {}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_folder_of_modules_is_a_package(package):
    folders = {path.parent for path in package.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
