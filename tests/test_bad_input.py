"""Bad input: a clear sentence, exit code 2 or a quarantined crystal, and nothing lost."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from screen_cli.cli import main
from screen_cli.store.run_directory import RunDirectory

GOOD = bulk("Al", a=4.05)


class BrokenEMT(EMT):
    """EMT that goes wrong on silver, in the way asked for."""

    def __init__(self, fault: str = "nan") -> None:
        super().__init__()
        self.fault = fault

    def calculate(self, *args, **options):
        super().calculate(*args, **options)
        if "Ag" in self.atoms.symbols:
            self.results["forces"] = self.results["forces"] + (np.nan if self.fault == "nan" else 1e6)


def screen(fast_config, tmp_path, crystals, *overrides):
    """Run good aluminium beside the given files; return the quarantine by provider id."""
    folder = tmp_path / "crystals"
    folder.mkdir()
    write(folder / "good.cif", GOOD)
    for name, content in crystals.items():
        if isinstance(content, str):
            (folder / name).write_text(content)
        else:
            write(folder / name, content)
    config = tmp_path / "files.toml"
    text = fast_config("Al").read_text().splitlines()
    text[text.index('name = "prototypes"')] = 'name = "files"'
    text = [
        f'options = {{ paths = ["{folder}"] }}' if line.startswith("options = { entries") else line for line in text
    ]
    config.write_text("\n".join(text))
    sets = [argument for override in ("conductivity.enabled=false", *overrides) for argument in ("--set", override)]
    assert main(["run", str(config), "--quiet", *sets]) == 0
    run = RunDirectory.open(tmp_path / "files")
    index = run.index(read_only=True)
    rows = list(index.rows())
    index.close()
    good = [row for row in rows if row["formula"] == "Al"]
    assert [row["state"] for row in good] == ["done"], good
    return {row["formula"] or os.path.basename(row["provider_id"]): row for row in rows if row not in good}


BROKEN_CIF = "data_x\n_cell_length_a 4.0\nloop_\n_atom_site_label\n_atom_site_fract_x\nAl"
PARTIAL_CIF = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P m -3 m'
_space_group_IT_number 221
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu1 Cu 0 0 0 0.5
Au1 Au 0 0 0 0.5
"""


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.cif", BROKEN_CIF, "Wrong number of values in loop"),
        ("partial.cif", PARTIAL_CIF, "partial occupancy"),
        ("overlap.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 0.1]], cell=[4, 4, 4], pbc=True), "overlap"),
        ("flat.xyz", Atoms("Cu", cell=[4, 4, 0], pbc=True), "must span a volume"),
        (
            "nanometres.xyz",
            Atoms("Cu", cell=0.361 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), pbc=True),
            "in Å",
        ),
        ("picometres.xyz", Atoms("Cu", cell=[255, 255, 255], pbc=True), "in Å"),
        (
            "cut.xyz",
            '4\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T" Properties=species:S:1:pos:R:3\nCu 0 0 0\nCu 0 2',
            "announces 4 atoms",
        ),
    ],
)
def test_unusable_files_are_quarantined(fast_config, tmp_path, name, content, reason):
    bad = screen(fast_config, tmp_path, {name: content})
    (row,) = bad.values()
    assert (row["state"], row["stage"]) == ("failed", "read")
    assert reason in row["reason"]


def test_unknown_element_is_quarantined(fast_config, tmp_path):
    row = screen(fast_config, tmp_path, {"fe.cif": bulk("Fe", a=2.87)})["Fe"]
    assert row["state"] == "failed"
    assert "Fe" in row["reason"]


@pytest.mark.parametrize(("fault", "reason"), [("nan", "NaN|not finite"), ("explode", "explod|above|largest")])
def test_bad_forces_are_quarantined(fast_config, tmp_path, fault, reason, monkeypatch):
    import re

    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    row = screen(
        fast_config,
        tmp_path,
        {"ag.cif": bulk("Ag", a=4.09)},
        "calculator.name=ase:test_bad_input.BrokenEMT",
        f'calculator.options={{fault = "{fault}"}}',
    )["Ag"]
    assert row["state"] == "failed"
    assert re.search(reason, row["reason"]), row["reason"]


class Unmade(EMT):
    """Cannot be made at all."""

    def __init__(self) -> None:
        raise RuntimeError("no GPU is left")


