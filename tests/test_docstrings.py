"""One dialect of docstrings, numpydoc: what stands in a section is there, with its type."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

PACKAGES = sorted(path for path in Path(__file__).parents[1].glob("packages/*/src/*") if path.is_dir())
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def documented(package: Path) -> Iterator[tuple[str, Documented, NumpyDocString]]:
    """Functions and classes of a package with where they stand and their docstrings."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                yield f"{path.relative_to(package.parent)}:{node.lineno} {node.name}", node, NumpyDocString(text)


def names_of(entry: str) -> list[str]:
    """Names before the colon of one entry, without stars."""
    return [name.strip().lstrip("\\*") for name in entry.split(",")]


def own_names(node: Documented) -> set[str]:
    """Arguments of a function; fields, properties and arguments of a class and of what its bases may add."""
    if isinstance(node, ast.ClassDef):
        fields = {
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        starts = [own_names(item) for item in functions if item.name == "__init__"]
        return fields.union({item.name for item in functions}, *starts)
    given = node.args
    plain = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return {item.arg for item in (*plain, given.vararg, given.kwarg) if item is not None}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_parameters_have_a_type(package):
    bare = [
        f"{where}: {entry.name}"
        for where, _, text in documented(package)
        for entry in (*text["Parameters"], *text["Attributes"])
        if not entry.type
    ]
    assert bare == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_parameters_that_are_documented_are_there(package):
    gone = [
        f"{where}: {name}"
        for where, node, text in documented(package)
        for entry in text["Parameters"]
        for name in names_of(entry.name)
        if name not in own_names(node)
    ]
    assert gone == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_arrays_have_a_shape(package):
    bare = [
        f"{where}: {entry.name} {entry.type}"
        for where, _, text in documented(package)
        for entry in (*text["Parameters"], *text["Attributes"], *text["Returns"])
        if re.match("NDArray|Tensor|ndarray|ArrayLike", entry.type or entry.name)
        and not re.search(r"shape|same|\([^)]*[,)]", f"{entry.type} {entry.name} {' '.join(entry.desc)}")
    ]
    assert bare == []
