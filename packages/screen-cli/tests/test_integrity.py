"""What is on disk is what was written, or is found out; nobody changes a run under its driver; nothing leaves it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import stat
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from screen_cli.cli import main
from screen_cli.config import settings_from_dict
from screen_cli.crystal.structure import Structure
from screen_cli.errors import NoRunError, RunLockedError, StoreError, StructureError
from screen_cli.run.merge import merge_runs
from screen_cli.run.rebuild import audit, open_index, rebuild_index
from screen_cli.stages.phonon_objects import _read_yaml
from screen_cli.store.atomic_write import LITTER, litter_in, write_bytes
from screen_cli.store.index import DamagedIndexError, Index
from screen_cli.store.reading.hdf5 import arrays_of_hdf5, hdf5_of_arrays
from screen_cli.store.record import Record
from screen_cli.store.records import RecordStore
from screen_cli.store.run_directory import RunDirectory
from screen_cli.store.sealed import seal, unseal
from screen_cli.store.verify import verify

# examples that write files are shown as drawn: to shrink one takes minutes
SLOW = settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PLAIN = {"calculator": {"name": "emt"}, "conductivity": {"solver": "standard"}}
IDS = st.from_regex(r"[0-9a-f]{12}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def make_run(root, **tables):
    """A run directory with settings of its own."""
    return RunDirectory.create(root, settings_from_dict({**PLAIN, **tables}))


def record():
    return Record({"kappa": 1.5, "stable": True}, {"fc2": np.arange(12.0)}, {"yaml": "a: 1\n"})


def structure(identity):
    return {
        "id": identity, "formula": "Al", "space_group": 225, "provider": "files", "provider_id": "Al.cif",
        "numbers": [13], "cell": np.eye(3).tolist(), "positions": [[0, 0, 0]], "metadata": {},
    }  # fmt: skip


def fill(run, identity, stage="relax"):
    """A finished crystal with one record, in store and index."""
    run.store.write_structure(identity, structure(identity))
    stored = run.store.write(identity, stage, "k1", record(), seconds=1.0)
    with contextlib.closing(run.index()) as index:
        index.add_structures([{"id": identity, "formula": "Al"}])
        index.update(identity, "done", keys={stage: "k1"}, stage_times={stage: (1.0, stored.n_bytes)})


# -- checksums -------------------------------------------------------------------------------------


@given(st.dictionaries(st.text().filter(lambda key: key != "checksum"), JSON, max_size=5), st.data())
def test_sealed_json_comes_back_and_tells_every_change(content, data):
    text = seal(content)
    assert unseal(text) == content
    json.loads(text)
    raw = bytearray(text.encode())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = unseal(bytes(raw))
    except ValueError:
        return
    assert changed == content  # e.g. another way to write the same character


@SLOW
@given(st.data())
def test_any_flipped_bit_of_a_record_is_found_on_read_and_by_verify(tmp_path_factory, data):
    run = make_run(tmp_path_factory.mktemp("run"))
    fill(run, "ab12cd34ef56")
    suffix = data.draw(st.sampled_from(["json", "hdf5", "yaml"]))
    path = run.store.path("ab12cd34ef56", "relax", "k1", suffix)
    raw = bytearray(path.read_bytes())
    where = data.draw(st.floats(0, 1, exclude_max=True))  # the size differs with the clock
    raw[int(where * len(raw))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(raw))
    back = run.store.read("ab12cd34ef56", "relax", "k1")
    assert back is None or (suffix == "json" and back.data == record().data)
    assert (back is None) == bool(verify(run).damaged)


def test_verify_names_what_is_damaged_and_run_deep_finds_it(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    for number in range(3):
        fill(run, f"{number}b12cd34ef56")
    assert main(["verify", str(run.root)]) == 0
    assert "3 crystals, 3 records read; 0 damaged" in capsys.readouterr().out
    part = run.store.path("1b12cd34ef56", "relax", "k1", "hdf5")
    part.write_bytes(part.read_bytes()[:-1] + b"x")  # the size stays
    described = run.store.folder("2b12cd34ef56") / "structure.json"
    described.write_text(described.read_text().replace("Al.cif", "Au.cif"))
    assert main(["verify", str(run.root)]) == 1
    said = capsys.readouterr().out
    assert f"{part} is damaged" in said
    assert f"{described} is missing or damaged" in said
    assert main(["verify", str(run.root), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (len(found["damaged"]), found["litter"], found["n_structures"]) == (2, [], 3)
    with contextlib.closing(run.index()) as index:
        assert list(audit(run, index)) == []
        assert list(audit(run, index, deep=True)) == ["1b12cd34ef56"]
    assert run.store.find("1b12cd34ef56", "relax", "k1") is None


# -- the index is a cache --------------------------------------------------------------------------


def test_a_damaged_page_is_told_and_made_anew(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    for number in range(40):
        fill(run, f"{number:012x}")
    with contextlib.closing(run.index()) as index:
        index.set_meta("source_read", True)
    path = run.root / "index.sqlite"
    raw = bytearray(path.read_bytes())
    raw[4096 : len(raw)] = os.urandom(len(raw) - 4096)  # the first page, the schema, stays
    path.write_bytes(bytes(raw))
    assert main(["status", str(run.root)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "screen-cli rebuild" in said
    with contextlib.closing(open_index(run)) as index:
        assert index.damage() == ""
        assert index.counts() == {"pending": 40}  # a relax record alone is not the end of a crystal


@SLOW
@given(st.lists(IDS, unique=True, max_size=6), st.randoms())
def test_the_index_is_rebuilt_as_it_was(tmp_path_factory, ids, random):
    run = make_run(tmp_path_factory.mktemp("run"))
    for identity in ids:
        run.store.write_structure(identity, structure(identity))
    for identity in random.sample(ids, len(ids) // 2):
        run.store.quarantine(identity, {"id": identity, "stage": "relax", "reason": "exploded", "traceback": ""})
    first = rebuild_index(run)
    rows = run.rows()
    assert sum(first.values()) == len(ids)
    assert first.get("failed", 0) == len(ids) // 2
    run.remove_index()
    assert rebuild_index(run) == first
    assert run.rows() == rows


@SLOW
@given(
    st.dictionaries(
        st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="ascii")),
        max_size=6,
    )
)
def test_any_result_fits_into_the_index_and_none_overwrites_the_books(tmp_path_factory, scalars):
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    folded = {name.lower() for name in scalars}
    if len(folded) < len(scalars) or any("\0" in name for name in scalars):
        return
    with contextlib.closing(Index(path)) as index:
        index.add_structures([{"id": "a"}])
        index.update("a", "done", scalars={**scalars, "state": "mine", "keys": "none"})
        (row,) = index.rows()
    assert (row["id"], row["state"], row["state_"]) == ("a", "done", "mine")
    for name, value in scalars.items():
        if name.lower() not in ("id", "state", "stage", "reason", "seconds", "keys", "state_", "keys_"):
            stored = next(row[column] for column in row if column.lower() == name.lower())
            assert stored == value or (isinstance(value, int) and stored == float(value))


def test_a_broken_query_is_a_sentence(tmp_path):
    path = tmp_path / "index.sqlite"
    with contextlib.closing(Index(path)) as index:
        index._db.execute("DROP TABLE stage_times")
        with pytest.raises(DamagedIndexError, match="screen-cli rebuild"):
            index.stage_costs()


# -- order of actions ------------------------------------------------------------------------------


def test_a_refused_driver_changes_nothing(tmp_path):
    run = make_run(tmp_path / "run")
    fill(run, "ab12cd34ef56")
    before = {path.name: path.read_bytes() for path in run.root.glob("*") if path.is_file()}
    other = settings_from_dict({**PLAIN, "relax": {"fmax": 0.5}})
    with run.locked():
        held = {**before, "driver.json": (run.root / "driver.json").read_bytes()}
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"):
            RunDirectory.create(run.root, other, accept_changes=True)
        after = {path.name: path.read_bytes() for path in run.root.glob("*") if path.is_file()}
        assert after.items() >= held.items()
        assert not list(run.root.glob("manifest-*.json"))
    changed = RunDirectory.create(run.root, other, accept_changes=True)
    assert len(list(changed.root.glob("manifest-*.json"))) == 1
    assert not (changed.root / "index.sqlite").exists()


# -- files -----------------------------------------------------------------------------------------


@SLOW
@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_file_is_the_old_one_or_the_new_one(tmp_path_factory, old, new):
    """Whatever call of the system fails in the middle, the file holds one content whole and no litter stays."""
    path = tmp_path_factory.mktemp("files") / "file.json"
    write_bytes(path, old)
    for name in ("open", "fdopen", "fsync", "replace"):
        real = getattr(os, name)

        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        setattr(os, name, fail)
        try:
            with pytest.raises(StoreError, match="nothing finished is lost"):
                write_bytes(path, new)
        finally:
            setattr(os, name, real)
        assert path.read_bytes() == old
        assert [item.name for item in path.parent.iterdir()] == ["file.json"]
    write_bytes(path, new)
    assert path.read_bytes() == new


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_litter_of_the_dead_goes_and_that_of_the_living_stays(tmp_path):
    import platform
    import subprocess
    import sys

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = tmp_path / f"{LITTER}{platform.node()}-{gone.pid}-abc"
    alive = tmp_path / f"{LITTER}{platform.node()}-{os.getpid()}-abc"
    elsewhere = tmp_path / f"{LITTER}other-host-1-abc"
    for path in (dead, alive, elsewhere):
        path.write_text("")
    assert list(litter_in(tmp_path)) == [dead]
    os.utime(elsewhere, (0, 0))
    assert sorted(litter_in(tmp_path)) == sorted([dead, elsewhere])


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "ä ö", "n" * 255, "quote'\"", "new\nline"])
def test_odd_names_of_run_directories_work(tmp_path, name, capsys):
    run = make_run(tmp_path / name)
    fill(run, "ab12cd34ef56")
    assert run.rows()[0]["formula"] == "Al"
    assert main(["status", str(run.root)]) == 0
    assert main(["verify", str(run.root)]) == 0


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(StoreError, match="cannot make the run directory"):
        make_run(tmp_path / ("n" * 256))


# -- strangers' files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../out", "/etc/passwd", "..", "", "a/b", "a\0b", ".hidden", "a b"])
def test_names_cannot_leave_the_run_directory(tmp_path, name):
    store = RecordStore(tmp_path / "run")
    for call in (
        lambda: store.path("ab12", "relax", "k1", name),
        lambda: store.path("ab12", name, "k1"),
        lambda: store.folder(name),
        lambda: store.release(name),
        lambda: store.quarantine(name, {}),
    ):
        with pytest.raises(StoreError, match="is no name"):
            call()


def hdf5_of(fill_file):
    """Bytes of an HDF5 file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill_file(file)
    return buffer.getvalue()


