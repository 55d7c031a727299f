"""The recipe of the weights that know sixty-three elements: what is held out, and how crystals find where they rest."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk

RECIPE = Path(__file__).parents[1] / "recipes" / "sixty_three"


@pytest.fixture(scope="module")
def crystals() -> Any:
    sys.path.insert(0, str(RECIPE))
    try:
        import crystals

        yield crystals
    finally:
        sys.path.remove(str(RECIPE))
        for name in ("crystals", "doubtful", "ship", "sixty_three"):
            sys.modules.pop(name, None)


def test_the_paper_has_sixty_three_elements(crystals: Any) -> None:
    assert len(set(crystals.ELEMENTS)) == 63
    assert set(crystals.EARLIER) < set(crystals.ELEMENTS)
    assert len(crystals.EARLIER) == 34


def test_a_kill_leaves_pool_energies_and_training_data_whole_or_as_they_were(
    crystals: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sixty_three

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    class Teacher:
        settings: ClassVar[dict[str, str]] = {"name": "toy"}

        def __init__(self, _weights: object) -> None:
            pass

        def predict(self, cells: list[Atoms]) -> list[dict[str, Any]]:
            return [{"energy": -2.0} for _ in cells]

    monkeypatch.setattr(sixty_three, "NequixTeacher", Teacher)
    monkeypatch.setattr(sixty_three, "NequixCalculator", Teacher)
    monkeypatch.setattr(sixty_three, "energy_of_element", lambda *_: -2.0)
    folder = argparse.Namespace(out=tmp_path, seed=63, size=5, formulas=None, teacher=None, without=[])
    files = {
        "pool.jsonl": sixty_three.pool,
        "element-energies.json": sixty_three.element_energies,
        "train.extxyz": sixty_three.collect,
    }
    for name, step in files.items():
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", killed)
            with pytest.raises(KeyboardInterrupt):
                step(folder)
        assert not (tmp_path / name).exists()
        step(folder)
        assert (tmp_path / name).exists()
    assert len(sixty_three.read_rows(tmp_path / "pool.jsonl")) == 5
    (tmp_path / "pool.jsonl").write_text("as it was")
    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        sixty_three.pool(folder)
    assert (tmp_path / "pool.jsonl").read_text() == "as it was"


def test_crystals_that_weights_are_judged_by_are_left_out_of_what_they_learn_from(
    crystals: Any, tmp_path: Path
) -> None:
    import ase.io
    import sixty_three

    cells = [bulk(symbol, "fcc", a=4.0, cubic=k == 1) for k, symbol in enumerate(["Al", "Cu", "Al", "Ni"])]
    for atoms in cells:
        atoms.info = {"structure_id": f"fcc-{atoms.symbols[0]}", "kind": "none 0.03"}
    ase.io.write(tmp_path / "all.extxyz", cells, format="extxyz")
    text = (tmp_path / "all.extxyz").read_text()
    assert sixty_three.without_crystals(text, set()) == text
    (tmp_path / "kept.extxyz").write_text(sixty_three.without_crystals(text, {"fcc-Al"}))
    assert [atoms.symbols[0] for atoms in ase.io.iread(tmp_path / "kept.extxyz", ":")] == ["Cu", "Ni"]


def test_an_element_far_below_its_own_structure_is_a_hole_of_the_teacher_and_not_learned_from(crystals: Any) -> None:
    import sixty_three
    from ase.calculators.singlepoint import SinglePointCalculator

    labels = {}
    for key, energy in (("own", -0.86), ("hole", -1.18)):
        atoms = bulk("Cs", "fcc", a=8.5)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)), stress=np.zeros(6))
        labels[key] = atoms
    records = [{"id": "fcc-Cs", "labels": [{"kind": "none 0.03", "key": key}]} for key in labels]
    kept = sixty_three.cells_of_chunk(records, labels, {"Cs": -0.86})
    assert [atoms.get_potential_energy() for atoms in kept] == [-0.86]


def test_a_card_is_given_by_what_was_measured(crystals: Any, tmp_path: Path) -> None:
    import ship

    from sdnnff_calc import SDNNFF, load_model, save_model

    model = load_model()
    errors = {"crystals": 3, "rmse_and_interval": [28.0, 25.0, 31.0], "median_crystal": 13.0, "scale": 110.0}
    told = {"none 0.03": errors, "energy_mae_mev_per_atom": 47.0, "by_prototype": {"rocksalt": {"rmse": 1.0}}}
    (tmp_path / "errors.json").write_text(json.dumps({f"test | {tmp_path / 'new.pt'}": told}))
    (tmp_path / "reliability.json").write_text('{"scale": 3.14159}')
    (tmp_path / "elements.json").write_text('{"Na": -1.30263}')
    model.card.clear()
    save_model(model, tmp_path / "new.pt")
    names = {"errors": "errors", "reliability": "reliability", "elements": "elements"}
    given = [word for key, name in names.items() for word in (f"--{key}", str(tmp_path / f"{name}.json"))]
    new = str(tmp_path / "new.pt")
    ship.main([new, "--members", new, *given, "--data", "three crystals", "--out", str(tmp_path)])
    card = load_model(tmp_path / "default.pt").card
    assert card["unseen_force_errors_ev_per_angstrom"] == {
        "none 0.03": {"rmse": 0.028, "median_crystal": 0.013, "scale": 0.11}
    }
    assert card["committee_error_scale"] == 3.142
    assert SDNNFF(tmp_path / "default-member-2.pt").element_energies == {"Na": -1.3026}


def test_all_arrangements_of_a_compound_are_on_one_side(crystals: Any) -> None:
    assert crystals.composition(["Na", "Cl"]) == crystals.composition(["Cl", "Na"]) == "ClNa"
    assert crystals.composition(["Al", "O", "O", "O", "O", "Mg", "Al"]) == "Al2MgO4"
    heuslers = [crystals.composition(list(order)) for order in itertools.permutations(["Ti", "Ni", "Sn"])]
    assert len(set(heuslers)) == 1
    assert crystals.is_held_out("ClNa", {"ClNa"})
    share = np.mean([crystals.is_held_out(f"Na{n}Cl", set()) for n in range(4000)])
    assert share == pytest.approx(0.1, abs=0.02)


def test_proposals_come_in_one_order_and_each_once(crystals: Any) -> None:
    first = list(crystals.unique(crystals.proposals(3), 300))
    again = list(crystals.unique(crystals.proposals(3), 300))
    assert first == again
    assert len({row["id"] for row in first}) == len(first)
    assert {row["prototype"] for row in first} >= {"elpasolite", "spinel", "ab3c12", "rocksalt", "full-heusler"}


@pytest.mark.parametrize(("name", "elements"), [("elpasolite", "KNaAlF"), ("spinel", "MgAlO"), ("ab3c12", "CsCaF")])
def test_the_free_coordinate_keeps_the_space_group(crystals: Any, name: str, elements: str) -> None:
    symbols = {"KNaAlF": ["K", "Na", "Al", "F"], "MgAlO": ["Mg", "Al", "O"], "CsCaF": ["Cs", "Ca", "F"]}[elements]
    crystal = crystals.crystal_of({"id": name, "prototype": name, "elements": symbols})
    before = spglib.get_symmetry_dataset(_spglib_cell(crystal.cell()), 1e-4).number
    crystal.step = 0.05
    moved = crystal.cell()
    assert spglib.get_symmetry_dataset(_spglib_cell(moved), 1e-4).number == before
    assert np.linalg.norm(moved.positions - crystal.ideal.positions, axis=1).max() == pytest.approx(0.05)


def test_symmetry_fixes_the_atoms_of_rocksalt(crystals: Any) -> None:
    assert crystals.symmetric_mode("rocksalt", 2) is None


def _spglib_cell(atoms: Atoms) -> tuple[Any, Any, Any]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def test_crystals_find_the_volume_and_the_free_coordinate(crystals: Any) -> None:
    """A toy: P = −B ln(V/V0), and a spring on the free coordinate."""
    crystal = crystals.crystal_of({"id": "x", "prototype": "elpasolite", "elements": ["K", "Na", "Al", "F"]})
    rest, modulus, spring = crystal.guess + 0.35, 0.4, 6.0

    def predict(cells: list[Atoms]) -> list[dict[str, Any]]:
        results = []
        for atoms in cells:
            pressure = -modulus * (np.log(atoms.get_volume() / len(atoms)) - rest)
            forces = spring * (0.08 - crystal.step) * crystal.mode
            results.append({"stress": np.array([-pressure] * 3 + [0.0] * 3), "forces": forces})
        return results

    crystals.relax([crystal], predict, 8)
    assert crystal.log_volume == pytest.approx(rest, abs=1e-3)
    assert crystal.step == pytest.approx(0.08, abs=2e-3)


def test_volumes_are_learned_from_elements_and_prototypes(crystals: Any) -> None:
    model = crystals.VolumeModel()
    rows = list(crystals.unique(crystals.proposals(0, ("Na", "K", "Mg", "Ca", "Cl", "O", "Al", "Cu")), 400))
    made = [crystals.crystal_of(row) for row in rows]
    for crystal in made[::2]:
        crystal.log_volume = crystal.guess + 0.2 * crystal.elements.count("Na") + 0.1 * (crystal.prototype == "cscl")
        model.add(crystal)
    model.fit()
    known = [crystal for crystal in made[1::2] if "Na" not in crystal.elements]
    errors = [model.guess(c) - c.guess - 0.1 * (c.prototype == "cscl") for c in known]
    assert np.median(np.abs(errors)) < 0.03


@pytest.mark.parametrize(("kind", "length"), [("none 0.03", 0.03), ("shear 0.12", 0.12)])
def test_supercells_are_displaced_by_their_length(crystals: Any, kind: str, length: float) -> None:
    crystal = crystals.crystal_of({"id": "fcc-Cu", "prototype": "fcc", "elements": ["Cu"]})
    atoms = crystals.supercell(crystal, kind, crystals.rng_of(0))
    ideal = crystals.repeated(crystal.cell(), 10)
    ideal.set_cell(atoms.cell, scale_atoms=True)
    moves = np.linalg.norm(atoms.positions - ideal.positions, axis=1)
    assert moves == pytest.approx(np.full(len(atoms), length))
    assert len(atoms) == 8


def test_an_element_as_it_is_has_few_atoms(crystals: Any) -> None:
    assert len(crystals.own_lattice("Ti")) == len(bulk("Ti"))
    assert crystals.own_lattice("Mn") is None


def test_prototypes_that_the_pool_runs_out_of_have_chunks_of_their_own(crystals: Any) -> None:
    import sixty_three

    rows = [{"id": k, "prototype": "rocksalt" if k < 3 else "elpasolite"} for k in range(3 * sixty_three.CHUNK)]
    whole = sixty_three.work_of_pool(rows, 1, None)
    assert [name for name, _ in whole] == ["pool-00001", "pool-00002"]
    alone = sixty_three.work_of_pool(rows, 0, ["rocksalt"])
    assert [(name, len(part)) for name, part in alone] == [("pool-rocksalt-00000", 3)]


def test_doubtful_compounds_are_what_their_names_say(crystals: Any) -> None:
    """Twenty and more, spread over prototypes; the double and the triple atom where the recipe says."""
    import doubtful

    found = {
        crystals.composition(crystals.crystal_of(row).ideal.get_chemical_symbols()) for row in doubtful.compounds()
    }
    assert len(found) >= 20
    assert {"AlNi3", "Pt3Ti", "PtTi3", "AlFe2V", "NiSnTi", "NTi"} <= found
