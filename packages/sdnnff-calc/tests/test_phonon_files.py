"""Every displacement–force set that phonopy and phono3py write is read; what is not read is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT

from sdnnff_calc.data.structures import iterate_structures
from sdnnff_calc.errors import DataError

Labels = tuple[np.ndarray, np.ndarray]


def programs() -> tuple[str, ...]:
    """Programs that phonopy works with; none without phonopy."""
    try:
        from phonopy.interface.calculator import calculator_info
    except ImportError:
        return ()
    return tuple(calculator_info)


def copper() -> Any:
    atoms = pytest.importorskip("phonopy.structure.atoms")
    return atoms.PhonopyAtoms(symbols=["Cu"], scaled_positions=[[0, 0, 0]], cell=1.8 * (1 - np.eye(3)))


def phono3py_of(fc3_type: int, fc2_type: int, cutoff: float | None = None, calculator: str | None = None) -> Any:
    """Copper with displaced supercells; those of fc2 have as many atoms as those of fc3, in another cell."""
    phono3py = pytest.importorskip("phono3py")
    phonon = phono3py.Phono3py(
        copper(),
        np.diag([2, 2, 2]),
        primitive_matrix=np.eye(3),
        phonon_supercell_matrix=np.diag([1, 2, 4]),
        calculator=calculator,
        log_level=0,
    )
    random: dict[str, int] = {"number_of_snapshots": 3, "random_seed": 1}
    phonon.generate_displacements(distance=0.04, cutoff_pair_distance=cutoff, **(random if fc3_type == 2 else {}))
    phonon.generate_fc2_displacements(distance=0.03, **(random if fc2_type == 2 else {}))
    return phonon


def emt_labels(supercells: list[Any]) -> Labels:
    """Forces and energies of displaced supercells; zeros for those that phono3py left out."""
    forces, energies = [], []
    for supercell in supercells:
        if supercell is None:
            forces.append(np.zeros((8, 3)))
            energies.append(0.0)
            continue
        atoms = Atoms(supercell.symbols, positions=supercell.positions, cell=supercell.cell, pbc=True, calculator=EMT())
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
    return np.array(forces), np.array(energies)


def label(phonon: Any) -> tuple[Labels, Labels]:
    fc3, fc2 = emt_labels(phonon.supercells_with_displacements), emt_labels(phonon.phonon_supercells_with_displacements)
    phonon.forces, phonon.supercell_energies = fc3
    phonon.phonon_forces, phonon.phonon_supercell_energies = fc2
    return fc3, fc2


def check_equal(read: list[Atoms], supercells: list[Any], labels: Labels) -> None:
    """Compare with phono3py's own supercells; it writes 16 digits, and 8 for energies."""
    assert len(read) == len(supercells) > 0
    for atoms, supercell, forces, energy in zip(read, supercells, *labels, strict=True):
        assert list(atoms.symbols) == list(supercell.symbols)
        assert np.allclose(atoms.cell, supercell.cell, rtol=0.0, atol=1e-12)
        assert np.allclose(atoms.positions, supercell.positions, rtol=0.0, atol=1e-12)
        assert np.allclose(atoms.get_forces(), forces, rtol=0.0, atol=1e-12)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)


@pytest.mark.parametrize("fc2_type", [1, 2])
@pytest.mark.parametrize("fc3_type", [1, 2])
def test_all_sets_of_phono3py_are_read(fc3_type: int, fc2_type: int, tmp_path: Path) -> None:
    """Single displacements with pairs (type 1) and random displacements (type 2), for fc3 and for fc2."""
    phonon = phono3py_of(fc3_type, fc2_type)
    fc3, fc2 = label(phonon)
    phonon.save(tmp_path / "phono3py_params.yaml")
    keys = yaml.safe_load((tmp_path / "phono3py_params.yaml").read_text()).keys()
    assert ("displacement_pairs" in keys, "phonon_displacements" in keys) == (fc3_type == 1, fc2_type == 1)
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    n_fc3 = len(fc3[0])
    assert np.abs(fc3[0]).max() > 0.1
    check_equal(read[:n_fc3], phonon.supercells_with_displacements, fc3)
    check_equal(read[n_fc3:], phonon.phonon_supercells_with_displacements, fc2)
    assert len({atoms.info["origin"] for atoms in read}) == len(read)


def test_single_displacements_of_phonopy_are_read(tmp_path: Path) -> None:
    phonopy = pytest.importorskip("phonopy")
    phonon = phonopy.Phonopy(copper(), np.diag([2, 2, 2]), primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=0.03, is_plusminus=True)
    labels = emt_labels(phonon.supercells_with_displacements)
    phonon.forces, phonon.supercell_energies = labels
    phonon.save(tmp_path / "phonopy_params.yaml")
    read = list(iterate_structures([tmp_path / "phonopy_params.yaml"]))
    check_equal(read, phonon.supercells_with_displacements, labels)