def virtual(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.hdf5", "x", shape=(3,))
    file.create_virtual_dataset("x", layout)


HOSTILE_HDF5 = {
    "a link to another file": (lambda file: file.__setitem__("x", h5py.ExternalLink("secret.hdf5", "x")), "another"),
    "a soft link": (lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "another file"),
    "data in another file": (
        lambda file: file.create_dataset("x", (3,), "f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "another file",
    ),
    "a virtual dataset": (virtual, "another file"),
    "room that is not there": (lambda file: file.create_dataset("x", (10**11,), "f8", chunks=(1000,)), "claims"),
    "a group": (lambda file: file.create_group("x"), "is no array"),
    "a type": (lambda file: file.__setitem__("x", np.dtype("f8")), "is no array"),
}


@pytest.mark.parametrize(
    "changes",
    [{"cell": "x"}, {"numbers": None}, {"positions": [[0, 0]]}, {"provider": []}, {"given": {"rotation": [1, [2]]}},
     {"settings": {"relax": {"fmax": -1}}}, {"metadata": [1]}, {"id": 3}, {"formula": {}}],
)  # fmt: skip
def test_a_forged_crystal_is_left_out_of_the_index_with_a_warning(tmp_path, changes, caplog):
    run = make_run(tmp_path / "run")
    whole = Structure.from_atoms(bulk("Al", a=4.05), provider="files", provider_id="Al.cif").to_dict()
    for identity, more in (("0b12cd34ef56", {}), ("1b12cd34ef56", changes)):
        run.store.write_structure(identity, {**whole, "id": identity, **more})
    assert rebuild_index(run) == {"pending": 1}
    assert "1b12cd34ef56" in caplog.text


@pytest.mark.parametrize("what", HOSTILE_HDF5)
def test_hdf5_of_strangers_opens_no_other_file_and_takes_no_room_that_it_does_not_hold(what):
    fill_file, words = HOSTILE_HDF5[what]
    with pytest.raises(ValueError, match=words):
        arrays_of_hdf5(hdf5_of(fill_file))


def test_an_hdf5_file_that_ends_beyond_all_numbers_is_refused():
    """Found by drawn files: h5py seeks in the bytes, and raises OverflowError."""
    content = bytearray(hdf5_of_arrays({"a": np.arange(5.0)}))
    content[48:56] = b"\xf0" + 6 * b"\xff" + b"\x8f"  # address of the root group
    with pytest.raises(ValueError, match="cannot be read"):
        arrays_of_hdf5(bytes(content))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 2]\nb: [*a, *a]\n",
        "[" * 100_000,
        "- " * 100_000,
        "!!python/object/apply:os.system ['touch pwned']",
        "[]",
        "supercell: {lattice: 1}",
    ],
)
def test_yaml_of_a_strangers_record_is_data_or_a_sentence(text):
    with pytest.raises(StructureError, match="YAML of this displacement record"):
        _read_yaml(SimpleNamespace(yaml=text))


