"""Reading, checking, splitting, caching."""

from __future__ import annotations

import dataclasses
import gzip
import platform
import tracemalloc
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from sdnnff_calc.config import DataConfig, EquivariantConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.sample_stores import MemoryStore, ShardedStore, row_widths
from sdnnff_calc.data.samples import Sample, batch_indices, batches_of_like_rows, collate_samples
from sdnnff_calc.data.statistics import measure_statistics
from sdnnff_calc.data.stores import load_stores
from sdnnff_calc.data.structures import (
    DataReport,
    check_labels,
    crystal_of,
    energy_label,
    iterate_structures,
    split_groups,
)
from sdnnff_calc.errors import DataError
from sdnnff_calc.testing import label_with_emt
from sdnnff_calc.training.losses import read_force_constants


def forces_of(structures: list[Atoms]) -> np.ndarray:
    return np.concatenate([a.calc.results["forces"] for a in structures])


def test_extxyz_and_database_keep_labels(emt_copper: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:5])
    with ase.db.connect(tmp_path / "a.db") as database:
        for atoms in emt_copper[:5]:
            database.write(atoms, structure_id="copper")
    for name in ("a.extxyz", "a.db"):
        read = list(iterate_structures([tmp_path / name]))
        assert np.allclose(forces_of(read), forces_of(emt_copper[:5]), atol=1e-7)
        assert read[2].calc.results["energy"] == pytest.approx(emt_copper[2].calc.results["energy"])
        assert str(tmp_path / name) in read[0].info["origin"]
    assert read[0].info["structure_id"] == "copper"


def phono_yaml(n_sets: int = 3, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    cell = {
        "lattice": (5.0 * np.eye(3)).tolist(),
        "points": [
            {"symbol": "Na", "coordinates": [0.0, 0.0, 0.0], "mass": 23.0},
            {"symbol": "Cl", "coordinates": [0.5, 0.5, 0.5], "mass": 35.0},
        ],
    }
    dataset = {
        "displacements": rng.normal(scale=0.03, size=(n_sets, 2, 3)).tolist(),
        "forces": rng.normal(size=(n_sets, 2, 3)).tolist(),
        "supercell_energies": [-1.0, -2.0, -3.0][:n_sets],
    }
    return {"supercell": cell, "dataset": {**dataset, **changes}}


def test_phono3py_yaml_of_random_displacements(tmp_path: Path) -> None:
    content = phono_yaml()
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    u = np.array(content["dataset"]["displacements"])
    assert np.allclose(read[1].positions, np.array([[0, 0, 0], [2.5, 2.5, 2.5]]) + u[1])
    assert np.allclose(forces_of(read), np.reshape(content["dataset"]["forces"], (-1, 3)))
    assert [a.calc.results["energy"] for a in read] == [-1.0, -2.0, -3.0]


def test_phonopy_yaml_of_single_displacements(tmp_path: Path) -> None:
    content = phono_yaml()
    content["displacements"] = [{"atom": 2, "displacement": [0.0, 0.0, 0.01], "forces": [[0, 0, 0.1], [0, 0, -0.1]]}]
    del content["dataset"]
    (tmp_path / "phonopy.yaml").write_text(yaml.safe_dump(content))
    (atoms,) = iterate_structures([tmp_path / "phonopy.yaml"])
    assert np.allclose(atoms.positions[1], [2.5, 2.5, 2.51])
    assert np.allclose(atoms.calc.results["forces"][1], [0, 0, -0.1])


@pytest.mark.parametrize("lattice", [[[5, 0, 0], [0, 0, 0], [0, 0, 5]], [[5, 0, 0], [5, 0, 0], [0, 0, 5]]])
def test_a_supercell_without_volume_is_refused(tmp_path: Path, lattice: list[list[float]]) -> None:
    """Found by drawn files."""
    content = phono_yaml()
    content["supercell"]["lattice"] = lattice
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match="no volume"):
        list(iterate_structures([tmp_path / "phono3py_params.yaml"]))


