"""The plan of the house: how much stands in one folder, in one file and in one function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

PACKAGES = sorted(path for path in Path(__file__).parents[1].glob("packages/*/src/*") if path.is_dir())
MOST_ENTRIES = 12
ROOMS_OF_THE_HOST = {
    *("crystal", "sources", "calculators", "plugins", "physics", "kinds", "stages", "solvers", "properties", "store"),
    *("run", "engines", "analysis", "bench", "report", "cli", "config", "errors", "testing", "settings_file"),
    *("single_crystal", "__main__"),
}
"""Entries of ``screen_cli``: the one folder over a dozen, since these rooms are its plan."""


MOST_POSITIONAL = 6
MEDIAN_MODULE, LONG_MODULE = 200, 320
LONG_FUNCTION, LONGEST_FUNCTION = 25, 60
"""Lines; of functions those without the docstring."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


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


def functions(package: Path) -> Iterator[tuple[str, Function]]:
    """Functions and methods of a package with where they stand."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                yield f"{path.relative_to(package.parent)}:{node.lineno} {node.name}", node


def code_lines(function: Function) -> int:
    """Lines of a function without its decorators and docstring."""
    n_lines = (function.end_lineno or 0) - function.lineno + 1
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    return n_lines - (0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1)


def is_data(function: Function) -> bool:
    """Whether a function does nothing but yield records."""
    body = function.body[ast.get_docstring(function) is not None :]
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield) for node in body)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_function_takes_more_than_six_positional_parameters(package):
    for where, function in functions(package):
        names = [item.arg for item in (*function.args.posonlyargs, *function.args.args)]
        given = names[1:] if names[:1] in (["self"], ["cls"]) else names
        assert len(given) <= MOST_POSITIONAL, f"{where} takes {given}"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_modules_are_short(package):
    lines = [path.read_text(encoding="utf-8").count("\n") for path in package.rglob("*.py")]
    lines = [n_lines for n_lines in lines if n_lines > 1]  # what only names a folder is none
    assert np.median(lines) <= MEDIAN_MODULE
    assert np.quantile(lines, 0.9) <= LONG_MODULE


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_functions_fit_a_screen(package):
    lines = {where: code_lines(function) for where, function in functions(package) if not is_data(function)}
    assert np.quantile(list(lines.values()), 0.9) <= LONG_FUNCTION
    assert {where: n for where, n in lines.items() if n > LONGEST_FUNCTION} == {}
