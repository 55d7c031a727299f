"""Kinds of crystal: one key however a crystal is written, symfc's numbers, and a cache that heals itself."""

from __future__ import annotations

import errno
import functools
import io
import json
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import guess_primitive_matrix

from screen_cli.cli import main
from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.errors import UnderdeterminedFitError
from screen_cli.kinds.cache import KindCache, shared_cache
from screen_cli.kinds.fit import kind_fit
from screen_cli.kinds.identity import canonical_action
from screen_cli.kinds.patterns import pattern

DISTANCE = 0.03
SMALL = {"zincblende": 1, "half-heusler": 1, "cscl": 2}  # with fc3, and symfc in a tenth of a second
SITES = {
    "rocksalt": (225, [(0, 0, 0), (0.5, 0.5, 0.5)]),
    "zincblende": (216, [(0, 0, 0), (0.25, 0.25, 0.25)]),
    "half-heusler": (216, [(0, 0, 0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)]),
    "cscl": (221, [(0, 0, 0), (0.5, 0.5, 0.5)]),
    "perovskite": (221, [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]),
}


def phono3py_of(name, symbols, length, *, shift=(0, 0, 0), shuffle=None, dim=1):
    group, sites = SITES[name]
    atoms = crystal(symbols, sites, spacegroup=group, cellpar=[length] * 3 + [90] * 3)
    atoms.set_scaled_positions(atoms.get_scaled_positions() + np.asarray(shift))
    atoms.wrap()
    if shuffle is not None:
        atoms = atoms[np.random.default_rng(shuffle).permutation(len(atoms))]
    cell = PhonopyAtoms(symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    matrix = guess_primitive_matrix(cell)
    return Phono3py(cell, supercell_matrix=np.eye(3, dtype=int) * dim, primitive_matrix=matrix, log_level=0)


def action_of(phono3py):
    supercell = phono3py.supercell
    return canonical_action(supercell.scaled_positions, supercell.numbers, *symmetry_action(supercell))


@functools.cache
def plain_crystal(name, symbols, dim=1):
    """A crystal as it stands in the tables; made once."""
    return phono3py_of(name, list(symbols), 5.0, dim=dim)


@functools.cache
def plain_action(name, symbols):
    return action_of(plain_crystal(name, symbols))


def displace(phono3py, n_pairs, seed=0):
    action = action_of(phono3py)
    vectors = DISTANCE * pattern(action, n_pairs, seed)
    phono3py.dataset = {"displacements": np.stack([vectors, -vectors], axis=1).reshape(-1, *vectors.shape[1:])}
    return np.asarray(phono3py.displacements)


def fit_of(phono3py, cache, orders=(2, 3), **limits):
    return kind_fit(
        phono3py.supercell,
        symmetry_action(phono3py.supercell),
        np.asarray(phono3py.primitive.p2s_map),
        np.asarray(phono3py.displacements),
        orders,
        cache,
        **limits,
    )


def by_symfc(phono3py, forces, orders=(2, 3), cutoff=None):
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    cell = phono3py.supercell
    symfc = Symfc(
        SymfcAtoms(cell=cell.cell, scaled_positions=cell.scaled_positions, numbers=cell.numbers),
        cutoff=None if cutoff is None else {3: cutoff},
        log_level=0,
    )
    symfc.displacements, symfc.forces = np.asarray(phono3py.displacements), forces
    symfc.run(max_order=max(orders), orders=list(orders), is_compact_fc=False)
    return {order: symfc.force_constants[order][phono3py.primitive.p2s_map] for order in orders}


@pytest.fixture
def cache(tmp_path):
    return KindCache(tmp_path / "kinds")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return KindCache(tmp_path_factory.mktemp("kinds"))


written = st.fixed_dictionaries(
    {
        "length": st.floats(3.5, 8.0),
        "shift": st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
        "shuffle": st.none() | st.integers(0, 1000),
    }
)


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from(sorted(SITES)), how=written, elements=st.permutations(["Na", "Cl", "K", "Mg"]))
def test_one_kind_however_it_is_written(name, how, elements):
    n = len(SITES[name][1])
    other = phono3py_of(name, list(elements)[:n], **how)
    assert action_of(other).key == plain_action(name, ("Li", "F", "O")[:n]).key


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from(["rocksalt", "zincblende", "cscl"]), how=written)
def test_one_crystal_gets_the_same_directions_however_it_is_written(name, how):
    """Sublattices that the group cannot tell apart are told apart by their elements."""
    made = phono3py_of(name, ["Na", "Cl"], **how)
    drawn = []
    for action, numbers in (
        (plain_action(name, ("Na", "Cl")), plain_crystal(name, ("Na", "Cl")).supercell.numbers),
        (action_of(made), made.supercell.numbers),
    ):
        drawn.append((numbers[action.order], pattern(action, 1, 0)[:, action.order]))
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])