def test_phonopy_reads_what_phonopy_writes(tmp_path: Path) -> None:
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(symbols=["Na", "Cl"], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=3.5 * np.eye(3))
    phonon = phonopy.Phonopy(cell, np.diag([2, 2, 2]), primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=0.03, number_of_snapshots=4, random_seed=1)
    forces = np.random.default_rng(0).normal(size=(4, 16, 3))
    phonon.forces = forces
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_sets": True, "displacements": True})
    read = list(iterate_structures([tmp_path / "phonopy_params.yaml"]))
    assert np.allclose(forces_of(read).reshape(4, 16, 3), forces, atol=1e-8)
    for atoms, supercell in zip(read, phonon.supercells_with_displacements, strict=True):
        assert np.allclose(atoms.positions, supercell.positions, atol=1e-8)


@pytest.mark.parametrize("stated", [True, False])
def test_units_of_other_calculators_are_converted(stated: bool, tmp_path: Path) -> None:
    """What phonopy saves for Quantum ESPRESSO is in bohr and Ry/bohr; by its unit block or by the calculator's name."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(symbols=["Na", "Cl"], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=6.6 * np.eye(3))
    phonon = phonopy.Phonopy(cell, np.eye(3), primitive_matrix=np.eye(3), calculator="qe", log_level=0)
    displacements = np.random.default_rng(0).normal(scale=0.05, size=(2, 2, 3))
    phonon.dataset = {"displacements": displacements, "forces": np.full((2, 2, 3), 0.01)}
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_sets": True, "displacements": True})
    if not stated:
        content = yaml.safe_load((tmp_path / "phonopy_params.yaml").read_text())
        del content["physical_unit"]
        (tmp_path / "phonopy_params.yaml").write_text(yaml.safe_dump(content))
    atoms = next(iterate_structures([tmp_path / "phonopy_params.yaml"]))
    assert atoms.cell.lengths() == pytest.approx(6.6 * 0.52917721, rel=1e-7)
    assert atoms.positions[0] == pytest.approx(0.52917721 * displacements[0, 0], rel=1e-6)
    assert atoms.get_forces() == pytest.approx(0.01 * 25.711045, rel=1e-6)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    content = {**phono_yaml(), "physical_unit": {"length": "nm", "force": "eV/angstrom"}}
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match="these units .*length_unit = nm"):
        list(iterate_structures([tmp_path / "phono3py_params.yaml"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            phono_yaml(forces=[[[0, 0, 0]], [[0, 0, 0]], [[0, 0, 0]]]),
            r"forces have shape \(1, 3\), expected \(2, 3\)",
        ),
        (phono_yaml(forces=[]), "3 displaced supercells but 0 force sets"),
        ({"supercell": None}, "cells: phonopy and phono3py do not read this layout"),
        ({"phonopy": {"version": "4.0"}}, "no displacement"),
        ([1, 2], "is not a phonopy"),
    ],
)
def test_broken_yaml_is_explained(content: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=message):
        list(iterate_structures([tmp_path / "p.yaml"]))


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(iterate_structures([tmp_path / "nothing.extxyz"]))
    (tmp_path / "bad.extxyz").write_text("3\nnot really\nCu 0 0\n")
    with pytest.raises(DataError, match=r"bad\.extxyz"):
        list(iterate_structures([tmp_path / "bad.extxyz"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no VASP or Quantum ESPRESSO output"):
        list(iterate_structures([tmp_path / "empty"]))


def test_a_damaged_database_is_named(emt_copper: list[Atoms], tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all\n" * 200)
    with ase.db.connect(tmp_path / "whole.db") as database:
        for _ in range(10):
            for atoms in emt_copper:
                database.write(atoms)
    content = (tmp_path / "whole.db").read_bytes()
    (tmp_path / "half.db").write_bytes(content[: len(content) // 2])
    for name in ("text.db", "half.db"):
        with pytest.raises(DataError, match=rf"{name}, after row \d+: not a readable ASE database"):
            list(iterate_structures([tmp_path / name]))


VASPRUN = """<?xml version="1.0"?>
<modeling>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<atominfo><array name="atoms"><set><rc><c>Na</c><c>1</c></rc><rc><c>Cl</c><c>2</c></rc></set></array></atominfo>
<structure name="initialpos">{structure}</structure>
<calculation>
<scstep><energy><i name="e_fr_energy">-1.5</i><i name="e_0_energy">-1.5</i></energy></scstep>
<structure>{structure}</structure>
<varray name="forces"><v>0.1 0.0 0.0</v><v>-0.1 0.0 0.0</v></varray>
<varray name="stress"><v>10.0 0 0</v><v>0 20.0 0</v><v>0 0 30.0</v></varray>
<energy><i name="e_fr_energy">-1.5</i><i name="e_0_energy">-1.5</i></energy>
</calculation>
</modeling>
"""
STRUCTURE = """<crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray>"""


def test_folder_of_vasp_outputs(tmp_path: Path) -> None:
    for name in ("run-1", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vasprun.xml").write_text(VASPRUN.format(structure=STRUCTURE))
        (tmp_path / name / "OUTCAR").write_text("the same run again: vasprun.xml is preferred")
    structures = list(iterate_structures([tmp_path]))
    assert len(structures) == 2
    assert np.allclose(forces_of(structures[:1]), [[0.1, 0, 0], [-0.1, 0, 0]])
    assert structures[0].calc.results["energy"] == -1.5
    assert "run-2" in structures[1].info["origin"]
    sample = Sample.from_atoms(structures[0], 3.6)
    assert sample.stress[1, 1] == pytest.approx(2 * sample.stress[0, 0])  # kB and sign converted by ASE


ESPRESSO = Path(__file__).parent / "data" / "espresso"


def test_folder_of_espresso_outputs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Real output of pw.x beside an unconverged run, one without forces and one of another program."""
    text = (ESPRESSO / "converged.out").read_text()
    without = text[: text.index("     Forces acting")]
    others = {"disp-002": (ESPRESSO / "unconverged.out").read_text(), "disp-003": without, "ph": "Program PHONON v.6.7"}
    for name, content in {"disp-001": text, **others}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "supercell.out").write_text(content)
    (atoms,) = iterate_structures([tmp_path])
    results = atoms.calc.results
    assert "disp-001" in atoms.info["origin"]
    assert atoms.get_chemical_formula() == "C4Si4"
    # read off the file, with Ry = 13.605693 eV and bohr = 0.52917721 Å
    assert atoms.cell.lengths() == pytest.approx(8.239206 * 0.52917721, rel=1e-6)
    assert results["forces"][0] == pytest.approx(np.array([-0.02920136, 0.00421342, -0.00482955]) * 25.711045, rel=1e-5)
    assert results["energy"] == pytest.approx(-76.20981996 * 13.605693, rel=1e-6)
    # pw.x prints minus the stress; 1 Ry/bohr³ = 91.81576 eV/Å³
    assert results["stress"][0] == pytest.approx(0.00023816 * 91.81576, rel=1e-4)
    passed_over, unconverged, bare = (record.message for record in caplog.records)
    assert "ph/supercell.out: not known as an output" in passed_over
    assert "disp-002/supercell.out: electrons not converged. Raise electron_maxstep" in unconverged
    assert "disp-003/supercell.out: no forces. Set tprnfor" in bare
    with pytest.raises(DataError, match=r"electrons not converged\. Raise electron_maxstep"):
        list(iterate_structures([tmp_path / "disp-002" / "supercell.out"]))
    with pytest.raises(DataError, match="no output below .* can be used"):
        list(iterate_structures([tmp_path / "disp-002"]))


