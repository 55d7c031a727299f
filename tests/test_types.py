"""Types: no bare Any in a public signature and few in private ones, and packages that say that they are typed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[1] / "packages"
SOURCES = sorted(PACKAGES.glob("*/src/*/**/*.py"))
OWN = ("al_committee", "screen_cli", "sdnnff_calc")
EXCEPTIONS: set[str] = set()
"""``package.module:name`` of what a third party's own types force; none does today."""

PRIVATE = {
    # annotations are values here, and have no type of their own
    *(f"{package}.settings_file:{name}" for package in OWN for name in ("_strict", "_plain")),
    *("screen_cli.testing.record_strategies:_value", "sdnnff_calc.config:_records_of"),
    # what files and processes of strangers hold, before it is checked
    *(
        f"al_committee.labels.workers.teacher_program:{name}"
        for name in ("_label_alone", "_only_labels", "_single_point")
    ),
    *("al_committee.cli.objects:_call", "al_committee.labels.workers.teacher:_ask"),
    *("al_committee.selection.scoring:_supercell_of", "screen_cli.calculators.model_errors:_symbol"),
    *(
        f"sdnnff_calc.data.phonon_files:{name}"
        for name in ("_all_atoms_displaced", "_displaced", "_excluded", "_index")
    ),
    *("sdnnff_calc.data.phonon_files:is_excluded", "sdnnff_calc.models.checkpoint:_build"),
    *("sdnnff_calc.models.checkpoint:_trained_of_old", "screen_cli.stages.forces:_batch_results"),
    *("sdnnff_calc.data.structures:_fault", "sdnnff_calc.data.structures:_require_shapes"),
    # what other libraries leave untyped: click's keywords, executors of parsl, torch's context, maps of NumPy, hashes
    *("phon_wigner.cli.analysis:command", "phon_wigner.cli.options:command"),
    *(f"screen_cli.engines.parsl.engine:_{name}" for name in ("busy", "check_interchange", "limit_questions")),
    *(f"screen_cli.engines.parsl.engine:_{name}" for name in ("managers", "slots")),
    *("screen_cli.engines.parsl.configuration:_provider", "sdnnff_calc.calculators.ase_plugin:_plugins"),
    *("sdnnff_calc.models.blocked_product:backward", "sdnnff_calc.models.blocked_product:forward"),
    *("sdnnff_calc.data.sample_stores:_hash", "sdnnff_calc.data.sample_stores:_map"),
}
"""Functions, private or within others, whose signatures may hold ``Any``, and why."""


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


def anys_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the places of a signature whose type holds ``Any``."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    yield from (f"({one.arg})" for one in every if has_any(one.annotation))
    if has_any(node.returns):
        yield " ->"


def bare_anys(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Yield each parameter, return, field and alias of public things whose type holds ``Any``."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) if is_public(name):
                yield from bare_anys(node.body, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if is_public(name):
                yield from (f"{prefix}{name}{place}" for place in anys_of(node))
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


def test_signatures_of_private_functions_hold_any_only_where_it_is_said_why():
    found = {
        f"{'.'.join(path.relative_to(PACKAGES).with_suffix('').parts[2:])}:{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and list(anys_of(node))
    }
    assert sorted(found - PRIVATE) == []
    assert sorted(PRIVATE - found) == [], "an exception that is not needed any more"


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
