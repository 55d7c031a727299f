"""The recipe of the bundled weights: what its split step lets through."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from al_committee import CommitteeCalculator
from al_committee.selection.supercells import displace_randomly

RECIPES = Path(__file__).parents[1] / "recipes"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe():
    return load("cubic_prototypes")


@pytest.fixture(scope="module")
def errors(recipe):
    """The recipe that measures errors; it imports the other."""
    return load("cubic_prototypes_errors")


LATTICES = {"rocksalt": "rocksalt", "cscl": "cesiumchloride"}


def labelled(symbols: str, prototype: str, a: float) -> Atoms:
    """A crystal as the label step leaves it, displaced and with small forces."""
    atoms = bulk(symbols, LATTICES[prototype], a=a, cubic=True)
    atoms.rattle(0.01, seed=0)
    forces = np.full((len(atoms), 3), 0.01)
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * len(atoms), forces=forces, stress=np.zeros(6))
    elements = "-".join(dict.fromkeys(atoms.get_chemical_symbols()))
    atoms.info |= {"prototype": prototype, "structure_id": f"{prototype}-{elements}", "kind": "none 0.03"}
    return atoms


@pytest.mark.parametrize(
    ("symbols", "prototype", "a", "reason"),
    [
        ("NaCl", "rocksalt", 5.64, ""),
        ("CsI", "rocksalt", 7.6, ""),
        ("CsCl", "cscl", 4.12, ""),
        ("NaCl", "rocksalt", 8.2, "swollen"),  # 3.6 times the volume of touching spheres
        ("NaCl", "rocksalt", 10.6, "with isolated atoms"),  # nearest neighbours at 5.3 Å
    ],
)
def test_a_crystal_that_fell_apart_is_named(recipe, symbols: str, prototype: str, a: float, reason: str) -> None:
    assert recipe.fell_apart(labelled(symbols, prototype, a)) == reason


def test_one_isolated_atom_among_bonded_ones_is_enough(recipe) -> None:
    """Laves F-Cs: the fluorine atoms hold together, the caesium atoms lie in voids."""
    crystal = labelled("NaCl", "rocksalt", 5.64)
    crystal.cell[2] = [0.0, 0.0, 25.0]
    crystal.positions[0, 2] -= 10.0
    assert recipe.fell_apart(crystal) == "with isolated atoms"


def killed(*_: object) -> None:
    """Stand for a kill before what was written is given its name."""
    raise KeyboardInterrupt


def test_a_kill_leaves_the_energy_of_an_element_and_the_parts_whole_or_as_they_were(
    recipe, tmp_path: Path, monkeypatch
) -> None:
    for name in ("crystals", "elements"):
        (tmp_path / name).mkdir()
    write(tmp_path / "crystals" / "rocksalt-Na-Cl.extxyz", [labelled("NaCl", "rocksalt", 5.64)])
    (tmp_path / "train.extxyz").write_text("as it was")
    monkeypatch.setattr(recipe, "relax", lambda atoms, calculator, fmax: setattr(atoms, "calc", calculator))
    steps = (
        lambda: recipe.ensure_element_energy("Cu", EMT(), tmp_path / "elements"),
        lambda: recipe.split(argparse.Namespace(out=tmp_path)),
    )
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killed)
        for step in steps:
            with pytest.raises(KeyboardInterrupt):
                step()
    assert not list((tmp_path / "elements").iterdir())
    assert (tmp_path / "train.extxyz").read_text() == "as it was"
    for step in steps:
        step()
    assert np.isfinite(json.loads((tmp_path / "elements" / "Cu.json").read_text()))
    assert len(read(tmp_path / "train.extxyz", ":")) == 1


def test_split_leaves_broken_crystals_out_of_both_parts(recipe, tmp_path: Path, capsys) -> None:
    crystals, elements = tmp_path / "crystals", tmp_path / "elements"
    crystals.mkdir()
    elements.mkdir()
    for symbol in ("Ag", "Na", "K", "Cl", "Br", "I"):
        (elements / f"{symbol}.json").write_text(json.dumps(-1.0))
    lattice_constants = {"NaCl": 5.64, "KCl": 6.3, "KI": 10.9, "NaBr": 5.97, "AgI": 10.6}  # the last two are unseen
    for symbols, a in lattice_constants.items():
        crystal = labelled(symbols, "rocksalt", a)
        write(crystals / f"{crystal.info['structure_id']}.extxyz", [crystal])
    recipe.split(argparse.Namespace(out=tmp_path))
    parts = {
        part: [atoms.info["structure_id"] for atoms in read(tmp_path / f"{part}.extxyz", ":")]
        for part in ("train", "test")
    }
    assert parts == {"train": ["rocksalt-K-Cl", "rocksalt-Na-Cl"], "test": ["rocksalt-Na-Br"]}
    assert "left out: 2 with isolated atoms" in capsys.readouterr().out


def test_every_proposal_contains_what_is_asked_for_and_one_kind_of_anion(recipe) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        name, crystal = recipe.propose(rng, ["spinel", "cu3au", "perovskite"], {"Ag", "O"})
        symbols = set(crystal.get_chemical_symbols())
        assert symbols & {"Ag", "O"}, (name, crystal.symbols)
        assert len(symbols & (recipe.IONIC | {"P"})) <= 1


class ScaledEMT(EMT):
    """EMT with its forces times a factor; energies and stresses as they are."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        self.results["forces"] = self.factor * self.results["forces"]