@pytest.mark.parametrize(("nelm", "converged"), [(2, False), (3, True)])
def test_unconverged_vasp_runs_are_left_out(nelm: int, converged: bool, tmp_path: Path) -> None:
    step = VASPRUN[VASPRUN.index("<scstep>") : VASPRUN.index("</scstep>") + len("</scstep>")]
    text = VASPRUN.replace(step, step + "\n" + step).format(structure=STRUCTURE)
    text = text.replace("<kpoints>", f'<parameters><i type="int" name="NELM">{nelm}</i></parameters>\n<kpoints>')
    (tmp_path / "vasprun.xml").write_text(text)
    if converged:
        assert len(list(iterate_structures([tmp_path]))) == 1
    else:
        with pytest.raises(DataError, match="not converged in NELM = 2 steps"):
            list(iterate_structures([tmp_path]))


def test_nan_and_outliers_are_reported_not_used(emt_copper: list[Atoms]) -> None:
    bad, huge = emt_copper[0].copy(), emt_copper[1].copy()
    bad.calc = SinglePointCalculator(bad, forces=np.full((8, 3), np.nan))
    huge.calc = SinglePointCalculator(huge, forces=np.full((8, 3), 1e4))
    report = DataReport()
    kept = list(check_labels([emt_copper[2], bad, huge], 100.0, report))
    assert len(kept) == report.n_structures == 1
    assert [("NaN" in r, "10000.0 eV/Å" in r) for r in report.rejected] == [(True, False), (False, True)]
    assert any("2 structures left out" in line for line in report.lines())