@pytest.mark.parametrize("marked", [True, False])
def test_pairs_beyond_the_cutoff_are_left_out(marked: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Marked: as ``phono3py --sp`` saves it; else as it saves a FORCES_FC3, in which their forces are zeros."""
    phonon = phono3py_of(1, 1, cutoff=3.0)
    supercells = phonon.supercells_with_displacements
    (forces, energies), fc2 = label(phonon)
    included = [k for k, supercell in enumerate(supercells) if supercell is not None]
    assert len(phonon.dataset["first_atoms"]) < len(included) < len(supercells)
    seconds = [second for first in phonon.dataset["first_atoms"] for second in first["second_atoms"]]
    for second in seconds:
        if marked and not second["included"]:
            del second["forces"], second["supercell_energy"]
    # zeros within the cutoff are forces like others: the pair may undo its first displacement
    next(second for second in seconds if second["included"])["forces"][:] = 0.0
    forces[len(phonon.dataset["first_atoms"])] = 0.0
    phonon.save(tmp_path / "phono3py_params.yaml")
    assert ("included: false" in (tmp_path / "phono3py_params.yaml").read_text()) == marked
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    kept = [supercells[k] for k in included]
    check_equal(read[: len(kept)], kept, (forces[included], energies[included]))
    check_equal(read[len(kept) :], phonon.phonon_supercells_with_displacements, fc2)
    assert not caplog.records


def test_pairs_in_bohr_and_rydberg_are_converted(tmp_path: Path) -> None:
    phonon = phono3py_of(1, 1, calculator="qe")
    fc3, fc2 = label(phonon)
    phonon.save(tmp_path / "phono3py_params.yaml")
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    units = pytest.importorskip("phonopy.physical_units").get_physical_units()
    for atoms in read:
        atoms.set_cell(atoms.cell / units.Bohr, scale_atoms=True)
        atoms.calc.atoms = atoms.copy()
        atoms.calc.results["forces"] /= units.Rydberg / units.Bohr
        atoms.calc.results["energy"] /= units.Rydberg
    check_equal(read[: len(fc3[0])], phonon.supercells_with_displacements, fc3)
    check_equal(read[len(fc3[0]) :], phonon.phonon_supercells_with_displacements, fc2)


@pytest.mark.parametrize("program", programs())
def test_files_of_every_program_of_phonopy_hold_the_same_labels(program: str, tmp_path: Path) -> None:
    """Lengths, forces and energies in the units of the program: one and the same displaced copper in Å and eV."""
    from phonopy.interface.calculator import get_calculator_physical_units

    phono3py = pytest.importorskip("phono3py")
    units = get_calculator_physical_units(program)
    cell = copper()
    cell.cell = cell.cell / units.distance_to_A
    phonon = phono3py.Phono3py(cell, np.diag([2, 2, 2]), primitive_matrix=np.eye(3), calculator=program, log_level=0)
    phonon.generate_displacements(distance=0.04 / units.distance_to_A, number_of_snapshots=2, random_seed=1)
    ideal = [cell.copy() for cell in phonon.supercells_with_displacements]
    for supercell in ideal:
        scaled = supercell.scaled_positions
        supercell.cell = supercell.cell * units.distance_to_A
        supercell.scaled_positions = scaled
    forces, energies = emt_labels(ideal)
    phonon.forces, phonon.supercell_energies = forces / units.force_to_eVperA, energies / units.energy_to_eV
    phonon.save(tmp_path / "phono3py_params.yaml")
    for atoms, supercell, force, energy in zip(
        iterate_structures([tmp_path / "phono3py_params.yaml"]), ideal, forces, energies, strict=True
    ):
        assert np.allclose(atoms.cell, supercell.cell, rtol=0.0, atol=1e-9)
        assert np.allclose(atoms.positions, supercell.positions, rtol=0.0, atol=1e-9)
        assert np.allclose(atoms.get_forces(), force, rtol=0.0, atol=1e-9)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)


@pytest.mark.parametrize("fc3_type", [1, 2])
def test_displacements_without_forces_are_reported(
    fc3_type: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phonon = phono3py_of(fc3_type, 1)
    phonon.save(tmp_path / "phono3py_disp.yaml")
    with pytest.raises(DataError, match="Save it with forces included"):
        list(iterate_structures([tmp_path / "phono3py_disp.yaml"]))
    caplog.clear()
    fc2 = label(phonon)[1]
    phonon.save(tmp_path / "phono3py_params.yaml")
    content = yaml.safe_load((tmp_path / "phono3py_params.yaml").read_text())
    n_missing = 1
    if fc3_type == 1:
        del content["displacement_pairs"][0]["paired_with"][1]["forces"]
    else:
        del content["dataset"]["forces"]
        n_missing = 3
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.WARNING):
        read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    n_fc3 = len(phonon.supercells_with_displacements)
    assert len(read) == n_fc3 + len(fc2[0]) - n_missing
    assert f"left out {n_missing} of {n_fc3} displaced supercells, which have no forces" in caplog.text


def test_the_layouts_of_older_versions_are_read(tmp_path: Path) -> None:
    """phono3py < 2.2 kept the single displacements of fc2, phonopy < 2.24 random ones under ``displacements``."""
    phonon = phono3py_of(1, 1)
    fc3, fc2 = label(phonon)
    phonon.save(tmp_path / "phono3py_params.yaml")
    content = yaml.safe_load((tmp_path / "phono3py_params.yaml").read_text())
    content["displacements"] = content.pop("phonon_displacements")
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    check_equal(read[len(fc3[0]) :], phonon.phonon_supercells_with_displacements, fc2)

    phonon = phono3py_of(2, 2)
    fc3, fc2 = label(phonon)
    phonon.save(tmp_path / "phono3py_params.yaml")
    content = yaml.safe_load((tmp_path / "phono3py_params.yaml").read_text())
    for prefix in ("", "phonon_"):
        dataset = content.pop(f"{prefix}dataset")
        content[f"{prefix}displacements"] = [
            [{"displacement": u, "force": f} for u, f in zip(*supercell, strict=True)]
            for supercell in zip(dataset["displacements"], dataset["forces"], strict=True)
        ]
        content[f"{prefix}supercell_energies"] = dataset["supercell_energies"]
    (tmp_path / "phono3py_params.yaml").write_text(yaml.safe_dump(content))
    read = list(iterate_structures([tmp_path / "phono3py_params.yaml"]))
    check_equal(read[:3], phonon.supercells_with_displacements, fc3)
    check_equal(read[3:], phonon.phonon_supercells_with_displacements, fc2)


CELL = {"lattice": (5.0 * np.eye(3)).tolist(), "points": [{"symbol": "Cu", "coordinates": [0.0, 0.0, 0.0]}]}
SINGLE = {"atom": 1, "displacement": [0.0, 0.0, 0.1], "forces": [[0.0, 0.0, -1.0]]}
MIXED = {**CELL, "points": [{**CELL["points"][0], "weight": 0.5}]}  # type: ignore[dict-item]


def write_plainly(content: dict[str, Any], path: Path) -> None:
    """Write YAML without the anchors by which PyYAML refers to an object that comes twice; they are refused."""
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"dataset": {"first_atoms": [SINGLE]}},
            "dataset: .* do not read this layout.*'displacements'",
        ),
        ({"displacement_pairs": [[SINGLE]]}, "displacement_pairs: .* do not read this layout"),
        (
            {"displacements": [{"number": 1, "forces": SINGLE["forces"]}]},
            "displacements: .* do not read this layout",
        ),
        ({"displacement_pairs": [{**SINGLE, "paired_with": [{**SINGLE, "atom": 2}]}]}, "atom 2 of 1 is displaced"),
        ({"displacements": [{**SINGLE, "atom": 0}]}, "atom 0 of 1 is displaced"),
        ({"displacements": [SINGLE, {**SINGLE, "forces": [[0.0]]}]}, r"supercell 2: forces have shape \(1, 1\)"),
        (
            {"dataset": {"displacements": [[[0.0] * 3]], "forces": [[[0.0] * 3]], "supercell_energies": [0.0] * 2}},
            "1 displaced supercells but 2 energies",
        ),
        ({"supercell": MIXED, "displacements": [SINGLE]}, "Weight of non-overlapping atom"),
        ({"supercell": {"lattice": CELL["lattice"]}, "displacements": [SINGLE]}, "but no supercell"),
        ({"phonon_supercell_matrix": np.eye(3).tolist(), "phonon_displacements": [SINGLE]}, "but no supercell"),
    ],
)
def test_a_set_that_cannot_be_read_is_an_error(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_plainly({"supercell": CELL, **content}, tmp_path / "p.yaml")
    with pytest.raises(DataError, match=message):
        list(iterate_structures([tmp_path / "p.yaml"]))


def test_a_set_of_an_unknown_name_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"supercell": CELL, "displacements": [SINGLE], "displacement_triplets": [SINGLE]}
    write_plainly(content, tmp_path / "p.yaml")
    with caplog.at_level(logging.WARNING):
        assert len(list(iterate_structures([tmp_path / "p.yaml"]))) == 1
    assert "'displacement_triplets' is not a known set of displacements" in caplog.text