def test_a_committee_relaxes_the_proposal_and_says_how_far_it_disagrees(recipe, tmp_path: Path) -> None:
    (tmp_path / "Cu.json").write_text("0.0")  # EMT counts from the metal
    copper = bulk("Cu", a=3.8)
    committee = CommitteeCalculator([ScaledEMT(0.9), ScaledEMT(1.1)])
    deviation = recipe.disagreement(copper, committee, tmp_path, np.random.default_rng(0))
    relaxed = bulk("Cu", a=3.8)
    assert recipe.relax(relaxed, EMT(), fmax=0.05)
    assert copper.get_volume() == pytest.approx(relaxed.get_volume(), rel=1e-6)
    supercell = recipe.supercell_of(relaxed, recipe.N_ATOMS)
    supercell.positions += displace_randomly(supercell, 0.03, np.random.default_rng(0))
    supercell.calc = EMT()
    assert deviation == pytest.approx(0.1 * np.sqrt(np.mean(np.sum(supercell.get_forces() ** 2, axis=1))), rel=1e-6)


def test_a_committee_leaves_the_unbound_out_and_what_it_does_not_know_to_the_teacher(recipe, tmp_path: Path) -> None:
    committee = CommitteeCalculator([EMT(), EMT()])
    rng = np.random.default_rng(0)
    copper, silicon = bulk("Cu", a=3.8), bulk("Si")
    (tmp_path / "Cu.json").write_text("-1.0")
    assert recipe.disagreement(copper, committee, tmp_path, rng) == -np.inf
    cell = silicon.cell.array.copy()
    assert recipe.disagreement(silicon, committee, tmp_path, rng) == np.inf
    assert np.array_equal(silicon.cell.array, cell)


def test_where_a_committee_relaxes_the_teacher_labels_what_is_not_held_out(recipe, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "teacher", EMT)
    monkeypatch.setattr(recipe, "SDNNFF", lambda path: ScaledEMT(float(path)))
    monkeypatch.setattr(recipe, "ELEMENTS", ["Al", "Cu", "Ag"])
    options = "--prototypes cu3au --containing Al Cu Ag --committee 0.9 1.1 --deviation 0 --committee-relaxes"
    assert recipe.main(["label", "--out", str(tmp_path), "--minutes", "0.05", *options.split()]) == 0
    labels = {file.stem: read(file, ":") for file in (tmp_path / "crystals").glob("*.extxyz")}
    assert labels
    for identity, cells in labels.items():
        for symbol in identity.split("-")[1:]:  # EMT counts from the metals
            assert json.loads((tmp_path / "elements" / f"{symbol}.json").read_text()) == pytest.approx(0.0, abs=0.02)
        assert not recipe.is_unseen(identity)
        assert [cell.info["kind"] for cell in cells] == ["none 0.03", "shear 0.12"]
        for cell in cells:
            assert len(cell) >= recipe.N_ATOMS_AT_REST / 1.5
            copy = cell.copy()
            copy.calc = EMT()
            assert np.allclose(copy.get_forces(), cell.get_forces(), atol=1e-6)


def test_the_elements_are_labelled_in_three_lattices_and_never_held_out(recipe, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "teacher", EMT)
    monkeypatch.setattr(recipe, "ELEMENTS", ["Al", "Cu", "O"])
    monkeypatch.setattr(recipe, "is_unseen", lambda identity: True)
    for _ in range(2):  # the second time everything is there
        assert recipe.main(["elements", "--out", str(tmp_path)]) == 0
    (tmp_path / "elements").mkdir()
    assert recipe.main(["split", "--out", str(tmp_path)]) == 0
    train = read(tmp_path / "train.extxyz", ":")
    labelled_as = {atoms.info["structure_id"] for atoms in train}
    assert {"fcc-Al", "bcc-Al", "fcc-Cu", "bcc-Cu"} <= labelled_as  # EMT may not hold diamond together
    assert (tmp_path / "test.extxyz").read_text() == ""
    assert len(train) == 12 * len(labelled_as)
    copper = next(atoms for atoms in train if atoms.info["structure_id"] == "fcc-Cu")
    assert copper.get_volume() / len(copper) == pytest.approx(3.59**3 / 4, rel=0.02)  # EMT's lattice constant