def test_nan_stress_overlaps_and_empty_structures_are_reported_not_used(emt_copper: list[Atoms]) -> None:
    stressed, overlapping, empty = emt_copper[0].copy(), emt_copper[1].copy(), Atoms()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.2]
    stressed.calc = SinglePointCalculator(stressed, forces=np.ones((8, 3)), stress=np.full(6, np.nan))
    overlapping.calc = SinglePointCalculator(overlapping, forces=np.ones((8, 3)))
    empty.calc = SinglePointCalculator(empty, forces=np.ones((0, 3)))
    report = DataReport()
    assert len(list(check_labels([stressed, overlapping, empty, emt_copper[2]], 100.0, report))) == 1
    for reason, expected in zip(report.rejected, ("or stress", "0.200 Å apart", "0 atoms"), strict=True):
        assert expected in reason


@pytest.mark.parametrize("number", [0, -1, -200, 119, 10**6])
def test_atoms_without_an_element_are_reported_not_used(emt_copper: list[Atoms], tmp_path: Path, number: int) -> None:
    odd = emt_copper[0].copy()
    odd.numbers[1] = number
    odd.calc = SinglePointCalculator(odd, forces=np.ones((8, 3)))
    with Trajectory(tmp_path / "odd.traj", "w") as file:
        file.write(odd)
    report = DataReport()
    assert not list(check_labels(iterate_structures([tmp_path / "odd.traj"]), 100.0, report))
    assert report.rejected == [f"{tmp_path / 'odd.traj'}@0: an atom without an element (atomic number {number})"]


def test_stress_of_a_wrong_shape_is_refused(emt_copper: list[Atoms]) -> None:
    atoms = emt_copper[0].copy()
    atoms.calc = SinglePointCalculator(atoms, forces=np.ones((8, 3)))
    atoms.calc.results["stress"] = np.ones(3)
    with pytest.raises(DataError, match=r"stress has shape \(3,\)"):
        list(check_labels([atoms], 100.0, DataReport()))


def test_structures_without_forces_are_refused(emt_copper: list[Atoms]) -> None:
    with pytest.raises(DataError, match="has no forces"):
        list(check_labels([emt_copper[0].copy()], 100.0, DataReport()))


def test_absurdly_many_columns_are_refused_before_room_is_made(tmp_path: Path) -> None:
    path = tmp_path / "labels.extxyz"
    path.write_text(
        '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:99999999999\nAl 0 0 0 1 0 0\n'
    )
    with pytest.raises(DataError, match="frame 0: it promises more than 10000 columns"):
        list(iterate_structures([path]))


def test_an_energy_of_many_numbers_is_refused() -> None:
    (atoms,) = label_with_emt(1)
    atoms.calc.results["energy"] = np.zeros(3)
    with pytest.raises(DataError, match=r"energy has shape \(3,\), expected one number"):
        list(check_labels([atoms], 50.0, DataReport()))


@pytest.mark.parametrize("name", ["energy", "free_energy", "stress"])
def test_labels_that_are_no_numbers_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "labels.extxyz"
    path.write_text(
        f'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 {name}="0.4free" pbc="T T T"\n'
        "Al 0 0 0 0.1 0 0\n"
    )
    with pytest.raises(DataError, match=f"{name} is '0.4free', expected numbers|cannot read it"):
        list(check_labels(iterate_structures([path]), 50.0, DataReport()))


