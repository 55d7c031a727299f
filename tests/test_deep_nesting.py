"""Files nested without end, in a process whose recursion limit symfc has raised: a sentence, and no dead process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEPTH = 200_000
READERS = {
    "source of screen-cli": (
        "deep.extxyz",
        "from screen_cli.sources.files import iterate_files\n"
        "(item,) = iterate_files([path])\n"
        "raise ValueError(item.reason)",
    ),
    "record of a run": ("deep.json", "from screen_cli.store.sealed import unseal\nunseal(path.read_text())"),
    "data of a training": (
        "deep.extxyz",
        "from sdnnff_calc.data.structures import iterate_structures\nlist(iterate_structures([path]))",
    ),
    "pool of a loop": (
        "deep.extxyz",
        "from al_committee.selection.pool import read_crystals\nlist(read_crystals(path))",
    ),
    "record of a loop": ("deep.json", "from al_committee.file_access.atomic_write import read_json\nread_json(path)"),
    "structure of a label": (
        "deep.json",
        "from al_committee.labels.identity import decode_structure\ndecode_structure(path.read_text())",
    ),
    "table of conductivities": (
        "deep.json",
        "from phon_wigner.conductivity.metrics import read_reference\nread_reference(path)",
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_nested_without_end_gives_a_sentence(reader: str, tmp_path: Path) -> None:
    name, program = READERS[reader]
    nested = "[" * DEPTH + "]" * DEPTH
    content = {
        "deep.json": f'{{"a": {nested}}}',
        "deep.extxyz": "1\n"
        f'Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T" x="_JSON {nested}"\nAr 0 0 0\n',
    }[name]
    (tmp_path / name).write_text(content)
    body = "\n    ".join(program.split("\n"))
    script = (
        "import sys\nfrom pathlib import Path\nimport symfc\nsys.setrecursionlimit(100_000)\n"
        f"path = Path(sys.argv[1])\ntry:\n    {body}\n"
        "except Exception as error:\n    print('said:', type(error).__name__, error)\n"
        "assert sys.getrecursionlimit() == 100_000\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / name)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("said:"), done.stdout[:2000]
    assert len(done.stdout) < 1000