def test_arrays_that_compress_well_are_read():
    arrays = {"zeros": np.zeros((400, 1000)), "one": np.array(1.5), "none": np.zeros((0, 3)), "words": np.arange(9.0)}
    back = arrays_of_hdf5(hdf5_of_arrays(arrays))
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())


def test_a_manifest_that_was_changed_is_told(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    path = run.root / "manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"emt"', '"lj"'))
    assert main(["status", str(run.root)]) == 2
    said = capsys.readouterr().err
    assert "manifest.json" in said
    assert "its checksum does not fit" in said
    path.write_text(whole)
    assert RunDirectory.open(run.root).settings == run.settings
    for shard in ("x", [1], [0, 2], [1, "2"], {}):
        path.write_text(seal({**unseal(whole), "shard": shard}))
        with pytest.raises(NoRunError, match="no manifest"):
            RunDirectory.open(run.root)


def test_nothing_is_written_through_a_strangers_link(tmp_path):
    """A run directory that somebody made may hold links where a driver writes."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run = make_run(tmp_path / "run")
    (run.root / "running").mkdir()
    (run.root / "running" / f"{platform.node()}-{os.getpid()}.json").symlink_to(precious)
    for name in ("driver.lock", "driver.json"):
        (run.root / name).unlink(missing_ok=True)
        (run.root / name).symlink_to(precious)
    run.mark_running("ab12cd34ef56", "relax")
    with contextlib.suppress(StoreError), run.locked():
        pass
    assert precious.read_text() == "precious"


def test_a_merge_takes_nothing_from_outside(tmp_path):
    """Parts that a hostile record names, links, and HDF5 files that point to others are left out."""
    secret = tmp_path / "secret"
    secret.write_text("do not copy")
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["x"] = np.arange(3.0)
    source = make_run(tmp_path / "source")
    ids = [f"{number}b12cd34ef56" for number in range(4)]
    for identity in ids:
        fill(source, identity)
    paths = [source.store.path(identity, "relax", "k1") for identity in ids]
    header = unseal(paths[0].read_bytes())
    header["parts"]["/../../../../secret"] = header["parts"]["yaml"]
    paths[0].write_text(seal(header))
    link = source.store.path(ids[1], "relax", "k1", "yaml")
    link.unlink()
    link.symlink_to(secret)
    report = seal({"id": "../../../evil", "stage": "relax", "reason": "x"})
    (source.root / "failed").mkdir()
    (source.root / "failed" / "evil.json").write_text(report)
    part = source.store.path(ids[2], "relax", "k1", "hdf5")
    with h5py.File(part, "w") as file:
        file["fc2"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "x")
    header = unseal(paths[2].read_bytes())
    import hashlib

    header["parts"]["hdf5"] = {"bytes": part.stat().st_size, "sha256": hashlib.sha256(part.read_bytes()).hexdigest()}
    paths[2].write_text(seal(header))
    assert source.store.read(ids[2], "relax", "k1") is None
    before = sorted(tmp_path.iterdir())
    merged = merge_runs([source.root], tmp_path / "merged")
    assert len(merged.damaged) == 2
    assert merged.n_copied == 2  # the third is whole as a file; whoever reads it is told
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "merged"])
    copied = b"".join(path.read_bytes() for path in Path(tmp_path / "merged").rglob("*") if path.is_file())
    assert b"do not copy" not in copied


@settings(SLOW, max_examples=8)
@given(st.lists(st.tuples(IDS, st.sampled_from(["relax", "forces"])), max_size=6), st.integers(0, 2**6 - 1))
def test_merges_commute_and_repeat_without_effect(tmp_path_factory, records, split):
    folder = tmp_path_factory.mktemp("merge")
    left, right = make_run(folder / "left"), make_run(folder / "right")
    for number, (identity, stage) in enumerate(records):
        run = left if split >> number & 1 else right
        run.store.write_structure(identity, structure(identity))
        run.store.write(identity, stage, "k1", record(), seconds=0.0)

    def merged(name, *sources):
        merge_runs([source.root for source in sources], folder / name)
        store = RecordStore(folder / name)
        return {
            (identity, stage): store.read(identity, stage, key).data
            for identity in store.structure_ids()
            for stage, key in store.records_of(identity)
        }

    one, other = merged("one", left, right), merged("other", right, left)
    assert one == other
    assert one.keys() == set(records)
    assert merge_runs([left.root, right.root], folder / "one").n_copied == 0


# -- death at every step of a write ----------------------------------------------------------------


def die_at(n, action):
    """Run an action in a fork that dies before its n-th call to the file system; whether it got to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0
    calls = iter(range(1, 10_000))

    def deadly(call):
        def wrapped(*arguments, **options):
            if next(calls) == n:
                os._exit(9)
            return call(*arguments, **options)

        return wrapped

    try:
        for name in ("open", "write", "fsync", "replace", "mkdir", "unlink", "rename", "close"):
            setattr(os, name, deadly(getattr(os, name)))
        action()
        os._exit(0)
    finally:
        os._exit(1)


def write_a_record(run):
    run.store.write("ab12cd34ef56", "relax", "k1", record(), seconds=1.0)


def change_the_settings(run):
    RunDirectory.create(run.root, settings_from_dict({**PLAIN, "relax": {"fmax": 0.02}}), accept_changes=True)


def set_a_crystal_apart(run):
    run.store.quarantine("ab12cd34ef56", {"id": "ab12cd34ef56", "stage": "relax", "reason": "it broke"})


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="dies in a fork")
@pytest.mark.parametrize("action", [write_a_record, change_the_settings, set_a_crystal_apart])
def test_whoever_dies_at_whatever_step_of_a_write_leaves_the_old_or_the_new(action, tmp_path):
    for n in range(1, 200):
        run = make_run(tmp_path / f"run-{n}")
        run.store.write_structure("ab12cd34ef56", structure("ab12cd34ef56"))
        with contextlib.closing(run.index()) as index:
            index.add_structures([{"id": "ab12cd34ef56", "formula": "Al"}])
        ended = die_at(n, lambda run=run: action(run))
        again = RunDirectory.open(run.root)
        assert again.settings.relax.fmax in (run.settings.relax.fmax, 0.02)
        found = again.store.read("ab12cd34ef56", "relax", "k1")
        assert found is None or (found.data == record().data and np.array_equal(found.arrays["fc2"], np.arange(12.0)))
        assert [report["reason"] for report in again.store.quarantined()] in ([], ["it broke"])
        assert verify(again).damaged == []
        action(again)  # whoever comes next is not held up
        if action is write_a_record:
            assert again.store.read("ab12cd34ef56", "relax", "k1").documents == {"yaml": "a: 1\n"}
        again.tidy()
        again.store.sweep("ab12cd34ef56")
        assert verify(RunDirectory.open(run.root)).litter == []
        if ended:
            assert n > 4
            return
    pytest.fail("it never came to its end")