def test_split_keeps_crystals_together() -> None:
    groups = [f"crystal {k % 7}" for k in range(70)]
    held = split_groups(groups, 0.3, seed=1)
    assert 0 < held.sum() < 70
    for name in set(groups):
        assert len({bool(h) for g, h in zip(groups, held, strict=True) if g == name}) == 1
    assert np.array_equal(held, split_groups(groups, 0.3, seed=1))
    with pytest.raises(DataError, match="one group"):
        split_groups(["a", "a"], 0.5, seed=1)


def test_supercells_of_one_crystal_share_a_group() -> None:
    small, large = label_with_emt(1)[0], label_with_emt(1)[0].repeat((2, 1, 1))
    assert crystal_of(small) == crystal_of(large)


def test_a_structure_id_in_extxyz_names_the_group(emt_copper: list[Atoms], tmp_path: Path) -> None:
    for atoms, name in zip(emt_copper[:3], ("fcc", "hcp", "fcc"), strict=True):
        ase.io.write(tmp_path / "a.extxyz", atoms, append=True)
        text = (tmp_path / "a.extxyz").read_text().splitlines()
        text[-len(atoms) - 1] += f" structure_id={name}"
        (tmp_path / "a.extxyz").write_text("\n".join(text) + "\n")
    read = list(iterate_structures([tmp_path / "a.extxyz"]))
    assert [crystal_of(atoms) for atoms in read] == ["fcc", "hcp", "fcc"]


def test_cache_gives_the_same_samples_with_bounded_memory(emt_copper: list[Atoms], tmp_path: Path) -> None:
    samples = [Sample.from_atoms(atoms, 6.0) for atoms in emt_copper]

    def many() -> Any:
        for _ in range(20):
            yield from samples

    ShardedStore.write(tmp_path / "c", many(), shard_atoms=64)
    tracemalloc.start()
    store = ShardedStore(tmp_path / "c", n_open=2)
    for index in range(len(store)):
        store[index]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    total = sum(f.stat().st_size for f in (tmp_path / "c").rglob("*.npy"))
    assert len(store) == 480
    assert peak < 0.2 * total
    for k in (0, 7, 100, 479):
        a, b = store[k], samples[k % len(samples)]
        assert np.array_equal(a.edges.centre, b.edges.centre)
        assert np.allclose(a.edges.vector, b.edges.vector, atol=1e-6)
        assert np.allclose(a.forces, b.forces, atol=1e-6)
        assert a.energy == b.energy
        assert np.allclose(a.stress, b.stress)


def test_cache_is_reused_and_rebuilt_when_the_data_change(emt_copper: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:10])
    config = RunConfig(
        model=EquivariantConfig(cutoff=4.5),
        data=DataConfig(
            train=(str(tmp_path / "a.extxyz"),),
            split_by="supercell",
            cache=str(tmp_path / "cache"),
            validation_fraction=0.2,
        ),
        training=TrainingConfig(workdir=str(tmp_path)),  # data in the run's folder: no reason to miss a change
    )
    first = load_stores(config)
    assert (len(first.train), len(first.validation)) == (8, 2)
    (index,) = (tmp_path / "cache").glob("*/index.json")
    stamp = index.stat().st_mtime_ns
    again = load_stores(config)
    assert index.stat().st_mtime_ns == stamp
    assert again.report.lines()[:2] == [
        "10 structures, 80 atomic environments",
        "10 structures from the cache, checked when it was written",
    ]
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:15])
    assert len(load_stores(config).train) == 12


def test_runs_that_share_a_cache_folder_leave_each_other_alone(emt_copper: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:10])
    config = RunConfig(
        model=EquivariantConfig(cutoff=4.5),
        data=DataConfig(
            train=(str(tmp_path / "a.extxyz"),), split_by="supercell", cache=str(tmp_path / "cache"), shard_atoms=8
        ),
        training=TrainingConfig(),
    )
    first = load_stores(config).train
    n_edges = len(first[0].edges.centre)
    load_stores(dataclasses.replace(config, model=EquivariantConfig(cutoff=3.0)))
    assert len(first[0].edges.centre) == n_edges
    assert len(first[7].edges.centre) == n_edges  # of a shard not yet opened


