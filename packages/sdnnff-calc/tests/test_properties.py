"""Identities that hold for every crystal, drawn: symmetries of the physics, consistency of the passes, round trips."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.calculators.results import voigt
from sdnnff_calc.config import TrainingConfig, model_config_from_dict, read_config
from sdnnff_calc.data.sample_stores import MemoryStore, ShardedStore
from sdnnff_calc.data.samples import Sample, batch_indices, stress_matrix
from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures, split_groups
from sdnnff_calc.errors import OverlappingAtomsError
from sdnnff_calc.geometry.closest_pairs import ClosestPairs
from sdnnff_calc.geometry.environments import EdgeArrays
from sdnnff_calc.geometry.neighbours import VerletList, find_edges
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.checkpoint import Model, load_model, save_model
from sdnnff_calc.models.heads import Statistics
from sdnnff_calc.testing import toy_model
from sdnnff_calc.testing.strategies import cell_changes, crystals, model_tables, rotations, toml_text
from sdnnff_calc.training.log import EpochRecord, write_log
from sdnnff_calc.training.optimisation import learning_rate
from sdnnff_calc.training.resume import FitState, ResumeFile

CONSERVATIVE = st.sampled_from(["conservative-1", "conservative-1-scaled", "conservative-2"])
EQUIVARIANT = st.sampled_from(["conservative-1", "conservative-1-scaled", "conservative-2", "direct-1", "direct-2"])
ANY = st.sampled_from(["conservative-2", "direct-2", "grid"])
_MODELS: dict[str, Model] = {}


def results(name: str, atoms: Atoms) -> dict[str, Any]:
    """Evaluate a toy model in double precision; weights are made once."""
    if name not in _MODELS:
        _MODELS[name] = toy_model(name, "float64")
    return SDNNFF(_MODELS[name]).predict([atoms])[0]


def largest(found: dict[str, Any]) -> float:
    return max(1e-3, float(np.abs(found["forces"]).max()))


def brute_force(atoms: Atoms, cutoff: float) -> Counter[tuple[int, int, tuple[int, ...]]]:
    """Every pair within the cutoff, by trying all images that can be near."""
    reciprocal = np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    spread = np.ptp(atoms.get_scaled_positions(wrap=False), axis=0)
    reach = [int(np.ceil(cutoff * k + s)) if p else 0 for k, s, p in zip(reciprocal, spread, atoms.pbc, strict=True)]
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    found: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
    for shift in np.stack([g.ravel() for g in grids], axis=1):
        vectors = atoms.positions[None, :] + shift @ atoms.cell.array - atoms.positions[:, None]
        distance = np.linalg.norm(vectors, axis=2)
        for i, j in np.argwhere((distance < cutoff) & (distance > 1e-9)):
            found[int(i), int(j), tuple(int(s) for s in shift)] += 1
    return found


PBC = st.tuples(st.booleans(), st.booleans(), st.booleans())


@given(crystals(pbc=PBC), st.floats(2.0, 5.0))
def test_neighbours_are_those_of_brute_force(atoms: Atoms, cutoff: float) -> None:
    edges = find_edges(atoms, cutoff)
    shifts = map(tuple, edges.shift.tolist())
    listed = Counter(zip(edges.centre.tolist(), edges.neighbour.tolist(), shifts, strict=True))
    expected = brute_force(atoms, cutoff)
    near_the_edge = brute_force(atoms, cutoff + 1e-9) - brute_force(atoms, cutoff - 1e-9)
    difference = (listed - expected) + (expected - listed)
    assert not difference - near_the_edge


@given(crystals(pbc=PBC), st.integers(0, 10**6), st.floats(0.0, 0.4))
def test_a_kept_list_is_a_fresh_list(atoms: Atoms, seed: int, size: float) -> None:
    kept = VerletList(4.0, skin=0.5)
    kept.edges(atoms)
    moved = atoms.copy()
    moved.rattle(size / 3, seed=seed)
    try:
        fresh = find_edges(moved, 4.0)
    except OverlappingAtomsError:
        return
    edges = kept.edges(moved)
    for found in (edges, fresh):
        assert (np.diff(found.centre) >= 0).all()

    def key(e: Any) -> list[tuple[float, ...]]:
        return sorted(map(tuple, np.round(np.column_stack([e.centre, e.neighbour, e.vector]), 6).tolist()))

    assert np.allclose(key(edges), key(fresh), atol=1e-5)


@given(crystals())
def test_every_edge_has_its_opposite(atoms: Atoms) -> None:
    edges = find_edges(atoms, 4.5)
    there = Counter(zip(edges.centre.tolist(), edges.neighbour.tolist(), map(tuple, edges.shift.tolist()), strict=True))
    back = Counter(
        zip(edges.neighbour.tolist(), edges.centre.tolist(), map(tuple, (-edges.shift).tolist()), strict=True)
    )
    assert there == back


@given(crystals(), rotations(), EQUIVARIANT)
def test_a_turned_crystal_has_turned_forces(atoms: Atoms, rotation: np.ndarray, name: str) -> None:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    before, after = results(name, atoms), results(name, turned)
    assert np.allclose(after["forces"], before["forces"] @ rotation.T, atol=1e-8 * largest(before))
    if "energy" in before:
        assert after["energy"] == pytest.approx(before["energy"], abs=1e-8)
        expected = rotation @ stress_matrix(before["stress"]) @ rotation.T
        assert np.allclose(stress_matrix(after["stress"]), expected, atol=1e-8)


@given(crystals(), EQUIVARIANT)
def test_a_mirror_image_has_mirrored_forces(atoms: Atoms, name: str) -> None:
    mirrored = Atoms(atoms.numbers, positions=-atoms.positions, cell=-atoms.cell.array, pbc=True)
    before, after = results(name, atoms), results(name, mirrored)
    assert np.allclose(after["forces"], -before["forces"], atol=1e-8 * largest(before))


@given(crystals(), ANY, st.randoms(use_true_random=False))
def test_the_order_of_atoms_does_not_matter(atoms: Atoms, name: str, random: Any) -> None:
    order = list(range(len(atoms)))
    random.shuffle(order)
    before, after = results(name, atoms), results(name, atoms[order])
    assert np.allclose(after["forces"], before["forces"][order], atol=1e-8 * largest(before))
    if "energy" in before:
        assert after["energy"] == pytest.approx(before["energy"], abs=1e-8)


@given(crystals(), ANY, st.tuples(*[st.floats(-20.0, 20.0)] * 3), st.booleans())
def test_the_origin_and_the_image_of_an_atom_do_not_matter(
    atoms: Atoms, name: str, shift: tuple[float, ...], wrap: bool
) -> None:
    moved = atoms.copy()
    moved.translate(shift)
    if wrap:
        moved.wrap()
    before, after = results(name, atoms), results(name, moved)
    if name != "grid":  # whose frames jump where neighbours tie
        assert np.allclose(after["forces"], before["forces"], atol=1e-7 * largest(before))
    if "energy" in before:
        assert after["energy"] == pytest.approx(before["energy"], abs=1e-7)
        assert np.allclose(after["stress"], before["stress"], atol=1e-8)


@given(crystals(), cell_changes(), EQUIVARIANT)
def test_another_setting_of_the_lattice_is_the_same_crystal(atoms: Atoms, change: np.ndarray, name: str) -> None:
    other = atoms.copy()
    other.set_cell(change @ atoms.cell.array, scale_atoms=False)
    before, after = results(name, atoms), results(name, other)
    assert np.allclose(after["forces"], before["forces"], atol=1e-8 * largest(before))
    if "stress" in before:
        assert np.allclose(after["stress"], before["stress"], atol=1e-9)


@given(crystals(max_atoms=3), st.sampled_from([(2, 1, 1), (1, 1, 3), (1, 2, 2)]), CONSERVATIVE)
def test_energy_is_extensive_and_stress_intensive(atoms: Atoms, size: tuple[int, int, int], name: str) -> None:
    n = int(np.prod(size))
    whole = make_supercell(atoms, np.diag(size))
    before, after = results(name, atoms), results(name, whole)
    assert after["energy"] == pytest.approx(n * before["energy"], abs=1e-7)
    assert np.allclose(after["stress"], before["stress"], atol=1e-9)


@given(crystals(pbc=PBC), CONSERVATIVE, st.integers(0, 10**6))
def test_forces_are_the_slope_of_the_energy(atoms: Atoms, name: str, seed: int) -> None:
    direction = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    found, step = results(name, atoms), 1e-5
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        energies.append(results(name, moved)["energy"])
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(-float((found["forces"] * direction).sum()), abs=1e-5 * max(1.0, largest(found)))


@given(crystals(), CONSERVATIVE, st.integers(0, 10**6))
def test_stress_is_the_slope_of_the_energy_by_strain(atoms: Atoms, name: str, seed: int) -> None:
    strain = np.random.default_rng(seed).normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    found, step = results(name, atoms), 1e-5
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        energies.append(results(name, strained)["energy"])
    slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    expected = float((stress_matrix(found["stress"]) * strain).sum())
    assert slope == pytest.approx(expected, abs=1e-5 * max(1e-2, abs(expected)))


@given(crystals(), EQUIVARIANT)
def test_forces_of_a_crystal_sum_to_zero_where_they_are_a_gradient(atoms: Atoms, name: str) -> None:
    found = results(name, atoms)
    if "energy" in found:
        assert np.abs(found["forces"].sum(axis=0)).max() < 1e-9 * largest(found) * len(atoms) + 1e-10


@given(crystals(), ANY, st.integers(2, 4))
def test_a_committee_of_clones_agrees_with_itself_and_with_the_model(atoms: Atoms, name: str, n: int) -> None:
    found = results(name, atoms)
    forces = Committee([_MODELS[name]] * n, "cpu").predict_committee([atoms])["forces"][0]
    assert np.allclose(forces, forces[:1], atol=1e-13 * largest(found))  # their gradients are summed in one product
    assert np.allclose(forces[0], found["forces"], atol=1e-9 * largest(found))


@given(st.lists(crystals(), min_size=1, max_size=4), ANY)
def test_a_batch_gives_what_its_structures_give_alone(batch: list[Atoms], name: str) -> None:
    alone = [results(name, atoms) for atoms in batch]
    together = SDNNFF(_MODELS[name]).predict(batch)
    for one, other in zip(alone, together, strict=True):
        for key in one:
            assert np.allclose(one[key], other[key], atol=1e-9 * largest(one)), key


@settings(max_examples=12)
@given(model_tables(), st.integers(0, 1000))
def test_a_checkpoint_gives_back_every_model(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object], seed: int
) -> None:
    config = model_config_from_dict(table)
    model = Model(
        build_network(config, torch.float32, seed), config, (11, 17), Statistics(0.3, 12.0, None, {(11, 17): 2.4})
    )
    again = load_model(save_model(model, tmp_path_factory.mktemp("m") / "m.pt"))
    assert again.config == config
    assert again.statistics == model.statistics
    for key, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[key]), key


TRAINING = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**6),
        "learning_rate": st.floats(1e-8, 1.0),
        "ema_decay": st.floats(0.0, 0.999),
        "optimiser": st.sampled_from(["adamw", "muon"]),
        "mixed_precision": st.booleans(),
        "workdir": st.text(
            st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1
        ),
    },
)


@given(model_tables(), TRAINING)
def test_settings_come_back_from_toml(
    tmp_path_factory: pytest.TempPathFactory, model: dict[str, object], training: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("t") / "c.toml"
    path.write_text(toml_text({"model": model, "training": training}), encoding="utf-8")
    read = read_config(path)
    assert read.model == model_config_from_dict(model)
    expected = TrainingConfig(**training)  # type: ignore[arg-type]
    assert dataclasses.replace(read.training, workdir=expected.workdir) == expected
    assert read.training.workdir == str((path.parent / expected.workdir).resolve())


@st.composite
def labelled(draw: st.DrawFn) -> Atoms:
    atoms = draw(crystals())
    draw_of = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels: dict[str, Any] = {"forces": draw_of.normal(size=(len(atoms), 3))}
    if draw(st.booleans()):
        labels["energy"] = float(draw_of.normal())
    if draw(st.booleans()):
        labels["stress"] = draw_of.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


@given(st.lists(labelled(), min_size=1, max_size=4), st.integers(1, 6))
def test_samples_come_back_from_the_cache(
    tmp_path_factory: pytest.TempPathFactory, structures: list[Atoms], shard_atoms: int
) -> None:
    samples = [Sample.from_atoms(atoms, 3.5) for atoms in structures]
    folder = tmp_path_factory.mktemp("c") / "cache"
    store = ShardedStore.write(folder, samples, shard_atoms=shard_atoms, dtype="float64")
    assert store.digest == MemoryStore(samples).digest
    for sample, again in zip(samples, (store[k] for k in range(len(store))), strict=True):
        assert again.crystal == sample.crystal
        assert np.array_equal(again.forces, sample.forces)
        assert np.array_equal(again.edges.vector, sample.edges.vector)
        assert np.array_equal([again.energy], [sample.energy], equal_nan=True)
        assert np.array_equal(again.stress, sample.stress, equal_nan=True)


@given(st.lists(labelled(), min_size=1, max_size=4))
def test_labels_come_back_from_extended_xyz(tmp_path_factory: pytest.TempPathFactory, structures: list[Atoms]) -> None:
    path = tmp_path_factory.mktemp("x") / "a.extxyz"
    ase.io.write(path, structures)
    report = DataReport()
    read = list(check_labels(iterate_structures([path]), 100.0, report))
    assert report.n_structures == len(structures)
    for atoms, again in zip(structures, read, strict=True):
        for key in ("forces", "energy", "stress"):
            assert (key in atoms.calc.results) == (key in again.calc.results)
            if key in atoms.calc.results:
                assert np.allclose(again.calc.results[key], atoms.calc.results[key], atol=1e-7)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.builds(EpochRecord, st.just("conservative"), *[st.integers(0, 10**9)] * 2, *[NUMBERS] * 7), max_size=5)
)
def test_a_log_comes_back(tmp_path_factory: pytest.TempPathFactory, records: list[EpochRecord]) -> None:
    path = tmp_path_factory.mktemp("l") / "log.csv"
    write_log(records, path)
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["validation_force_rmse"]) for row in rows] == [r.validation_force_rmse for r in records]
    assert all(row["validation_energy_mae"] == "" for row in rows)


@given(st.integers(0, 10**9), NUMBERS, st.integers(0, 5))
def test_a_resume_point_comes_back(
    tmp_path_factory: pytest.TempPathFactory, step: int, loss: float, n_records: int
) -> None:
    records = [EpochRecord("grid", k, k, 0.1, *[loss] * 6) for k in range(n_records)]
    state = FitState(epoch=n_records, step=step, best_loss=loss, records=records)
    file = ResumeFile(Path(tmp_path_factory.mktemp("r")) / "resume-x.pt", "this training")
    weights = {"a": torch.arange(4.0)}
    file.save(state, weights=weights)
    found = file.load(torch.device("cpu"))
    assert found is not None
    assert found[0] == state
    assert torch.equal(found[1]["weights"]["a"], weights["a"])


@given(st.lists(crystals(), min_size=1, max_size=3))
def test_the_closest_pairs_are_those_of_brute_force(structures: list[Atoms]) -> None:
    gathered = ClosestPairs()
    expected: dict[tuple[int, int], float] = {}
    for atoms in structures:
        gathered.add(EdgeArrays.from_atoms(atoms, 4.0))
        for i, j, shift in brute_force(atoms, 4.0 - 1e-9):
            vector = atoms.positions[j] + np.array(shift) @ atoms.cell.array - atoms.positions[i]
            a, b = sorted((int(atoms.numbers[i]), int(atoms.numbers[j])))
            expected[a, b] = min(expected.get((a, b), np.inf), float(np.linalg.norm(vector)))
    assert gathered.found() == pytest.approx(expected)


@given(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6))
def test_voigt_order_there_and_back(stress: list[float]) -> None:
    assert np.array_equal(voigt(stress_matrix(stress)), stress)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 100))
def test_batches_hold_every_structure_once_and_no_more_atoms_than_allowed(sizes: list[int], limit: int) -> None:
    batches = list(batch_indices(np.array(sizes), limit))
    assert [k for batch in batches for k in batch] == list(range(len(sizes)))
    assert all(sum(sizes[k] for k in batch) <= limit or len(batch) == 1 for batch in batches)
    for first, second in itertools.pairwise(batches):
        assert sum(sizes[k] for k in first) + sizes[second[0]] > limit


@given(st.lists(st.integers(0, 8), min_size=2, max_size=60), st.floats(0.0, 0.99), st.integers(0, 100))
def test_a_split_keeps_groups_whole_and_trains_on_something(labels: list[int], fraction: float, seed: int) -> None:
    groups = [f"crystal {k}" for k in labels]
    if len(set(groups)) < 2:
        return
    held = split_groups(groups, fraction, seed)
    sides = {name: {bool(h) for g, h in zip(groups, held, strict=True) if g == name} for name in groups}
    assert all(len(side) == 1 for side in sides.values())
    assert not held.all()
    assert held.any() == (fraction > 0.0)


@given(st.integers(0, 500), st.integers(0, 200), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_learning_rate_stays_below_its_peak_and_falls(step: int, warmup: int, share: float, later: float) -> None:
    config = TrainingConfig(warmup_steps=warmup)
    first, second = sorted((share, later))
    rate = learning_rate(config, step, first)
    assert 0.0 < rate <= config.learning_rate
    assert learning_rate(config, step, second) <= rate
    assert learning_rate(config, step + 1, first) >= rate