def test_other_symmetry_is_another_kind():
    keys = set()
    for name in SITES:
        for dim in (1, 2):
            made = phono3py_of(name, ["Li", "F", "O"][: len(SITES[name][1])], 5.0, dim=dim)
            keys.add(action_of(made).key)
    assert len(keys) == 2 * len(SITES)


def test_a_slightly_broken_symmetry_is_another_kind():
    whole = phono3py_of("rocksalt", ["Na", "Cl"], 5.6)
    broken = phono3py_of("rocksalt", ["Na", "Cl"], 5.6)
    positions = broken.unitcell.scaled_positions.copy()
    positions[0] += 0.004
    cell = PhonopyAtoms(symbols=broken.unitcell.symbols, cell=broken.unitcell.cell, scaled_positions=positions)
    broken = Phono3py(cell, supercell_matrix=np.eye(3, dtype=int), log_level=0)
    a, b = (action_of(p).key for p in (whole, broken))
    assert a != b


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(sorted(SMALL)), how=written, seed=st.integers(0, 99))
def test_the_numbers_are_those_of_symfc(name, how, seed, shared):
    n = len(SITES[name][1])
    first = plain_crystal(name, ("Li", "F", "O")[:n], SMALL[name])  # the kind comes from another crystal
    if first.dataset is None:
        displace(first, 12)
    fit_of(first, shared)
    phono3py = phono3py_of(name, ["Mg", "S", "Se"][:n], dim=SMALL[name], **how)
    displacements = displace(phono3py, 12)
    forces = np.random.default_rng(seed).normal(size=displacements.shape)
    found, expected = fit_of(phono3py, shared).solve(forces), by_symfc(phono3py, forces)
    for order in (2, 3):
        scale = np.abs(expected[order]).max()
        np.testing.assert_allclose(found[order], expected[order], atol=1e-9 * scale, rtol=0)


@pytest.mark.parametrize("length", [3.1, 5.0])
def test_a_kind_that_would_be_too_large_gets_the_longest_cutoff_with_which_it_is_not(cache, length):
    phono3py = phono3py_of("cscl", ["Cs", "Cl"], length, dim=2)
    displacements = displace(phono3py, 8)
    forces = np.random.default_rng(2).normal(size=displacements.shape)
    whole = fit_of(phono3py, cache)
    assert whole.cutoff is None
    n_bytes = 8 * displacements.size // 2 * whole.orders[3].n_parameters
    fit = fit_of(phono3py, cache, max_bytes=n_bytes - 1)
    assert np.sqrt(3) / 2 < fit.cutoff / length < np.sqrt(3)
    assert fit.orders[3].n_parameters < 0.6 * whole.orders[3].n_parameters
    found, expected = fit.solve(forces), by_symfc(phono3py, forces, cutoff=fit.cutoff)
    for order in (2, 3):
        np.testing.assert_allclose(found[order], expected[order], atol=1e-9 * np.abs(expected[order]).max(), rtol=0)
    assert len(list(cache.entries())) == 2
    assert fit_of(phono3py, cache, max_bytes=100) is None


def test_left_out_residuals_are_those_of_fits_without_the_pair(cache):
    phono3py = phono3py_of("zincblende", ["Zn", "S"], 5.4)
    displacements = displace(phono3py, 6)
    forces = np.random.default_rng(1).normal(size=displacements.shape)
    fit = fit_of(phono3py, cache)
    full = predicted(phono3py, fit.solve(forces), displacements)
    left_out = fit.left_out(forces - full)
    for pair in range(6):
        kept = np.delete(np.arange(12), [2 * pair, 2 * pair + 1])
        phono3py.dataset = {"displacements": displacements[kept]}
        without = by_symfc(phono3py, forces[kept])
        rows = slice(2 * pair, 2 * pair + 2)
        expected = forces[rows] - predicted(phono3py, without, displacements[rows])
        np.testing.assert_allclose(left_out[rows], expected, atol=1e-8)


