"""Bad files, options and settings: one sentence on stderr, no trace, nothing on stdout, the right exit code."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from phon_wigner.cli import main
from phon_wigner.cli.boundary import CRASHED, INTERRUPTED, WRONG_INPUT
from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
from phon_wigner.errors import InputFileError, WignerError
from phon_wigner.file_access.reading import open_hdf5
from phon_wigner.files.kappa_file import read_kappa_file
from phon_wigner.files.phonopy_yaml import read_yaml_crystal
from phon_wigner.files.safe_yaml import load_yaml
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.testing import write_shengbte
from phon_wigner.testing.springs import spring_crystal, spring_force_constants
from phon_wigner.testing.strategies import plain_documents, unsafe_documents

CELL = PhonopyAtoms(symbols=["Cs", "Cl"], cell=np.eye(3) * 4.1, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
YAML = """phono3py:
  version: "4.10.0"
physical_unit:
  length: "angstrom"
supercell_matrix:
- [ 2, 0, 0 ]
- [ 0, 2, 0 ]
- [ 0, 0, 2 ]
primitive_matrix:
- [ 1.0, 0.0, 0.0 ]
- [ 0.0, 1.0, 0.0 ]
- [ 0.0, 0.0, 1.0 ]
unit_cell:
  lattice:
  - [ 4.1, 0.0, 0.0 ]
  - [ 0.0, 4.1, 0.0 ]
  - [ 0.0, 0.0, 4.1 ]
  points:
  - symbol: Cs
    coordinates: [ 0.0, 0.0, 0.0 ]
    mass: 132.905452
  - symbol: Cl
    coordinates: [ 0.5, 0.5, 0.5 ]
    mass: 35.453
