"""Nothing in our code unpickles, evaluates or shells out, outside a list with reasons; the list holds no stale line."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*sorted(ROOT.glob("packages/*/src")), ROOT / "recipes"]

_UNSAFE_NAMES = {
    "eval", "exec", "compile", "__import__",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
    "phonopy.load", "phono3py.load", "phonopy.interface.phonopy_yaml.read_phonopy_yaml",
    "phonopy.interface.phonopy_yaml.load_yaml", "phonopy.interface.phonopy_yaml.PhonopyYaml",
    "phono3py.interface.phono3py_yaml.Phono3pyYaml",
    "importlib.util.spec_from_file_location", "runpy.run_path",
}  # fmt: skip

SAFE = "with the safe loader, in C where it is there"
CHANNEL = "between an engine and the worker that it started itself, through a socket pair nobody else can open"
ALLOWED = {
    ("packages/screen-cli/src/screen_cli/engines/messages.py", "pickle.loads"): CHANNEL,
    ("packages/screen-cli/src/screen_cli/engines/worker.py", "pickle.loads"): CHANNEL,
    ("packages/screen-cli/src/screen_cli/engines/parsl/interchange.py", "pickle.load"): (
        "Parsl's own protocol: what the driver writes to the stdin of the interchange that it starts"
    ),
    (
        "packages/phon-wigner/src/phon_wigner/files/safe_yaml.py",
        "yaml.load",
    ): SAFE,
    (
        "packages/sdnnff-calc/src/sdnnff_calc/data/phonon_files.py",
        "yaml.load",
    ): SAFE,
    (
        "packages/screen-cli/src/screen_cli/stages/phonon_objects.py",
        "yaml.load",
    ): SAFE,
    ("packages/sdnnff-calc/src/sdnnff_calc/training/losses.py", "phonopy.load"): (
        "the same file has been read with the safe loader just before, which refuses every tag that names an object"
    ),
    ("recipes/fine_tune.py", "phonopy.load"): "files that this recipe wrote itself, a step before",
    ("packages/screen-cli/src/screen_cli/engines/parsl/configuration.py", "importlib.util.spec_from_file_location"): (
        "the user's own Parsl configuration, a program that the settings name"
    ),
}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Full name of what each import binds."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    """Dotted name of an expression, imports resolved; empty when it is none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := full_name(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def unsafe_calls(text: str) -> Counter[str]:
    """What a module refers to or calls that could run a stranger's code."""
    tree = ast.parse(text)
    names = imported_names(tree)
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = full_name(node, names)
            if name in _UNSAFE_NAMES:
                found[name] += 1
        if isinstance(node, ast.Call):
            name = full_name(node.func, names)
            given = {item.arg: item.value for item in node.keywords}
            constants = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
            if name.endswith("torch.load") and constants.get("weights_only") is not True:
                found["torch.load"] += 1
            if "allow_pickle" in given and constants.get("allow_pickle") is not False:
                found["allow_pickle"] += 1
            if "shell" in given and constants.get("shell") is not False:
                found["shell"] += 1
    return found


def test_no_unsafe_loader_outside_the_list():
    found = {}
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            for name in unsafe_calls(path.read_text(encoding="utf-8")):
                found[path.relative_to(ROOT).as_posix(), name] = path
    assert sorted(found.keys() - ALLOWED.keys()) == [], "load safely, or say in ALLOWED why it is safe"
    assert sorted(ALLOWED.keys() - found.keys()) == [], "no longer there: take it off the list"
    assert all(len(reason) > 30 for reason in ALLOWED.values())


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads as read\nread(b'')",
        "import yaml as y\ny.load('', Loader=y.Loader)",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import os\nos.system('ls')",
        "eval('1')",
        "f = eval",
        "import phonopy\nphonopy.load('phonopy_params.yaml')",
        "import os\nrun = os.popen",
    ],
)
def test_the_search_finds_it(code):
    assert unsafe_calls(code)


@pytest.mark.parametrize(
    "code",
    [
        "import yaml\nyaml.safe_load('')",
        "import torch\ntorch.load('x', weights_only=True)",
        "model.eval()",
        "import re\nre.compile('x')",
        "import json\njson.loads('1')",
        "import pickle\npickle.dumps(1)",
    ],
)
def test_the_search_leaves_the_safe_alone(code):
    assert not unsafe_calls(code)