def test_a_cache_inside_the_folder_of_data_is_found_again(tmp_path: Path) -> None:
    config = RunConfig(
        model=EquivariantConfig(cutoff=4.5),
        data=DataConfig(train=(str(tmp_path),), split_by="supercell", cache=str(tmp_path / "cache")),
        training=TrainingConfig(workdir=str(tmp_path / "run")),
    )
    for k in range(3):
        (tmp_path / f"calculation-{k}").mkdir()
        (tmp_path / f"calculation-{k}" / "vasprun.xml").write_text(VASPRUN.format(structure=STRUCTURE))
    load_stores(config)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("epoch")
    assert load_stores(config).report.n_cached == 3


def test_samples_have_one_digest_in_memory_and_on_disk(emt_copper: list[Atoms], tmp_path: Path) -> None:
    samples = [Sample.from_atoms(a, 4.5) for a in emt_copper[:6]]
    on_disk = ShardedStore.write(tmp_path / "c", iter(samples), shard_atoms=20)
    assert on_disk.digest == MemoryStore(samples).digest
    assert on_disk.digest != MemoryStore(samples[:5]).digest
    other = dataclasses.replace(samples[5], forces=samples[5].forces + 1e-4)
    assert on_disk.digest != MemoryStore([*samples[:5], other]).digest
    stamp = (tmp_path / "c" / "index.json").stat().st_mtime_ns
    ShardedStore.write(tmp_path / "c", iter(samples), shard_atoms=20)
    assert (tmp_path / "c" / "index.json").stat().st_mtime_ns == stamp


def test_cache_of_a_folder_is_rebuilt_when_a_run_is_added(tmp_path: Path) -> None:
    config = RunConfig(
        model=EquivariantConfig(cutoff=4.5),
        data=DataConfig(train=(str(tmp_path / "runs"),), split_by="supercell", cache=str(tmp_path / "cache")),
        training=TrainingConfig(),
    )
    for n_runs in (2, 3):
        for k in range(n_runs):
            folder = tmp_path / "runs" / f"run-{k}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "vasprun.xml").write_text(VASPRUN.format(structure=STRUCTURE))
        stores = load_stores(config)
        assert len(stores.train) + len(stores.validation) == n_runs


def test_damaged_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="no complete cache"):
        ShardedStore(tmp_path / "c")


def test_batches_hold_whole_structures_and_every_one_once() -> None:
    sizes = np.array([5, 3, 9, 2, 2, 8, 20, 1])
    batches = list(batch_indices(sizes, 10))
    assert sorted(k for b in batches for k in b) == list(range(8))
    assert all(len(b) == 1 or sizes[b].sum() <= 10 for b in batches)


def test_batches_of_like_rows_hold_every_structure_once_and_pad_less() -> None:
    generator = np.random.default_rng(0)
    sizes, widths = generator.integers(2, 16, size=2000), generator.integers(5, 100, size=2000)
    order = generator.permutation(2000)
    alike = batches_of_like_rows(sizes, widths, 64, order, generator)
    assert sorted(k for b in alike for k in b) == list(range(2000))
    assert all(sizes[b].sum() <= 64 for b in alike)

    def padded(batches: list[list[int]]) -> int:
        return sum(int(widths[b].max() * sizes[b].sum()) for b in batches)

    assert padded(alike) < 0.75 * padded(list(batch_indices(sizes, 64, order)))
    few = batches_of_like_rows(sizes[:40], widths[:40], 64, order[order < 40], generator)
    assert few == list(batch_indices(sizes[:40], 64, order[order < 40]))


def test_row_widths_count_neighbours_of_one_element() -> None:
    salt, copper = bulk("NaCl", "rocksalt", a=5.64), bulk("Cu", a=3.61)
    for atoms in (salt, copper):
        atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((len(atoms), 3)))
    store = MemoryStore([Sample.from_atoms(atoms, 3.0) for atoms in (salt, copper)])
    assert row_widths(store).tolist() == [6, 12]


