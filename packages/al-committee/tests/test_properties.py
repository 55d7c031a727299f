"""What holds for any committee, structure, pool and configuration."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.disagreement import committee_mean, force_deviation, supercell_score, tensor_spread
from al_committee.config import LoopConfig, SupercellSettings, config_differences, config_from_dict, template
from al_committee.errors import CommitteeError, ConfigError, StructureError
from al_committee.labels.cache import LabelCache
from al_committee.labels.identity import decode_structure, encode_structure, settings_key, structure_key
from al_committee.labels.outcome import attach_label
from al_committee.labels.workers.teacher_program import read_message, write_message
from al_committee.loop.records import Comparison, LabelsRecord, SelectionRecord, read_record, write_record
from al_committee.selection.crystal_index import Crystal, CrystalIndex
from al_committee.selection.held_out import HeldOut, reduced_formula
from al_committee.selection.pool import Pool, read_crystals
from al_committee.selection.rules import COSTS, STRATEGIES, recommend, select_supercells
from al_committee.testing import IDENTITY_TOLERANCE
from al_committee.testing.strategies import (
    committee_forces,
    loop_configs,
    rotations,
    scored_pools,
    structures,
    supercell_kinds,
)

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
with_files = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# ---- disagreement ----------------------------------------------------------------------------------------


@few
@given(committee_forces(max_models=1), st.integers(1, 6))
def test_clones_do_not_disagree_at_all(one, n_models):
    clones = np.repeat(one, n_models, axis=0)
    assert (force_deviation(clones) == 0).all()
    assert (committee_mean(clones) == one[0]).all()


@few
@given(committee_forces(), st.floats(1e-3, 1e3))
def test_disagreement_scales_with_the_forces(forces, factor):
    expected = factor * force_deviation(forces)
    assert force_deviation(factor * forces) == pytest.approx(expected, rel=1e-9, abs=1e-9 * factor)


@few
@given(committee_forces(), rotations())
def test_disagreement_does_not_see_a_rotation(forces, turn):
    assert force_deviation(forces @ turn.T) == pytest.approx(force_deviation(forces), rel=1e-9, abs=1e-9)


@few
@given(committee_forces(), st.randoms())
def test_disagreement_does_not_see_the_order_of_members_and_follows_that_of_atoms(forces, random):
    members, atoms = list(range(len(forces))), list(range(forces.shape[1]))
    random.shuffle(members)
    random.shuffle(atoms)
    expected = force_deviation(forces)[atoms]
    assert force_deviation(forces[members][:, atoms]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@few
@given(committee_forces(), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_disagreement_does_not_see_a_force_common_to_all(forces, shift):
    assert force_deviation(forces + np.array(shift)) == pytest.approx(force_deviation(forces), rel=1e-7, abs=1e-9)


@few
@given(committee_forces(min_models=2))
def test_disagreement_is_half_the_mean_square_distance_of_pairs(forces):
    pairs = ((forces[:, None] - forces[None]) ** 2).sum(axis=3).mean(axis=(0, 1))
    assert force_deviation(forces) ** 2 == pytest.approx(0.5 * pairs, rel=1e-9, abs=1e-9)


@few
@given(committee_forces(max_atoms=1), rotations())
def test_spread_of_tensors_does_not_see_a_rotation(rows, turn):
    tensors = np.einsum("mi,mj->mij", rows[:, 0], rows[:, 0])

    def voigt(t):
        return t[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    assert tensor_spread(voigt(turn @ tensors @ turn.T)) == pytest.approx(
        tensor_spread(voigt(tensors)), rel=1e-8, abs=1e-8
    )


@few
@given(committee_forces(), st.floats(0, 100))
def test_a_percentile_lies_between_the_least_and_the_worst_atom(forces, percentile):
    deviation = force_deviation(forces)
    score = supercell_score(deviation, percentile)
    assert deviation.min() - IDENTITY_TOLERANCE <= score <= deviation.max() * (1 + IDENTITY_TOLERANCE)
    assert supercell_score(deviation) == deviation.max()


# ---- identity of labels ----------------------------------------------------------------------------------


@few
@given(structures(), st.data())
def test_keys_ignore_what_does_not_determine_a_label(atoms, data):
    same = atoms.copy()
    same.set_tags(data.draw(st.integers(1, 9)))
    same.set_constraint(FixAtoms([0]))
    same.set_momenta(np.ones((len(atoms), 3)))
    same.set_masses([2.5] * len(atoms))
    same.info["note"] = "x"
    same.calc = EMT()
    moves = np.array(
        data.draw(st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=len(atoms), max_size=len(atoms)))
    )
    same.positions += (moves * atoms.pbc) @ atoms.cell.array
    assert structure_key(same) == structure_key(atoms)


@few
@given(structures(), st.floats(1e-5, 1.0), st.integers(0, 2))
def test_keys_see_every_move(atoms, length, axis):
    moved = atoms.copy()
    moved.positions[-1, axis] += length
    delta = np.linalg.solve(atoms.cell.array.T, moved.positions[-1] - atoms.positions[-1])
    assume(not np.allclose(delta, np.round(delta), atol=1e-6))
    assert structure_key(moved) != structure_key(atoms)


@few
@given(structures(max_atoms=4))
def test_keys_see_the_order_of_different_atoms(atoms):
    assume(len(set(atoms.get_chemical_symbols())) > 1)
    order = np.argsort(atoms.numbers, kind="stable")
    assume((atoms.numbers[order] != atoms.numbers).any())
    assert structure_key(atoms[order]) != structure_key(atoms)


@few
@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=5), st.randoms())
def test_settings_keys_ignore_order_and_see_values(options, random):
    items = list(options.items())
    random.shuffle(items)
    assert settings_key(dict(items)) == settings_key(options)
    assert settings_key({**options, "more": 1}) != settings_key(options)


# ---- selection -------------------------------------------------------------------------------------------


@few
@given(scored_pools(), st.sampled_from(sorted(STRATEGIES)), st.sampled_from(sorted(COSTS)), st.data())
def test_selection_never_repeats_takes_nothing_known_and_keeps_its_budget(pool, strategy, cost, data):
    named = config_from_dict(
        {
            "pool": {"source": "x"},
            "labels": {"factory": "a:b"},
            "training": {"trainer": "a:b"},
            "selection": {"budget": data.draw(st.floats(0.1, 20)), "threshold": data.draw(st.floats(0, 1))},
        }
    ).selection
    known = set(data.draw(st.lists(st.sampled_from([s.key for s in pool]), max_size=4)))
    chosen = select_supercells(
        pool,
        named,
        known_keys=known,
        rng=np.random.default_rng(data.draw(st.integers(0, 99))),
        describe=lambda supercells: np.array([[s.score, s.index] for s in supercells]),
        strategy=STRATEGIES[strategy],
        cost=COSTS[cost],
    )
    keys = [s.key for s in chosen.selected]
    assert len(keys) == len(set(keys))
    assert not known & set(keys)
    names = [s.structure_id for s in chosen.selected]
    assert len(names) == len(set(names))
    assert sum(COSTS[cost](s) for s in chosen.selected) <= named.budget * (1 + 1e-9)
    assert all(s.score > named.threshold or s.unseen for s in chosen.recommended)


@few
@given(scored_pools(), st.floats(0, 2), st.floats(0, 2))
def test_a_higher_threshold_recommends_no_more(pool, first, second):
    low, high = sorted((first, second))
    assert {s.structure_id for s in recommend(pool, high)} <= {s.structure_id for s in recommend(pool, low)}


@few
@given(structures(), st.floats(0, 0.99), st.integers(1, 3), st.randoms())
def test_a_compound_is_held_out_whatever_its_cell(atoms, share, repeats, random):
    order = list(range(len(atoms)))
    random.shuffle(order)
    other = (atoms[order] * (repeats, 1, 1)).copy()
    other.positions += 0.1
    assert reduced_formula(other) == reduced_formula(atoms)
    assert HeldOut(share)(other) == HeldOut(share)(atoms)
    assert HeldOut(0.0, [reduced_formula(atoms)])(other)
    if HeldOut(share)(atoms):
        assert HeldOut(min(0.999, share + 0.1))(atoms)  # a larger share holds out what a smaller one did


@few
@given(structures(periodic=True), st.lists(supercell_kinds(), min_size=1, max_size=3, unique_by=lambda k: k.name))
def test_supercells_move_every_atom_by_the_length_of_their_kind(atoms, kinds):
    pool = Pool([Crystal("x", atoms)], SupercellSettings(kinds=kinds, min_length=0.0))
    assert len(pool) == sum(kind.count for kind in kinds)
    for index in range(len(pool)):
        kind, entry = pool.kind(index), pool.supercell("x", index)
        assert entry.key == pool.supercell("x", index).key
        ideal = atoms.get_scaled_positions(wrap=False) @ entry.atoms.cell.array
        steps = np.linalg.norm(entry.atoms.positions - ideal, axis=1)
        assert steps == pytest.approx(kind.displacement, rel=1e-6)
        volume = np.log(entry.atoms.get_volume() / atoms.get_volume())
        assert abs(volume) <= kind.volume + 4 * kind.shear + 1e-9
        if not kind.volume and not kind.shear:
            assert entry.atoms.cell.array == pytest.approx(atoms.cell.array)


# ---- what is written is read -----------------------------------------------------------------------------


@few
@given(structures())
def test_structures_round_trip(atoms):
    atoms.info = {"structure_id": "a", "n": 3}
    back = decode_structure(encode_structure(atoms))
    assert (back.positions == atoms.positions).all()
    assert (back.cell.array == atoms.cell.array).all()
    assert back.info == atoms.info
    assert structure_key(back) == structure_key(atoms)


@with_files
@given(structures(), st.data())
def test_labels_round_trip(tmp_path, atoms, data):
    forces = data.draw(committee_forces(max_models=1, max_atoms=1))[0, 0] * np.ones((len(atoms), 3))
    cache, key = LabelCache(tmp_path, {"a": 1}), structure_key(atoms)
    cache.put(key, attach_label(atoms, forces=forces, energy=-1.5))
    back = cache.get(key)
    assert back.get_potential_energy() == -1.5
    assert structure_key(back) == key
    cache.path(key).unlink()


@with_files
@given(st.lists(structures(), min_size=1, max_size=5))
def test_an_index_gives_back_what_it_was_given(tmp_path, many):
    crystals = [Crystal(f"c{k}", atoms, group=f"g{k}") for k, atoms in enumerate(many)]
    path = tmp_path / "pool.sqlite"
    path.unlink(missing_ok=True)
    index = CrystalIndex.build(iter(crystals), path)
    assert index.ids == [crystal.id for crystal in crystals]
    for crystal in crystals:
        back = index.crystal(crystal.id)
        assert (back.group, structure_key(back.atoms)) == (crystal.group, structure_key(crystal.atoms))
        assert index.elements(crystal.id) == set(crystal.atoms.get_chemical_symbols())
    assert CrystalIndex.open(path).checksum == CrystalIndex.build(crystals).checksum


CLAIMS = {
    '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:99999999999\nAl 0 0 0\n': "10000 columns",
    "+1\nProperties=species:S:1:pos:R:99999999999\nAl 0 0 0\n": "10000 columns",
    "1\rProperties=species:S:1:pos:R:99999999999\rAl 0 0 0\r": "10000 columns",
    "999999999999999\n\nAl 0 0 0\n": "frame 0: 999999999999999 atoms are promised, 1 are there",
}


@pytest.mark.parametrize("text", CLAIMS)
@pytest.mark.parametrize("name", ["pool.extxyz", "pool.XYZ", "pool.extxyz.gz"])
def test_absurd_counts_are_refused_before_room_is_made(tmp_path, text, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with pytest.raises(ConfigError, match=CLAIMS[text]):
        list(read_crystals(path))


def test_damaged_compressed_crystals_are_refused_with_their_path(tmp_path):
    path = tmp_path / "pool.extxyz.gz"
    path.write_bytes(gzip.compress(b"1\n\nAl 0 0 0\n" * 100)[:-20])
    with pytest.raises(ConfigError, match=r"pool\.extxyz\.gz"):
        list(read_crystals(path))


@pytest.mark.parametrize("column", ["id", "crystal_group"])
def test_text_of_an_index_that_is_no_text_is_damage(tmp_path, column):
    path = tmp_path / "pool.sqlite"
    CrystalIndex.build([Crystal("Al", bulk("Al"), group="fcc")], path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"update crystals set {column} = cast(x'41c8' as text)")
        database.commit()
    with pytest.raises(StructureError, match="damaged"):
        CrystalIndex.open(path).crystal("Al")


@with_files
@given(scored_pools(), st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=4))
def test_records_round_trip(tmp_path, pool, keys):
    records = [
        SelectionRecord(3, tuple(pool), n_recommended=2, histogram=(1, 2), unscorable={"a": "b"}),
        LabelsRecord(tuple(keys), failed=tuple(keys[:1]), seconds=1.25),
        Comparison(0, 4),
    ]
    for record in records:
        write_record(tmp_path / "record.json", record)
        assert read_record(tmp_path / "record.json", type(record)) == record
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path / "record.json", replace(records[1], seconds=float("nan")))


@few
@given(
    st.lists(committee_forces(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=3),
)
def test_messages_of_workers_round_trip(arrays, header):
    header = {f"_{key}": value for key, value in header.items()}
    stream = io.BytesIO()
    write_message(stream, header, {f"a/{k}": array for k, array in enumerate(arrays)})
    write_message(stream, {"second": 1}, {"n": np.arange(3, dtype=">i4")})
    stream.seek(0)
    found, back = read_message(stream.readline, stream.read)
    assert found == header
    assert all((back[f"a/{k}"] == array).all() for k, array in enumerate(arrays))
    assert (read_message(stream.readline, stream.read)[1]["n"] == np.arange(3)).all()
    assert read_message(stream.readline, stream.read) is None


@few
@given(loop_configs())
def test_configurations_round_trip(config):
    again = config_from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert config_differences(config.to_dict(), again.to_dict()) == {}


@few
@given(
    st.sampled_from(sorted(LoopConfig.__dataclass_fields__)), st.text(max_size=8) | st.none() | st.lists(st.integers())
)
def test_nonsense_in_a_section_is_always_this_packages_error(section, nonsense):
    raw = {"pool": {"source": "x"}, "labels": {"factory": "a:b"}, "training": {"trainer": "a:b"}, section: nonsense}
    with pytest.raises(CommitteeError):
        config_from_dict(raw)


def test_the_template_names_every_section():
    assert all(f"[{name}]" in template() for name in LoopConfig.__dataclass_fields__ if name != "seed")


@few
@given(committee_forces(min_models=2, max_atoms=3))
def test_a_committee_gives_the_mean_and_the_deviation_of_its_members(forces):
    class Given:
        def predict_committee(self, asked):
            return {"forces": [forces for _ in asked], "energies": None}

    committee = CommitteeCalculator([Given()], check_units=False)
    (found,) = committee.evaluate(
        [Atoms("H" * forces.shape[1], positions=np.arange(3 * forces.shape[1]).reshape(-1, 3))]
    )
    assert found.mean_forces == pytest.approx(forces.mean(axis=0), abs=1e-9)
    assert found.force_deviation == pytest.approx(np.sqrt(forces.var(axis=0).sum(axis=1)), abs=1e-9)
