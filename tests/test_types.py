"""Types: no bare Any in a public signature, and packages that say that they are typed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[1] / "packages"
SOURCES = sorted(PACKAGES.glob("*/src/*/**/*.py"))
EXCEPTIONS: set[str] = set()
"""``package.module:name`` of what a third party's own types force; none does today."""


def has_any(annotation: ast.expr | None) -> bool:
    """Whether an annotation holds ``Any``, at any depth, also in quotes."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name) and node.id == "Any":
            return True
        if isinstance(node, ast.Attribute) and node.attr == "Any":
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                inner = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                continue
            if has_any(inner):
                return True
    return False


def is_public(name: str) -> bool:
    """Whether a name is meant for others; methods such as ``__call__`` are."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def bare_anys(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Yield each parameter, return, field and alias of public things whose type holds ``Any``."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) if is_public(name):
                yield from bare_anys(node.body, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if is_public(name):
                arguments = node.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
                yield from (f"{prefix}{name}({one.arg})" for one in every if has_any(one.annotation))
                if has_any(node.returns):
                    yield f"{prefix}{name} ->"
            case ast.AnnAssign(target=ast.Name(id=name)) if is_public(name):
                is_alias = isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"
                if has_any(node.value if is_alias else node.annotation):
                    yield f"{prefix}{name}:"
            case ast.Assign(targets=[ast.Name(id=name)]) if is_public(name) and isinstance(
                node.value, (ast.Subscript, ast.BinOp)
            ):
                if has_any(node.value):
                    yield f"{prefix}{name} ="
            case ast.If() | ast.Try():
                yield from bare_anys(node.body, prefix)


def test_no_public_signature_holds_any():
    found = {
        f"{'.'.join(path.relative_to(PACKAGES).with_suffix('').parts[2:])}:{name}"
        for path in SOURCES
        for name in bare_anys(ast.parse(path.read_text(encoding="utf-8")).body)
    }
    assert len(SOURCES) > 300
    assert sorted(found - EXCEPTIONS) == []
    assert sorted(EXCEPTIONS - found) == [], "an exception that is not needed any more"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(x: Any) -> int: ...", ["f(x)"]),
        ("def f(*x: dict[str, Any], **y: typing.Any) -> 'list[Any]': ...", ["f(x)", "f(y)", "f ->"]),
        ("class A:\n    def __init__(self, *, x: Any): ...\n    y: ClassVar[Any] = 1", ["A.__init__(x)", "A.y:"]),
        ("Row = dict[str, Any]\nOther: TypeAlias = 'Mapping[str, Any]'", ["Row =", "Other:"]),
        ("def _f(x: Any): ...\nclass _A:\n    x: Any\nx = cast('Any', 1)\ndef g(x: object) -> 'AnyStr': ...", []),
    ],
)
def test_it_is_found_wherever_it_hides(source, found):
    assert list(bare_anys(ast.parse(source).body)) == found


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGES.iterdir() if (path / "src").is_dir()))
def test_packages_ship_their_types(package):
    (folder,) = (path for path in (PACKAGES / package / "src").iterdir() if (path / "__init__.py").is_file())
    assert (folder / "py.typed").is_file()