def test_statistics_recover_atomic_energies() -> None:
    structures = []
    for symbols in ("NaCl", "Na2Cl", "NaCl3"):
        atoms = Atoms(symbols, np.arange(3 * len(Atoms(symbols))).reshape(-1, 3) * 1.5)
        counts = atoms.get_chemical_symbols().count("Na"), atoms.get_chemical_symbols().count("Cl")
        atoms.calc = SinglePointCalculator(
            atoms, energy=-1.5 * counts[0] - 4.0 * counts[1], forces=0.25 * np.ones((len(atoms), 3))
        )
        structures.append(atoms)
    from sdnnff_calc.data.stores import store_of

    found = measure_statistics(store_of(structures, 4.0), with_energy=True)
    statistics, elements = found.statistics, found.elements
    assert elements == (11, 17)
    assert statistics.force_scale == pytest.approx(0.25)
    assert statistics.atomic_energies == pytest.approx({11: -1.5, 17: -4.0})


def test_one_structure_in_two_batches_gives_the_same_numbers(emt_copper: list[Atoms]) -> None:
    samples = [Sample.from_atoms(atoms, 4.5) for atoms in emt_copper[:3]]
    batch = collate_samples(samples, torch.float64, "cpu")
    assert batch.env.n_atoms == 24
    assert torch.equal(batch.forces[8:16], torch.from_numpy(np.asarray(samples[1].forces)))
    inside = (batch.env.centre >= 8) & (batch.env.centre < 16)
    assert int(inside.sum()) == len(samples[1].edges.centre)
    assert bool(((batch.env.neighbour[inside] >= 8) & (batch.env.neighbour[inside] < 16)).all())


CALCULATORS = [
    "vasp", "qe", "qlm", "wien2k", "abinit", "siesta", "abacus", "elk", "exciting", "dftbp", "turbomole",
    "fleur", "octopus", "cp2k", "aims", "lammps", "castep", "crystal", "pwmat",
]  # fmt: skip