def predicted(phono3py, constants, displacements):
    """Forces of full force constants: rows of the other atoms by translations."""
    n = len(phono3py.supercell)
    fc2, fc3 = np.zeros((n, n, 3, 3)), np.zeros((n, n, n, 3, 3, 3))
    s2p, translations = phono3py.primitive.s2p_map, phono3py.primitive.atomic_permutations
    rows = {int(atom): row for row, atom in enumerate(phono3py.primitive.p2s_map)}
    for atom in range(n):
        moved = next(p for p in translations if p[atom] == s2p[atom])
        fc2[atom] = constants[2][rows[int(s2p[atom])]][moved]
        fc3[atom] = constants[3][rows[int(s2p[atom])]][np.ix_(moved, moved)]
    return -np.einsum("ijab,sjb->sia", fc2, displacements) - 0.5 * np.einsum(
        "ijkabc,sjb,skc->sia", fc3, displacements, displacements
    )


def test_what_is_no_kind_goes_the_general_way(cache):
    phono3py = phono3py_of("zincblende", ["Zn", "S"], 5.4)
    displacements = displace(phono3py, 6)
    for unfit in (displacements[:-1], displacements * np.linspace(1, 2, 12)[:, None, None], displacements[::-1] + 1e-3):
        phono3py.dataset = {"displacements": unfit}
        assert fit_of(phono3py, cache) is None
    assert list(cache.entries()) == []


def test_too_few_displacements_are_refused(cache):
    phono3py = phono3py_of("perovskite", ["Ca", "Ti", "O"], 3.9, dim=2)
    displace(phono3py, 1)
    with pytest.raises(UnderdeterminedFitError, match="1 pairs"):
        fit_of(phono3py, cache)


def test_a_kind_grows_on_the_disk_and_in_memory_where_that_is_full(cache, tmp_path, monkeypatch, caplog):
    phono3py = phono3py_of("zincblende", ["Zn", "S"], 5.4)
    forces = np.random.default_rng(0).normal(size=displace(phono3py, 12)[0::2].shape)
    on_disk = fit_of(phono3py, cache)

    class FullDisk(io.BytesIO):
        def write(self, _content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("screen_cli.kinds.least_squares.tempfile.TemporaryFile", lambda dir: FullDisk())
    in_memory = fit_of(phono3py, KindCache(tmp_path / "other"))
    for order in (2, 3):
        np.testing.assert_array_equal(on_disk.orders[order].solution, in_memory.orders[order].solution)
        fits = [kind.orders[order].fit(forces, 0.03) for kind in (on_disk, in_memory)]
        np.testing.assert_array_equal(*fits)
    assert not list(tmp_path.glob("kinds/tmp*"))


# -- the cache -----------------------------------------------------------------------------------------------


ARRAYS = {"a": np.arange(12.0).reshape(3, 4), "b": np.array([1, 2], dtype=np.int32)}


def counting(calls):
    def make():
        calls.append(1)
        return {"what": "test"}, ARRAYS

    return make


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_what_is_written_and_checked_does_not_stay_in_memory(tmp_path):
    large = np.memmap(tmp_path / "large", dtype=np.float64, mode="w+", shape=(100, 250_000))  # 200 MB
    large[:] = 1.0
    large.flush()
    del large
    mapped = np.memmap(tmp_path / "large", dtype=np.float64, mode="r", shape=(100, 250_000))
    KindCache(tmp_path / "kinds").get_or_make("key", lambda: ({}, {"a": mapped}))
    again = KindCache(tmp_path / "kinds").get_or_make("key", lambda: pytest.fail("made twice"))
    resident = int(Path("/proc/self/smaps_rollup").read_text().split("Rss:")[1].split()[0])
    touched = float(mapped[0, 0]), float(np.sum(again.arrays["a"]))
    then = int(Path("/proc/self/smaps_rollup").read_text().split("Rss:")[1].split()[0])
    assert touched == (1.0, 25_000_000.0)
    assert then - resident > 150_000, "the mapping was not left"


def test_kinds_used_longest_ago_are_mapped_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("screen_cli.kinds.cache._MAPPED_BYTES", 250)
    cache, calls = KindCache(tmp_path), []
    first = cache.get_or_make("first", counting(calls))
    assert cache.get_or_make("first", counting(calls)) is first
    second = cache.get_or_make("second", counting(calls))
    assert cache.get_or_make("first", counting(calls)) is first
    cache.get_or_make("third", counting(calls))  # 104 bytes each
    assert cache.get_or_make("first", counting(calls)) is first
    assert cache.get_or_make("second", counting(calls)) is not second
    assert len(calls) == 3, "it was made again instead of read"


def test_an_entry_is_made_once_and_mapped(tmp_path):
    calls = []
    for _ in range(3):
        entry = KindCache(tmp_path).get_or_make("key", counting(calls))
        assert isinstance(entry.arrays["a"], np.memmap)
        np.testing.assert_array_equal(entry.arrays["a"], ARRAYS["a"])
    assert len(calls) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "a.npy").unlink(),
        lambda entry: flip(entry / "a.npy"),
        lambda entry: (entry / "a.npy").write_bytes((entry / "a.npy").read_bytes()[:-8]),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text("[]"),
        lambda entry: edit(entry / "entry.json", format=0),
        lambda entry: edit(entry / "entry.json", key="other"),
        lambda entry: edit(entry / "entry.json", files={"../../a": {"n_bytes": 1, "checksum": ""}}),
        lambda entry: np.save(entry / "a.npy", np.array([{"code": 1}]), allow_pickle=True),
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    calls = []
    KindCache(tmp_path).get_or_make("key", counting(calls))
    damage(tmp_path / "key")
    entry = KindCache(tmp_path).get_or_make("key", counting(calls))
    np.testing.assert_array_equal(entry.arrays["a"], ARRAYS["a"])
    assert len(calls) == 2


