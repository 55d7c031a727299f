"""What a user may get wrong: one sentence on stderr, nothing on stdout, exit code 2, never a stack trace."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdnnff_calc.cli import jobs, main
from sdnnff_calc.config import read_config
from sdnnff_calc.data.compressed import open_text
from sdnnff_calc.data.phonon_files import load_yaml
from sdnnff_calc.data.structures import iterate_structures
from sdnnff_calc.errors import ConfigError, DataError, SdnnffError
from sdnnff_calc.models.checkpoint import Model, load_model, save_model
from sdnnff_calc.testing import toy_model

XYZ = '2\nLattice="8 0 0 0 8 0 0 0 8" Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T T"\n'
ATOMS = "Cu 0 0 0 0.1 0 0\nCu 0 0 2.5 -0.1 0 0\n"


class Exploit:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def a_pickle() -> bytes:
    return pickle.dumps({"format": "sdnnff-calc checkpoint", "weights": Exploit()})


def a_torch_file(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def a_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02")
    return stream.getvalue()


SETTINGS = {
    "not TOML": b"[model\n",
    "UTF-16": "[model]\n".encode("utf-16"),
    "Latin-1": "# Ångström\n[model]\n".encode("latin-1"),
    "NUL": b"[model]\x00\n",
    "nan": b"[model]\ncutoff = nan\n",
    "infinity": b"[training]\nlearning_rate = inf\n",
    "negative": b"[training]\nenergy_weight = -1.0\n",
    "zero": b"[training]\nepochs = 0\n",
    "text for a number": b'[training]\nepochs = "10"\n',
    "number for text": b"[training]\nworkdir = 3\n",
    "true for a number": b"[model]\nn_layers = true\n",
    "list for a number": b"[model]\ncutoff = [6.0]\n",
    "huge integer": b"[training]\nseed = 99999999999999999999999\n",
    "unknown table": b"[trainings]\n",
    "unknown key": b"[training]\nepoch = 3\n",
    "a table that is none": b"training = 3\n",
    "kind of no model": b'[model]\nkind = ["sdnnff"]\n',
    "twice": b"[model]\n[model]\n",
    "deep": b"x = " + b"[" * 5000 + b"]" * 5000,
    "empty data": b"[data]\n",
    "no such data": b'[data]\ntrain = ["nothing.extxyz"]\n',
    "odd name": b'[data]\ntrain = ["\\u001b[31mred"]\n',
    "NUL in a name": b'[data]\ntrain = ["a\\u0000b"]\n',
}

DATA = {
    "empty.extxyz": b"",
    "text.extxyz": b"not really\n",
    "count.extxyz": b"999999999999\n\n",
    "short.extxyz": (XYZ + "Cu 0 0 0 0.1 0 0\n").encode(),
    "nan.extxyz": (XYZ + ATOMS.replace("0.1", "nan")).encode(),
    "noforces.extxyz": b"1\n\nCu 0 0 0\n",
    "element.extxyz": (XYZ + ATOMS.replace("Cu", "Qq")).encode(),
    "binary.extxyz": bytes(range(256)) * 10,
    "utf16.extxyz": (XYZ + ATOMS).encode("utf-16"),
    "cut.extxyz.gz": gzip.compress((XYZ + ATOMS).encode())[:-12],
    "wrong.extxyz.gz": b"no gzip",
    "tag.yaml": b"!!python/object/apply:os.system ['touch owned']\n",
    "list.yaml": b"[1, 2]\n",
    "broken.yaml": b"supercell: [1, 2\n",
    "deep.yaml": b"[" * 3000,
    "noset.yaml": b"phonopy: {version: '4'}\n",
    "vasprun.xml": b"<modeling><calculation></modeling>",
    "bomb.xml": b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><modeling>&b;</modeling>',
    "OUTCAR": b" vasp.6.4.2\n   ions per type =    1\n",
    "text.db": b"SQLite format 3\x00 and no more",
    "cut.pwo": b"     Program PWSCF v.7.2 starts\n     number of atoms/cell      =            2\n",
    "structure.cif": b"data_x\n_cell_length_a nonsense\n",
    "missing.extxyz": None,
}

CHECKPOINTS = {
    "empty": b"",
    "text": b"not a model",
    "pickle": a_pickle(),
    "zip": a_zip(),
    "other torch file": a_torch_file({"weights": {"a": torch.zeros(3)}}),
    "list": a_torch_file([1, 2, 3]),
    "pickle in a torch file": a_torch_file({"format": "sdnnff-calc checkpoint", "weights": Exploit()}),
    "version": a_torch_file({"format": "sdnnff-calc checkpoint", "format_version": 99}),
    "keys": a_torch_file({"format": "sdnnff-calc checkpoint", "format_version": 2}),
    "numpy": np.arange(4).tobytes(),
}


def said_of(job: Callable[[], object], kind: type[Exception], else_: str) -> str:
    """What a job says when it fails as it may; any other exception passes through."""
    try:
        job()
    except kind as error:
        return str(error)
    return else_


def check(capsys: pytest.CaptureFixture[str], code: int) -> str:
    printed = capsys.readouterr()
    said = printed.err.strip().splitlines()
    assert code == 2, printed.err
    assert printed.out == ""
    assert sum(line.startswith("sdnnff: ") for line in said) == 1
    assert "Traceback" not in printed.err
    assert "\x1b" not in printed.err
    assert said[-1].endswith((".", ")", "'", "fault"))
    assert not Path("owned").exists()
    return said[-1]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_bytes(SETTINGS[name])
    check(capsys, main(["train", "c.toml"]))


@pytest.mark.parametrize("name", DATA)
def test_wrong_data(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if (content := DATA[name]) is not None:
        Path(name).write_bytes(content)
    Path("c.toml").write_text(f'[data]\ntrain = ["{name}"]\n')
    assert name in check(capsys, main(["train", "c.toml"]))


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("command", ["info", "embed"])
def test_wrong_checkpoints(name: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.pt").write_bytes(CHECKPOINTS[name])
    Path("a.xyz").write_text(XYZ + ATOMS)
    check(capsys, main([command, "m.pt", *(["a.xyz"] if command == "embed" else [])]))


def test_every_fault_of_the_settings_is_said_at_once_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text("[model]\ncutof = 5.0\n\n[training]\nepochs = -1\nlearning_rate = nan\n")
    said = check(capsys, main(["train", "c.toml"]))
    for part in ("line 2: ", "Did you mean 'cutoff'?", "line 5: ", "line 6: "):
        assert part in said


def test_debug_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "info", "nothing.pt"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["info", "nothing.pt", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_ours_leaves_a_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def crash(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr(jobs, "info", crash)
    assert main(["info"]) == 70
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: seven" in said
    assert "Traceback" not in said
    (report,) = Path().glob("sdnnff-crash-*.txt")
    text = report.read_text()
    assert "ZeroDivisionError: seven" in text
    assert "torch 2" in text


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device", "run/model.pt")])
def test_what_the_machine_lacks_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "info", fail)
    check(capsys, main(["info"]))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_settings_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("t") / "c.toml"
    path.write_text(text, encoding="utf-8")
    assert "c.toml" in said_of(lambda: read_config(path), ConfigError, "c.toml")


@pytest.mark.parametrize("name", ["x.extxyz", "x.yaml", "vasprun.xml", "OUTCAR", "x.pwo", "x.db"])
@given(content=st.binary(max_size=400))
def test_any_bytes_are_structures_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("b") / name
    path.write_bytes(content)
    assert name in said_of(lambda: list(iterate_structures([path])), DataError, name)


@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_damaged_checkpoint_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    """Any byte changed: an error, or (in what the zip file does not use) the same weights."""
    path = save_model(toy_model("direct-1"), tmp_path_factory.mktemp("c") / "m.pt")
    before = load_model(path)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= value
    path.write_bytes(content)
    loaded: list[Model] = []
    assert "m.pt" in said_of(lambda: loaded.append(load_model(path)), SdnnffError, "m.pt")
    if not loaded:
        return
    after = loaded[0]
    assert after.checksum == before.checksum
    for key, tensor in after.network.state_dict().items():
        assert torch.equal(tensor, before.network.state_dict()[key])


def _laughs(levels: int = 9) -> bytes:
    """A short YAML text that stands for 10^levels words."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("content", [_laughs(), b"a: &b 1\nc: *b\n", b"[" * 100_000, b"a: " + b"{b: " * 100_000])
def test_yaml_that_unfolds_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.yaml"):
        load_yaml(tmp_path / "x.yaml")


def test_an_ampersand_in_a_comment_or_a_name_is_no_anchor(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "x.yaml").write_text("# Smith &Sons *all*\nname: 'A &B'\n")
    assert load_yaml(tmp_path / "x.yaml") == {"name": "A &B"}


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, module: Any) -> None:
    path = tmp_path / "x.extxyz"
    path.write_bytes(module.compress(b"#" * 200_000_000))  # one line
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 64 MiB"), open_text(path) as stream:
        stream.readline()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400 << 20
    with pytest.raises(DataError):
        list(iterate_structures([path]))