"""


@pytest.fixture(scope="module")
def widths():
    crystal = spring_crystal(CELL)
    qpoints, weights = crystal.irreducible_mesh((2, 2, 2))
    _, frequencies, _ = crystal.collect_pairs(qpoints, weights, imaginary_tolerance=0.1)
    frequencies = np.maximum(frequencies, 0)
    gamma = (0.05 + 0.01 * frequencies)[None]
    return Linewidths(np.array([300.0]), qpoints, weights, gamma, frequencies=frequencies, mesh=(2, 2, 2))


@pytest.fixture
def folder(tmp_path, widths, monkeypatch):
    """A complete run: kappa-m222.hdf5, phono3py_params.yaml, fc2.hdf5, a ShengBTE folder, results of analyze."""
    with h5py.File(tmp_path / "kappa-m222.hdf5", "w") as handle:
        for name, value in (
            ("temperature", widths.temperatures),
            ("qpoint", widths.qpoints),
            ("weight", widths.weights),
            ("gamma", widths.gamma),
            ("frequency", widths.frequencies),
            ("mesh", [2, 2, 2]),
        ):
            handle[name] = value
    (tmp_path / "phono3py_params.yaml").write_text(YAML)
    with h5py.File(tmp_path / "fc2.hdf5", "w") as handle:
        handle["force_constants"] = spring_force_constants(get_supercell(CELL, np.eye(3, dtype=int) * 2))
    (tmp_path / "BTE").mkdir()
    write_shengbte(tmp_path / "BTE", widths)
    result = analyze(spring_crystal(CELL), widths, settings=AnalysisSettings(keep_modes=True, map_bins=5))
    result.to_hdf5(tmp_path / "result.hdf5")
    result.to_json(tmp_path / "result.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hdf5(name, **changes):
    """Change, or remove (None), datasets of an HDF5 file."""

    def spoil(folder):
        with h5py.File(folder / name, "r+") as handle:
            for key, value in changes.items():
                if key in handle:
                    if callable(value):
                        value = value(handle[key][()])
                    del handle[key]
                if value is not None:
                    handle[key] = value

    return spoil


def text(name, content):
    """Replace a file by this text or these bytes, or by a function of its text."""

    def spoil(folder):
        path = folder / name
        value = content(path.read_text()) if callable(content) else content
        path.write_bytes(value if isinstance(value, bytes) else value.encode())

    return spoil


def replaced(name, old, new):
    """Replace a part of a text."""

    def change(content):
        assert old in content
        return content.replace(old, new)

    return text(name, change)


def nothing(folder):
    """Leave everything as it is."""


def with_nan(array):
    return np.where(np.arange(array.size).reshape(array.shape) == 1, np.nan, array)


K, Y = "kappa-m222.hdf5", "phono3py_params.yaml"
ANALYZE = ["analyze", K, Y]
GLASS = ["glass", Y, "--mesh", "1", "1", "1"]
SHENG = ["shengbte", "BTE", Y]
BILLION = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)

CASES = {
    # kappa files
    "kappa missing": (["analyze", "none.hdf5", Y], nothing, "does not exist"),
    "kappa is a folder": (["analyze", "BTE", Y], nothing, "is a folder"),
    "kappa is no hdf5": (ANALYZE, text(K, "hello"), "cannot be read as HDF5"),
    "kappa is empty": (ANALYZE, text(K, b""), "cannot be read as HDF5"),
    "kappa is cut": (ANALYZE, lambda f: os.truncate(f / K, 900), "cannot be read as HDF5"),
    "kappa without gamma": (ANALYZE, hdf5(K, gamma=None), "lacks gamma"),
    "gamma of two axes": (ANALYZE, hdf5(K, gamma=np.ones((2, 6))), "expected (temperatures"),
    "gamma is text": (ANALYZE, hdf5(K, gamma="wide"), "gamma"),
    "gamma is complex": (ANALYZE, hdf5(K, gamma=lambda g: g + 1j), "gamma"),
    "gamma of another run": (ANALYZE, hdf5(K, gamma=lambda g: g[:, :2]), "has shape"),
    "gamma is nan": (ANALYZE, hdf5(K, gamma=with_nan), "not finite"),
    "gamma is negative": (ANALYZE, hdf5(K, gamma=lambda g: -g), "negative"),
    "gamma is a group": (ANALYZE, hdf5(K, **{"gamma": None, "gamma/x": 1.0}), "gamma has shape"),
    "qpoint is nan": (ANALYZE, hdf5(K, qpoint=with_nan), "not finite"),
    "qpoint of two columns": (ANALYZE, hdf5(K, qpoint=lambda q: q[:, :2]), "qpoint has shape"),
    "weight is zero": (ANALYZE, hdf5(K, weight=lambda w: 0 * w), "weight below 1"),
    "weight of another group": (ANALYZE, hdf5(K, weight=lambda w: w + 4), "arms"),
    "temperature is nan": (ANALYZE, hdf5(K, temperature=[np.nan]), "not finite"),
    "temperature below zero": (ANALYZE, hdf5(K, temperature=[-3.0]), ">= 0"),
    "frequency in rad/ps": (ANALYZE, hdf5(K, frequency=lambda f: f * 2 * np.pi), "angular"),
    "frequency is infinite": (ANALYZE, hdf5(K, frequency=lambda f: f + np.inf), "not finite"),
    "boundary of length zero": (
        ANALYZE,
        hdf5(K, boundary_mfp=0.0, group_velocity=np.ones((4, 6, 3))),
        "positive length",
    ),
    "isotopes of another shape": (ANALYZE, hdf5(K, gamma_isotope=np.ones((2, 2))), "gamma_isotope has shape"),
    "electrons of another shape": (ANALYZE, hdf5(K, gamma_elph=np.ones(3)), "gamma_elph has shape"),
    "volume of another cell": (ANALYZE, hdf5(K, kappa_unit_conversion=1.0), "Å³"),
    # YAML
    "yaml missing": (["analyze", K, "none.yaml"], nothing, "does not exist"),
    "yaml is binary": (ANALYZE, text(Y, b"\x00\x01\xff\xfe"), "cannot be read as YAML"),
    "yaml in latin-1": (ANALYZE, text(Y, "phono3py: é".encode("latin-1")), "cannot be read as YAML"),
    "yaml is empty": (ANALYZE, text(Y, ""), "no YAML mapping"),
    "yaml is a list": (ANALYZE, text(Y, "- 1\n- 2\n"), "no YAML mapping but list"),
    "yaml does not parse": (ANALYZE, text(Y, "a: [1, 2\nb: }"), "cannot be read as YAML"),
    "yaml calls code": (ANALYZE, text(Y, "unit_cell: !!python/object/apply:os.system ['touch pwned']"), "YAML"),
    "yaml of anchors": (ANALYZE, text(Y, BILLION), "anchors"),
    "yaml is deep": (ANALYZE, text(Y, "a: " + "[" * 200_000), "cannot be read as YAML"),
    "yaml without a cell": (ANALYZE, text(Y, "phono3py:\n  version: '4'\n"), "no unit cell"),
    "yaml without lattice": (ANALYZE, replaced(Y, "lattice", "grid"), "phono3py YAML"),
    "yaml with a word for a number": (ANALYZE, replaced(Y, "[ 4.1, 0.0", "[ long, 0.0"), "phono3py YAML"),
    "yaml with nan": (ANALYZE, replaced(Y, "[ 4.1, 0.0", "[ .nan, 0.0"), "span no volume"),
    "yaml of a flat cell": (ANALYZE, replaced(Y, "[ 4.1, 0.0", "[ 0.0, 0.0"), "span no volume"),
    "yaml of an unknown element": (ANALYZE, replaced(Y, "symbol: Cs", "symbol: Xx"), "phono3py YAML"),
    "yaml of an unknown program": (ANALYZE, replaced(Y, 'version: "4.10.0"', "calculator: abc"), "does not know"),
    "yaml in another unit": (ANALYZE, replaced(Y, '"angstrom"', '"au"'), "lengths in au"),
    "yaml of a flat supercell": (ANALYZE, replaced(Y, "[ 2, 0, 0 ]", "[ 0, 0, 0 ]"), "supercell matrix"),
    "yaml of a huge supercell": (ANALYZE, replaced(Y, "[ 2, 0, 0 ]", "[ 99999, 0, 0 ]"), "supercell matrix"),
    "yaml of two supercell rows": (ANALYZE, replaced(Y, "- [ 0, 2, 0 ]\n", ""), "supercell_matrix has shape"),
    "yaml of a wrong primitive cell": (ANALYZE, replaced(Y, "[ 1.0, 0.0, 0.0 ]", "[ 7.0, 0.0, 0.0 ]"), "--pa"),
    "packed yaml is damaged": (["analyze", K, "x.yaml.xz"], text("x.yaml.xz", lzma.compress(b"a: 1")[:-9]), "YAML"),
    # force constants and charges
    "no fc2": (ANALYZE, lambda f: (f / "fc2.hdf5").unlink(), "fc2.hdf5 is not beside it"),
    "fc2 is nan": (ANALYZE, hdf5("fc2.hdf5", force_constants=with_nan), "not finite"),
    "fc2 of another supercell": (ANALYZE, hdf5("fc2.hdf5", force_constants=np.zeros((4, 4, 3, 3))), "Check --dim-fc2"),
    "fc2 of four axes of 2": (ANALYZE, hdf5("fc2.hdf5", force_constants=np.zeros((4, 4, 2, 2))), "has shape"),
    "fc2 without a dataset": (ANALYZE, hdf5("fc2.hdf5", force_constants=None), "no dataset force_constants"),
    "fc2 in furlongs": (ANALYZE, hdf5("fc2.hdf5", physical_unit=np.array([b"eV/furlong^2"])), "furlong"),
    "fc2 of a number as unit": (ANALYZE, hdf5("fc2.hdf5", physical_unit=np.array([3.0])), "unit"),
    "fc2 turned around": (ANALYZE, hdf5("fc2.hdf5", force_constants=lambda c: -c), "unstable"),
    "FORCE_CONSTANTS too short": (
        [*ANALYZE, "--fc2", "FC"],
        text("FC", "16 16\n1 1\n0 0 0\n"),
        "more than the file can",
    ),
    "FORCE_CONSTANTS of words": ([*ANALYZE, "--fc2", "FC"], text("FC", "not a number"), "FORCE_CONSTANTS"),
    "FORCE_CONSTANTS of 1e12 atoms": ([*ANALYZE, "--fc2", "FC"], text("FC", "999999999999\n1 1\n"), "more than"),
    "BORN is empty": (ANALYZE, text("BORN", ""), "BORN"),
    "BORN of too few atoms": (ANALYZE, text("BORN", "14.4\n1 0 0 0 1 0 0 0 1\n1 0 0 0 1 0 0 0 1\n"), "BORN"),
    "BORN with nan": (ANALYZE, text("BORN", "14.4\n" + "nan 0 0 0 1 0 0 0 1\n" * 3), "not finite"),
    "BORN of no dielectric": (ANALYZE, text("BORN", "14.4\n" + "0 0 0 0 0 0 0 0 0\n" * 3), "positive definite"),
    "BORN with a strange factor": (ANALYZE, text("BORN", "3.3\n" + "1 0 0 0 1 0 0 0 1\n" * 3), "NAC factor 3.3"),
    "BORN missing": ([*ANALYZE, "--born", "none"], nothing, "does not exist"),
    # cells
    "cell is no POSCAR": (
        ["glass", "-c", Y, "--dim", "1", "1", "1", "--fc2", "fc2.hdf5"],
        nothing,
        "unit cell of vasp",
    ),
    "cell is no input of qe": (
        ["glass", "-c", Y, "--qe", "--dim", "1", "1", "1", "--fc2", "fc2.hdf5"],
        nothing,
        "of qe",
    ),
    "no crystal at all": (["glass"], nothing, "no crystal"),
    # ShengBTE
    "no ShengBTE folder": (["shengbte", "none", Y], nothing, "does not exist"),
    "BTE.w is short": (SHENG, text("BTE/T300K/BTE.w", "1.0 2.0\n"), "expected"),
    "BTE.w is empty": (SHENG, text("BTE/T300K/BTE.w", ""), "cannot be read"),
    "BTE.w of words": (SHENG, text("BTE/T300K/BTE.w", "a b\n"), "cannot be read"),
    "BTE.w is not utf-8": (SHENG, text("BTE/T300K/BTE.w", b"\xff\xfe1 2\n"), "cannot be read"),
    "BTE.w holds stars": (SHENG, replaced("BTE/T300K/BTE.w", "E+0", "***"), "cannot be read"),
    "BTE.omega is nan": (SHENG, text("BTE/BTE.omega", lambda t: "NaN" + t[20:]), "not finite"),
    "BTE.qpoints of four columns": (SHENG, text("BTE/BTE.qpoints", "1 2 3 4\n"), "expected 6"),
    "unknown convention": ([*SHENG, "--convention", "fwmh-thz"], nothing, "Did you mean 'fwhm-thz'"),
    # options
    "temperature not stored": ([*ANALYZE, "--ts", "250"], nothing, "--interpolate"),
    "primitive axes of zero": ([*ANALYZE, "--pa", "1/0", *"00010001"], nothing, "no number or fraction"),
    "primitive axes of eight": ([*ANALYZE, "--pa", *"10001000"], nothing, "nine numbers"),
    "unknown centring": ([*ANALYZE, "--pa", "Q"], nothing, "--pa"),
    "dim of two": ([*ANALYZE, "--dim", "2", "2"], nothing, "3 or 9 integers"),
    "dim of zero": ([*ANALYZE, "--dim", "0", "2", "2"], nothing, "supercell matrix"),
    "program against the yaml": ([*ANALYZE, "--qe"], nothing, "lengths in angstrom"),
    "glass at a mesh without symmetry": (["glass", Y, "--mesh", "3", "2", "2"], nothing, "equivalent axes"),
    "glass without any width": ([*GLASS, "--broadening", "0"], nothing, "broadening > 0"),
    # results and where they go
    "output in no folder": ([*ANALYZE, "--json", "none/out.json"], nothing, "cannot write none/out.json"),
    "output is a folder": ([*ANALYZE, "--hdf5", "BTE"], nothing, "cannot write BTE"),
    "tables in a file": ([*ANALYZE, "--csv", K], nothing, "cannot make the folder"),
    "figure of unknown format": (["plot", "result.hdf5", "modes", "-o", "x.abc"], nothing, "format of figures"),
    "figure of no result": (["plot", K, "modes", "-o", "x.png"], nothing, "no dataset"),
    "figure of two results": (
        ["plot", "result.hdf5", "result.hdf5", "map", "-o", "x.png"],
        nothing,
        "draws one result",
    ),
    "result of other shapes": (
        ["plot", "result.hdf5", "modes", "-o", "x.png"],
        hdf5("result.hdf5", weights=np.ones(2)),
        "weights has shape",
    ),
    "result with nan": (["plot", "result.hdf5", "map", "-o", "x.png"], hdf5("result.hdf5", kappa_c=with_nan), "finite"),
    "json of words": (["plot", "result.json", "many", "-o", "x.png"], text("result.json", "{"), "JSON|result"),
    "json of another kind": (
        ["plot", "result.json", "many", "-o", "x.png"],
        text("result.json", "[1]"),
        "a phon-wigner result",
    ),
    "json with nan": (
        ["plot", "result.json", "many", "-o", "x.png"],
        text("result.json", json.dumps({"temperatures": [1.0], "kappa_p": [[1] * 6], "kappa_c": [[float("nan")] * 6]})),
        "a phon-wigner result",
    ),
    "comparison with text": (["compare", "result.hdf5", "x.json"], text("x.json", "hello"), "a reference table"),
    "comparison with damaged gzip": (
        ["compare", "result.hdf5", "x.json.gz"],
        text("x.json.gz", gzip.compress(b"{}" * 99)[:-12]),
        "cannot be read",
    ),
    "comparison of no row": (["compare", "result.hdf5", "x.json"], text("x.json", '{"mp_id": {}}'), "--mp-id"),
    "comparison of an empty row": (
        ["compare", "result.hdf5", "x.json", "--mp-id", "a"],
        text("x.json", '{"mp_id": {"0": "a"}}'),
        "lacks numbers or columns",
    ),
    "comparison of a strange row": (
        ["compare", "result.hdf5", "x.json", "--mp-id", "a"],
        text(
            "x.json",
            json.dumps(
                {
                    name: {"0": "a" if name == "mp_id" else [300.0]}
                    for name in (
                        "mp_id",
                        "temperatures",
                        "kappa_TOT_ave",
                        "mode_kappa_TOT_ave",
                        "weights",
                        "qpoints",
                        "frequencies",
                    )
                }
            ),
        ),
        "do not belong together",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_exit_code_2(case, folder, capfd):
    arguments, spoil, message = CASES[case]
    spoil(folder)
    before = {p.name for p in folder.iterdir()}
    assert main(arguments) == WRONG_INPUT
    said = capfd.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("phon-wigner: ")]
    assert len(lines) == 1, said.err
    assert any(part in lines[0] for part in message.split("|")), lines[0]
    assert "Traceback" not in said.err
    assert {p.name for p in folder.iterdir()} == before, "something was left behind"


@pytest.mark.parametrize(
    "arguments",
    [
        [*ANALYZE, "--ts", "nan"],
        [*ANALYZE, "--ts", "-5"],
        [*ANALYZE, "--ts", "hot"],
        [*ANALYZE, "--tolerance", "inf"],
        [*ANALYZE, "--map-bins", "0"],
        [*ANALYZE, "--map-bins", "99999999999"],
        [*ANALYZE, "--boundary-mfp", "0"],
        [*ANALYZE, "--symprec", "0"],
        [*ANALYZE, "--imaginary-tolerance", "-1"],
        [*ANALYZE, "--dim", "two", "2", "2"],
        [*ANALYZE, "--nac-method", "none"],
        ["glass", Y, "--mesh", "0", "1", "1"],
        ["glass", Y, "--broadening", "-0.1"],
        ["plot", "result.hdf5", "pie", "-o", "x.png"],
        ["analyse"],
        [*ANALYZE, "--isotop"],
        [*ANALYZE, "--isotope", "--no-isotope"],
        [*ANALYZE, "--qe", "--abinit"],
        [],
    ],
    ids=" ".join,
)
def test_options_without_meaning_are_refused_by_name(arguments, folder, capsys):
    assert main(arguments) == WRONG_INPUT
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("phon-wigner"), said
    assert "Traceback" not in said


def test_the_run_itself_is_good(folder, capsys):
    """What the cases above spoil."""
    assert main([*ANALYZE, "--json", "out.json", "--hdf5", "out.hdf5", "--csv", "tables"]) == 0
    assert main(SHENG) == 0
    assert main(GLASS) == 0
    assert main(["plot", "result.json", "result.hdf5", "many", "-o", "x.png"]) == 0
    assert main(["compare", "result.hdf5", "out.hdf5"]) == 0
    assert "srme" in capsys.readouterr().out


def test_debug_shows_the_trace(folder, capsys):
    assert main(["--debug", "analyze", "none.hdf5", Y]) == WRONG_INPUT
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("phon-wigner: error:")


def test_a_fault_of_ours_leaves_a_report(folder, capsys, monkeypatch):
    """Versions, command and trace go to a file; stderr holds one sentence that names it."""
    monkeypatch.setattr("phon_wigner.files.kappa_file.read_kappa_file", lambda _: 1 // 0)
    assert main(ANALYZE) == CRASHED
    said = capsys.readouterr().err
    (report,) = folder.glob("phon-wigner-crash-*.txt")
    content = report.read_text()
    assert str(report) in said
    assert "Traceback" not in said
    assert "ZeroDivisionError" in content
    assert "phono3py 4" in content
    assert "'analyze'" in content


def test_an_interrupt_is_no_fault(folder, capsys, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("phon_wigner.files.kappa_file.read_kappa_file", stop)
    assert main(ANALYZE) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_names_cannot_carry_terminal_escapes(folder, capsys):
    assert main(["analyze", "x\x1b[31mred\n.hdf5", Y]) == WRONG_INPUT
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len(said.splitlines()) == 1


def test_a_read_only_folder_and_odd_file_names(folder):
    """Through a process of its own, as a user types it: names that are not UTF-8, output that cannot be written."""
    name = os.fsencode(folder) + b"/kappa-\xff.hdf5"
    with open(name, "wb") as handle:
        handle.write((folder / K).read_bytes())
    command = [sys.executable, "-m", "phon_wigner", "analyze", name, Y]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [*command, "--json", "/proc/out.json"], cwd=folder, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == WRONG_INPUT
    assert b"cannot write /proc/out.json" in done.stderr
    assert b"Traceback" not in done.stderr


def test_code_in_a_yaml_never_runs(folder):
    """Neither in analyze nor in glass, whatever key it stands under."""
    for key in ("phono3py", "unit_cell", "supercell_matrix", "displacements", "unknown"):
        evil = f"{key}: !!python/object/apply:os.system ['touch pwned']\n"
        (folder / Y).write_text(evil + "".join(x for x in YAML.splitlines(True) if not x.startswith(key)))
        assert main(ANALYZE) == WRONG_INPUT
        assert main(GLASS) == WRONG_INPUT
        assert not (folder / "pwned").exists()


def external(handle):
    handle.create_dataset("gamma", (1, 2, 3), "f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(handle):
    layout = h5py.VirtualLayout(shape=(1, 2, 3), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.hdf5", "x", shape=(1, 2, 3))
    handle.create_virtual_dataset("gamma", layout)


@pytest.mark.parametrize(
    "fill", [external, virtual, lambda handle: handle.__setitem__("gamma", h5py.ExternalLink("secret.hdf5", "x"))]
)
def test_hdf5_of_strangers_opens_no_other_file(fill, tmp_path):
    path = tmp_path / "kappa-m222.hdf5"
    with h5py.File(path, "w") as handle:
        fill(handle)
    with pytest.raises(InputFileError, match="another file"):
        read_kappa_file(path)
    with pytest.raises(InputFileError, match="another file"), open_hdf5(path, "the file", "Give another."):
        pass


some = settings(deadline=None, max_examples=40)


@some
@given(plain_documents())
def test_plain_yaml_comes_back_unchanged(tmp_path_factory, document):
    import yaml

    path = tmp_path_factory.mktemp("y") / "a.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    assert load_yaml(path) == document


@some
@given(unsafe_documents())
def test_yaml_that_asks_for_python_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("y") / "a.yaml"
    path.write_text(content)
    with pytest.raises(InputFileError, match="YAML"):
        load_yaml(path)


@some
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda t: YAML.replace("4.1", t or "x").encode()))
def test_any_bytes_as_yaml_are_a_crystal_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("y") / "a.yaml"
    path.write_bytes(content)
    with contextlib.suppress(WignerError):
        assert len(read_yaml_crystal(path).unitcell) > 0


@some
@given(st.integers(0, 30_000), st.binary(min_size=1, max_size=64))
def test_any_damage_to_a_kappa_file_is_a_record_or_a_sentence(widths, tmp_path_factory, place, content):
    path = tmp_path_factory.mktemp("k") / "kappa-m222.hdf5"
    with h5py.File(path, "w") as handle:
        handle["temperature"], handle["qpoint"], handle["weight"] = widths.temperatures, widths.qpoints, widths.weights
        handle.create_dataset("gamma", data=widths.gamma, compression="gzip")
        handle["frequency"] = widths.frequencies
    raw = bytearray(path.read_bytes())
    place %= len(raw)
    raw[place : place + len(content)] = content
    path.write_bytes(raw)
    with contextlib.suppress(WignerError):
        assert read_kappa_file(path).at(300.0).shape == widths.gamma.shape[1:]