def test_what_was_hashed_is_not_hashed_again_unless_it_changed(tmp_path, monkeypatch):
    from screen_cli.kinds import cache as module

    calls, hashed = [], []
    checksum = module._checksum
    monkeypatch.setattr(module, "_checksum", lambda *a: hashed.append(a) or checksum(*a))
    monkeypatch.setattr(module, "_MAPPED_BYTES", 0)  # nothing stays mapped
    cache = KindCache(tmp_path)
    for name in ("first", "second", "first", "second", "first"):
        cache.get_or_make(name, counting(calls))
    n_hashed = len(hashed)
    cache.get_or_make("second", counting(calls))
    assert len(hashed) == n_hashed == 4 * len(ARRAYS)  # written and read, of two
    flip(tmp_path / "first" / "a.npy")
    entry = cache.get_or_make("first", counting(calls))
    np.testing.assert_array_equal(entry.arrays["a"], ARRAYS["a"])
    assert len(calls) == 3


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_threads_that_meet_a_kind_make_it_once(tmp_path):
    calls, barrier = [], threading.Barrier(4)

    def visit():
        barrier.wait()
        KindCache(tmp_path).get_or_make("key", counting(calls))

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def make_and_die(folder):
    import os

    def make():
        os._exit(9)

    KindCache(folder).get_or_make("key", make)


def test_a_maker_that_is_killed_leaves_room_for_the_next(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=make_and_die, args=(tmp_path,))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    calls = []
    KindCache(tmp_path).get_or_make("key", counting(calls))
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache, calls = KindCache(tmp_path / "file" / "kinds"), []
    for key in ("one", "two"):
        np.testing.assert_array_equal(cache.get_or_make(key, counting(calls)).arrays["b"], ARRAYS["b"])
    assert caplog.text.count("cannot be used") == 1


def test_the_oldest_entries_go_when_there_is_no_room(tmp_path):
    cache = KindCache(tmp_path, max_bytes=250)
    for key in ("first", "second", "third"):
        cache.get_or_make(key, counting([]))
    assert [entry.key for entry in cache.entries()] == ["second", "third"]
    assert cache.clear() == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_warms_and_clears(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCREEN_KINDS", str(tmp_path))
    shared_cache.cache_clear()
    try:
        assert main(["kinds", "warm", "diamond"]) == 0
        assert main(["kinds", "--json"]) == 0
        (entry,) = json.loads(capsys.readouterr().out.partition("\n")[2])
        assert entry["about"]["n_atoms"] == 64
        assert entry["about"]["n_parameters"] == {"2": 25, "3": 777}
        assert main(["kinds"]) == 0
        assert "777 of fc3" in capsys.readouterr().out
        assert main(["kinds", "clear", "none"]) == 0
        assert main(["kinds", "clear", entry["about"]["kind"]]) == 0
        assert capsys.readouterr().out == "0 kinds deleted\n1 kinds deleted\n"
        assert main(["kinds", "warm", "diamnod"]) != 0
        assert "diamond" in capsys.readouterr().err
    finally:
        shared_cache.cache_clear()