class WithoutRoom(EMT):
    """Finds the disk of its scratch files full."""

    def calculate(self, *args, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("Unmade", 2, "cannot be made with its options {}: RuntimeError: no GPU"), ("WithoutRoom", 1, "/scratch/x")],
)
def test_what_is_no_crystals_fault_stops_the_run_and_quarantines_nobody(
    fast_config, tmp_path, name, code, words, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    config = fast_config("Al", "Cu")
    assert main(["run", str(config), "--quiet", "--set", f"calculator.name=ase:test_bad_input.{name}"]) == code
    assert words in capsys.readouterr().err
    assert list((tmp_path / "screen" / "failed").glob("*")) == []


def test_imaginary_modes_are_skipped_with_the_lowest_frequency(fast_config, tmp_path, capsys):
    """bcc copper is unstable in EMT; relaxation cannot leave the space group."""
    config = fast_config("Al")
    text = config.read_text().replace(
        'prototype = "cu3au", elements = ["Al", "Al"], a = 4.05',
        'prototype = "cscl", elements = ["Cu", "Cu"], a = 2.87',
    )
    config.write_text(text.replace("dim = [2, 2, 2]", "dim = [3, 3, 3]"))
    assert main(["run", str(config), "--quiet"]) == 0
    run = RunDirectory.open(tmp_path / "screen")
    index = run.index(read_only=True)
    (row,) = index.rows()
    index.close()
    assert (row["state"], row["stage"]) == ("skipped", "gate")
    assert "unstable: lowest frequency -" in row["reason"]


def test_underdetermined_fit_is_refused(fast_config, tmp_path):
    config = fast_config("Al", extra="")
    text = config.read_text().replace("min_pairs = 2", "n_supercells = 1\npaired = false\nmin_pairs = 1")
    config.write_text(text)
    assert main(["run", str(config), "--quiet"]) == 0
    run = RunDirectory.open(tmp_path / "screen")
    (report,) = run.store.quarantined()
    assert "UnderdeterminedFitError" in report["reason"]


def test_a_cutoff_that_one_crystal_has_no_bond_in_stops_no_other(fast_config, tmp_path):
    """Nickel atoms are 2.5 Å apart, those of silver 2.9."""
    config = fast_config("Ag", "Ni")
    assert main(["run", str(config), "--quiet", "--set", "force_constants.options.cutoff=2.7"]) == 0
    run = RunDirectory.open(tmp_path / "screen")
    (report,) = run.store.quarantined()
    assert "leaves no force constant" in report["reason"]
    states = {row["formula"]: row["state"] for row in run.rows()}
    assert states["Ag"] == "failed"
    assert states["Ni"] in ("done", "skipped")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("relax.fmx=1e-3", "Did you mean 'fmax'"),
        ("calculator.name=sevenet", "Did you mean 'sevennet'"),
        ("engine.name=slurm", "Known: local"),
        ("force_constants.solver=symfx", "Did you mean 'symfc'"),
        ("conductivity.solver=wgner", "Did you mean 'wigner'"),
        ("calculator.options={model = 'x'}", "does not accept"),
        ("properties.names=['msd']", "unknown property 'msd'"),
    ],
)
def test_bad_settings_exit_with_2_and_a_hint(fast_config, capsys, override, message):
    assert main(["run", str(fast_config("Al")), "--quiet", "--set", override]) == 2
    assert message in capsys.readouterr().err


def test_unwritable_run_directory(fast_config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(fast_config("Al")), "--run-dir", str(tmp_path / "file" / "run")]) == 1
    assert "cannot make the run directory" in capsys.readouterr().err


def test_missing_calculator_library_names_its_pip_line(fast_config, capsys, tmp_path):
    import importlib.util

    if importlib.util.find_spec("mace"):
        pytest.skip("mace is installed")
    (tmp_path / "some.model").write_text("weights")
    options = f"calculator.options={{path = '{tmp_path / 'some.model'}', trust = true}}"
    assert main(["run", str(fast_config("Al")), "--quiet", "--set", "calculator.name=mace", "--set", options]) == 2
    assert "screen-cli[mace]" in capsys.readouterr().err
    assert main(["run", str(fast_config("Al")), "--quiet", "--set", "calculator.name=mace", "--accept-changes"]) == 2
    assert "would have to download" in capsys.readouterr().err