@pytest.mark.parametrize("calculator", CALCULATORS)
def test_the_units_of_every_interface_of_phonopy_are_understood(calculator: str, tmp_path: Path) -> None:
    """One crystal, written in the units of each calculator, is one crystal with one set of labels when read."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.physical_units import get_calculator_physical_units
    from phonopy.structure.atoms import PhonopyAtoms

    units = get_calculator_physical_units(calculator)
    lattice, u, f, energy = 3.5 * np.eye(3), np.full((2, 2, 3), 0.03), np.full((2, 2, 3), 0.7), -12.0
    scaled = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cell = PhonopyAtoms(symbols=["Na", "Cl"], scaled_positions=scaled, cell=lattice / units.distance_to_A)
    phonon = phonopy.Phonopy(cell, np.eye(3), primitive_matrix=np.eye(3), calculator=calculator, log_level=0)
    phonon.dataset = {
        "displacements": u / units.distance_to_A,
        "forces": f / units.force_to_eVperA,
        "supercell_energies": np.full(2, energy / units.energy_to_eV),
    }
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_sets": True, "displacements": True})
    for atoms in iterate_structures([tmp_path / "phonopy_params.yaml"]):
        assert np.allclose(atoms.cell, lattice, atol=1e-7)
        assert np.allclose(atoms.positions, scaled @ lattice + u[0], atol=1e-7)
        assert np.allclose(atoms.calc.results["forces"], f[0], atol=1e-7)
        assert atoms.calc.results["energy"] == pytest.approx(energy, abs=1e-6)
    bohr = 0.52917721 if calculator in ("qe", "abinit", "siesta", "wien2k", "elk", "exciting", "dftbp") else None
    assert bohr is None or units.distance_to_A == pytest.approx(bohr, rel=1e-7)


def test_force_constants_of_other_calculators_are_converted(tmp_path: Path) -> None:
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(symbols=["Na", "Cl"], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=6.6 * np.eye(3))
    phonon = phonopy.Phonopy(cell, np.eye(3), primitive_matrix=np.eye(3), calculator="qe", log_level=0)
    fc2 = np.random.default_rng(0).normal(size=(2, 2, 3, 3))
    phonon.force_constants = fc2
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_constants": True})
    target = read_force_constants(tmp_path / "phonopy_params.yaml", 4.0, torch.float64, "cpu")
    expected = fc2.transpose(0, 2, 1, 3).reshape(6, 6) * 13.605693 / 0.52917721**2
    assert np.allclose(target.matrix.numpy(), expected, rtol=1e-6)
    shortest = float(target.env.vector.norm(dim=1).min())
    assert shortest == pytest.approx(3.3 * np.sqrt(3) * 0.52917721, rel=1e-6)


def test_the_energy_is_the_one_whose_derivative_the_forces_are(emt_copper: list[Atoms]) -> None:
    """VASP: E at zero smearing as ``energy``, F as ``free_energy``."""
    atoms = emt_copper[0].copy()
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, free_energy=-3.7, forces=np.zeros((len(atoms), 3)))
    assert Sample.from_atoms(atoms, 4.5).energy == -3.7
    assert energy_label({"energy": -3.0}) == -3.0
    assert energy_label({"energy": -3.0, "free_energy": np.nan}) == -3.0
    assert np.isnan(energy_label({}))


def test_validation_files_of_which_nothing_is_left_are_refused(emt_copper: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:4])
    data = DataConfig(train=(str(tmp_path / "a.extxyz"),), validation=(str(tmp_path / "a.extxyz"),), max_force=1e-6)
    config = RunConfig(model=EquivariantConfig(cutoff=4.5), data=data)
    with pytest.raises(DataError, match="no training structure is left"):
        load_stores(config)
    ase.io.write(tmp_path / "calm.extxyz", [at_rest(emt_copper[0])])
    config = dataclasses.replace(config, data=dataclasses.replace(data, train=(str(tmp_path / "calm.extxyz"),)))
    with pytest.raises(DataError, match=r"no structure of \[data\] validation is left"):
        load_stores(config)


def at_rest(atoms: Atoms) -> Atoms:
    """A copy labelled with no forces."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, forces=np.zeros((len(copy), 3)))
    return copy


def test_a_cache_keeps_the_precision_of_the_training(emt_copper: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", emt_copper[:4])
    data = DataConfig(train=(str(tmp_path / "a.extxyz"),), split_by="supercell", cache=str(tmp_path / "cache"))
    found = {}
    for dtype in ("float32", "float64"):
        config = RunConfig(EquivariantConfig(cutoff=4.5), data, TrainingConfig(dtype=dtype))  # type: ignore[arg-type]
        found[dtype] = load_stores(config).train[0].forces
    assert [array.dtype.name for array in found.values()] == ["float32", "float64"]
    memory = load_stores(dataclasses.replace(config, data=dataclasses.replace(data, cache=""))).train
    assert np.array_equal(memory[0].forces, found["float64"])


def test_a_broken_cache_build_leaves_nothing_behind(emt_copper: list[Atoms], tmp_path: Path) -> None:
    dead = tmp_path / f".c.{platform.node()}.{2**22 + 1}"  # beyond any process number: of a writer that was killed
    (dead / "shard-00000").mkdir(parents=True)

    def breaks() -> Any:
        yield Sample.from_atoms(emt_copper[0], 4.5)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"):
        ShardedStore.write(tmp_path / "c", breaks(), shard_atoms=1)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_compressed_output_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = VASPRUN.format(structure=STRUCTURE)
    for name, content in (("cut", gzip.compress(text.encode())[:-200]), ("wrong", b"no gzip at all")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vasprun.xml.gz").write_bytes(content)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "vasprun.xml").write_text(text)
    assert len(list(iterate_structures([tmp_path]))) == 1
    assert f"{tmp_path / 'cut' / 'vasprun.xml.gz'} cannot be read (EOFError" in caplog.text
    assert f"{tmp_path / 'wrong' / 'vasprun.xml.gz'}, after frame -1: ASE cannot read it" in caplog.text