def test_a_committee_that_relaxes_must_be_given(recipe, capsys) -> None:
    with pytest.raises(SystemExit):
        recipe.main(["label", "--committee-relaxes"])
    assert "--committee-relaxes needs --committee" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prototype", "symbols", "free"),
    [
        ("spinel", ["Mg", "Al", "O"], True),
        ("elpasolite", ["K", "Na", "Al", "F"], True),
        ("perovskite", ["Sr", "Sn", "O"], False),
        ("fluorite", ["Ca", "F"], False),
    ],
)
def test_which_leave_an_atom_somewhere_to_go(recipe, errors, prototype: str, symbols: list[str], free: bool) -> None:
    assert errors.has_free_coordinate(recipe.build(prototype, symbols, 8.0)) == free


class Distorted:
    """Predicts the labels, each with a static error of its crystal and a random one."""

    def __init__(self, static: float, noise: float) -> None:
        self.static, self.noise = static, noise

    def predict(self, structures: list[Atoms], *, memory_gb: float = 1.0) -> list[dict]:
        rng = np.random.default_rng(0)
        draw = {a.info["structure_id"]: rng.normal(size=(len(a), 3)) for a in structures}
        return [
            {
                "forces": a.get_forces()
                + self.static * draw[a.info["structure_id"]]
                + self.noise * rng.normal(size=(len(a), 3))
            }
            for a in structures
        ]


def test_the_static_share_and_the_ratio_of_known_errors_come_out(errors, tmp_path: Path, monkeypatch, capsys) -> None:
    crystals = []
    for symbols, a in {"NaCl": 5.64, "KCl": 6.3, "NaBr": 5.97, "KBr": 6.6, "NaI": 6.5, "LiF": 4.0}.items():
        for kind in errors.KINDS:
            crystal = labelled(symbols, "rocksalt", a).repeat(4)
            crystal.calc = SinglePointCalculator(crystal, forces=np.full((len(crystal), 3), 0.01))
            crystal.info = {**labelled(symbols, "rocksalt", a).info, "kind": kind}
            crystals.append(crystal)
    write(tmp_path / "test.extxyz", crystals)
    monkeypatch.setattr(errors, "predictor", {"good": Distorted(0.0, 0.02), "poor": Distorted(0.03, 0.04)}.get)
    assert errors.main(["good", "poor", "--out", str(tmp_path), "--csv", str(tmp_path / "errors.csv")]) == 0
    with (tmp_path / "errors.csv").open() as stream:
        rows = {(row["supercells"], row["model"]): row for row in csv.DictReader(stream)}
    good, poor = (rows["0.03 Å", model] for model in ("good", "poor"))
    assert float(good["rmse"]) == pytest.approx(20.0, rel=0.02)
    assert float(poor["rmse"]) == pytest.approx(50.0, rel=0.02)
    assert float(poor["ratio"]) == pytest.approx(0.4, rel=0.02)
    assert float(poor["ratio_low"]) < float(poor["ratio"]) < float(poor["ratio_high"])
    static = [line for line in capsys.readouterr().out.splitlines() if "static share" in line and " all," in line]
    shares = [float(line.rsplit(" ", 1)[1]) for line in static]
    assert shares == pytest.approx([0.0, 0.36], abs=0.03)


def test_force_constants_of_training_crystals_are_those_of_the_teacher(recipe, tmp_path: Path, monkeypatch) -> None:
    import phonopy

    copper = bulk("Cu", a=3.65, cubic=True).repeat((2, 2, 1))  # displaced, and swollen by 5 %
    copper.rattle(0.03, seed=1)
    copper.calc = EMT()
    copper.calc = SinglePointCalculator(copper, energy=copper.get_potential_energy(), forces=copper.get_forces())
    copper.info |= {"prototype": "fcc", "structure_id": "fcc-Cu", "kind": "none 0.03"}
    spinel = copper.copy()  # too many atoms for the step
    spinel.info |= {"prototype": "spinel", "structure_id": "spinel-Cu"}
    write(tmp_path / "train.extxyz", [copper, spinel])
    monkeypatch.setattr(recipe, "teacher", EMT)
    arguments = argparse.Namespace(out=tmp_path, minutes=1.0, seed=0)
    recipe.force_constants(arguments)
    (file,) = (tmp_path / "fc2").iterdir()
    assert file.name == "fcc-Cu.yaml"
    phonon = phonopy.load(file, log_level=0)
    assert phonon.unitcell.cell.ravel()[np.argmax(phonon.unitcell.cell)] == pytest.approx(3.59 / 2, abs=0.01)
    assert len(phonon.supercell) == 64
    atom = Atoms(phonon.supercell.symbols, phonon.supercell.positions, cell=phonon.supercell.cell, pbc=True)
    atom.positions[0, 0] += 0.01
    atom.calc = EMT()
    fc = phonopy.load(file, is_compact_fc=False, log_level=0).force_constants
    assert np.allclose(atom.get_forces(), -0.01 * fc[0, :, 0, :], atol=2e-3)
    stamp = file.stat().st_mtime_ns
    recipe.force_constants(arguments)
    assert file.stat().st_mtime_ns == stamp
