"""File exchange: inputs read back, outputs out of order, one broken, one missing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read
from ase.units import GPa

from al_committee.errors import ConfigError, UnknownNameError
from al_committee.labels.dft_formats import EspressoFormat, VaspFormat, make_dft_format
from al_committee.labels.file_exchange import FileExchangeLabeller
from al_committee.labels.identity import structure_key
from al_committee.labels.outcome import LabelRequest
from al_committee.testing.vasprun import write_vasprun as vasprun

RECORDED = Path(__file__).parent / "data" / "espresso"
VASP = {"xc": "PBE", "encut": 520, "ediff": 1e-8, "kpts": [2, 2, 2], "gamma": True, "setups": {"Na": "_pv"}}
ESPRESSO = {
    "input_data": {"system": {"ecutwfc": 30.0}, "electrons": {"conv_thr": 1e-9}},
    "pseudopotentials": {"Si": "Si.UPF", "C": "C.UPF"},
    "kpts": [1, 1, 1],
}


def silicon_carbide(seed):
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.03, seed=seed)
    return LabelRequest(structure_key(atoms), atoms, f"SiC/{seed}")


def salt(seed):
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)  # Na and Cl alternate: POSCAR must regroup them
    atoms.rattle(0.03, seed=seed)
    return LabelRequest(structure_key(atoms), atoms, f"NaCl/{seed}")


def collect(labeller, asked):
    return {outcome.key: outcome for outcome in labeller.label(asked)}


def states(folder):
    with open(folder / "manifest.csv") as handle:
        return {row["name"]: row["state"] for row in csv.DictReader(handle)}


def test_vasp_input_reads_back(tmp_path, monkeypatch):
    monkeypatch.delenv("VASP_PP_PATH", raising=False)
    request = salt(0)
    labeller = FileExchangeLabeller(tmp_path, VaspFormat(VASP))
    assert collect(labeller, [request]) == {}
    folder = labeller.label_folder(request)
    poscar = read(folder / "POSCAR")
    assert poscar.get_chemical_symbols() == ["Cl"] * 4 + ["Na"] * 4
    order = np.argsort(request.atoms.get_chemical_symbols(), kind="stable")
    assert poscar.positions == pytest.approx(request.atoms.positions[order], abs=1e-10)
    incar = dict(line.split(" = ") for line in (folder / "INCAR").read_text().splitlines() if " = " in line)
    incar = {key.strip(): value.strip() for key, value in incar.items()}
    assert float(incar["ENCUT"]) == 520
    assert float(incar["EDIFF"]) == 1e-8
    assert (incar["NSW"], incar["IBRION"], incar["GGA"]) == ("0", "-1", "PE")
    assert "2 2 2" in (folder / "KPOINTS").read_text()
    assert (folder / "POTCAR.symbols").read_text().split() == ["Cl", "Na_pv"]


def test_espresso_input_reads_back(tmp_path):
    request = silicon_carbide(0)
    labeller = FileExchangeLabeller(tmp_path, EspressoFormat(**ESPRESSO))
    collect(labeller, [request])
    path = labeller.label_folder(request) / "espresso.pwi"
    back = read(path, format="espresso-in")
    assert back.get_chemical_symbols() == request.atoms.get_chemical_symbols()
    assert back.positions == pytest.approx(request.atoms.positions, abs=1e-9)
    assert back.cell.array == pytest.approx(request.atoms.cell.array, abs=1e-9)
    text = path.read_text()
    for line in ("tprnfor = .true.", "tstress = .true.", "ecutwfc = 30.0", "calculation = 'scf'"):
        assert line in " ".join(text.split())


def test_vasp_outputs_in_any_order_one_broken_one_missing(tmp_path):
    asked = [salt(seed) for seed in range(6)]
    labeller = FileExchangeLabeller(tmp_path, VaspFormat(VASP))
    collect(labeller, asked)
    forces = np.arange(24.0).reshape(8, 3) / 10  # in the order of POSCAR: Cl first
    folders = [labeller.label_folder(request) for request in asked]
    vasprun(folders[4], forces=forces)
    vasprun(folders[0], forces=forces, end="")  # still running
    first = collect(labeller, asked)
    assert set(first) == {asked[4].key}
    order = np.argsort(asked[4].atoms.get_chemical_symbols(), kind="stable")
    assert first[asked[4].key].atoms.get_forces()[order] == pytest.approx(forces)
    assert not np.allclose(first[asked[4].key].atoms.get_forces(), forces)
    energy = first[asked[4].key].atoms.get_potential_energy()
    assert energy == pytest.approx(-27.0)  # F, whose derivative the forces are, not E at zero smearing
    assert first[asked[4].key].atoms.get_stress()[:3] == pytest.approx([-1.0 * GPa] * 3)  # 10 kbar, sign of ASE

    vasprun(folders[0], forces=forces)
    (folders[1] / "vasprun.xml").write_text("<modeling><atominfo>torn</modeling>")
    vasprun(folders[3], forces=forces, electronic_steps=60)
    vasprun(folders[5], forces=forces, ion_shift=0.05)
    later = collect(labeller, asked)
    assert set(later) == {asked[k].key for k in (0, 1, 3, 4, 5)}  # 2 is missing
    assert {k for k in range(6) if k != 2 and later[asked[k].key].failed} == {1, 3, 5}
    assert "cannot be read" in later[asked[1].key].reason
    assert "NELM = 60" in later[asked[3].key].reason
    assert "must not relax" in later[asked[5].key].reason
    table = states(tmp_path)
    assert [table[f"NaCl/{k}"] for k in range(6)] == ["done", "failed", "pending", "failed", "done", "failed"]


def test_output_in_the_wrong_folder_is_refused(tmp_path):
    asked = [salt(0), salt(1)]
    big = salt(2)
    big = LabelRequest("b" * 32, big.atoms * (2, 1, 1), "big")
    labeller = FileExchangeLabeller(tmp_path, VaspFormat(VASP))
    collect(labeller, [*asked, big])
    folders = [labeller.label_folder(request) for request in (*asked, big)]
    vasprun(folders[2], forces=np.zeros((16, 3)))
    (folders[2] / "vasprun.xml").rename(folders[0] / "vasprun.xml")
    vasprun(folders[0].parent / asked[1].key, forces=np.zeros((8, 3)))
    outcomes = collect(labeller, asked)
    assert "another cell size" in outcomes[asked[0].key].reason
    assert not outcomes[asked[1].key].failed


def test_espresso_recorded_outputs(tmp_path):
    asked = [silicon_carbide(seed) for seed in range(4)]
    labeller = FileExchangeLabeller(tmp_path, EspressoFormat(**ESPRESSO))
    assert collect(labeller, asked) == {}
    recorded = {1: "done-1", 2: "unconverged-2", 0: "done-0"}
    for seed, name in recorded.items():
        text = (RECORDED / f"{name}.pwo").read_text()
        (labeller.label_folder(asked[seed]) / "espresso.pwo").write_text(text)
    outcomes = collect(labeller, asked)
    assert set(outcomes) == {asked[k].key for k in (0, 1, 2)}
    assert "not converged" in outcomes[asked[2].key].reason
    for seed in (0, 1):
        labelled = outcomes[asked[seed].key].atoms
        reference = read(RECORDED / f"done-{seed}.pwo")
        assert labelled.get_forces() == pytest.approx(reference.get_forces())
        assert np.abs(labelled.get_forces().sum(0)).max() < 0.01  # pw.x removes the net force
        assert labelled.get_potential_energy() == pytest.approx(reference.get_potential_energy())
    cut = (RECORDED / "done-0.pwo").read_text()[:9000]
    (labeller.label_folder(asked[0]) / "espresso.pwo").write_text(cut)
    assert asked[0].key not in collect(labeller, asked)  # still running


def test_recorded_output_of_another_structure_is_refused(tmp_path):
    labeller, request = FileExchangeLabeller(tmp_path, EspressoFormat(**ESPRESSO)), silicon_carbide(0)
    collect(labeller, [request])
    (labeller.label_folder(request) / "espresso.pwo").write_text((RECORDED / "done-1.pwo").read_text())
    assert "from where it was asked" in collect(labeller, [request])[request.key].reason


def test_given_up_and_stale_labels_fail(tmp_path):
    asked = [salt(0), salt(1)]
    labeller = FileExchangeLabeller(tmp_path, VaspFormat(VASP), stale_hours=1e-9)
    collect(labeller, asked)
    (labeller.label_folder(asked[0]) / "FAILED").write_text("node crashed twice\n")
    vasprun(labeller.label_folder(asked[1]), forces=np.zeros((8, 3)), end="")
    outcomes = collect(labeller, asked)
    assert "node crashed twice" in outcomes[asked[0].key].reason
    assert "unfinished" in outcomes[asked[1].key].reason


def test_folder_written_for_other_settings_is_refused(tmp_path):
    request = salt(0)
    collect(FileExchangeLabeller(tmp_path, VaspFormat(VASP)), [request])
    other = FileExchangeLabeller(tmp_path, VaspFormat({**VASP, "encut": 400}))
    assert "other DFT settings" in collect(other, [request])[request.key].reason


def test_existing_folders_are_never_rewritten(tmp_path):
    request, labeller = salt(0), FileExchangeLabeller(tmp_path, VaspFormat(VASP))
    collect(labeller, [request])
    note = labeller.label_folder(request) / "INCAR"
    note.write_text("changed by hand")
    collect(labeller, [request])
    assert note.read_text() == "changed by hand"


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="single points"):
        VaspFormat({**VASP, "nsw": 10})
    with pytest.raises(ConfigError, match="single points"):
        EspressoFormat({"control": {"calculation": "relax"}}, {})
    with pytest.raises(UnknownNameError, match="Did you mean 'espresso'"):
        make_dft_format("expresso", {})
    labeller = FileExchangeLabeller(tmp_path, EspressoFormat({}, {"Na": "Na.UPF"}))
    with pytest.raises(ConfigError, match="no pseudopotential for Cl"):
        list(labeller.label([salt(0)]))


def test_places_of_pseudopotentials_do_not_change_the_label():
    here = EspressoFormat({"control": {"pseudo_dir": "/a"}}, {"Na": "Na.UPF"})
    there = EspressoFormat({"control": {"pseudo_dir": "/b"}}, {"Na": "Na.UPF"})
    assert here.settings == there.settings
