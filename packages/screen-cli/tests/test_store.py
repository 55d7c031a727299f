"""Records are whole or absent, and hold nothing but finite numbers."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from screen_cli.errors import PhysicsError, StoreError
from screen_cli.store.record import Record
from screen_cli.store.records import RecordStore

ID = "ab12cd34ef56"


def sample():
    arrays = {"fc2": np.arange(24.0).reshape(2, 3, 4), "p2s_map": np.array([0, 4])}
    return Record({"stable": True, "kappa": 1.5, "tensor": [[1.0, 2.0]]}, arrays, {"yaml": "a: 1\n"})


def test_round_trip(tmp_path):
    store = RecordStore(tmp_path)
    store.write(ID, "harmonic", "k1", sample(), seconds=1.0)
    back = store.read(ID, "harmonic", "k1")
    assert back.data == sample().data
    assert back.documents == sample().documents
    for name, array in sample().arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    assert store.read(ID, "harmonic", "k2") is None


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=4, max_side=5), elements=st.floats(-1e300, 1e300)),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        max_size=4,
    ),
)
def test_any_record_survives_bit_for_bit(tmp_path_factory, array, data):
    store = RecordStore(tmp_path_factory.mktemp("run"))
    store.write(ID, "stage", "k", Record(data, {"array": array}), seconds=0.0)
    back = store.read(ID, "stage", "k")
    assert back.data == data
    assert back.arrays["array"].tobytes() == array.tobytes()


@pytest.mark.parametrize("suffix", ["json", "hdf5", "yaml"])
@pytest.mark.parametrize("damage", ["truncate", "remove", "flip"])
def test_a_damaged_part_makes_the_record_absent(tmp_path, suffix, damage):
    store = RecordStore(tmp_path)
    store.write(ID, "harmonic", "k1", sample(), seconds=1.0)
    path = store.path(ID, "harmonic", "k1", suffix)
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "remove":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    assert store.read(ID, "harmonic", "k1") is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_never_written(tmp_path, bad):
    store = RecordStore(tmp_path)
    with pytest.raises(PhysicsError, match="not finite"):
        store.write(ID, "s", "k", Record({}, {"x": np.array([1.0, bad])}), seconds=0.0)
    with pytest.raises(PhysicsError, match=r"s\.deep\.kappa"):
        store.write(ID, "s", "k", Record({"deep": {"kappa": bad}}), seconds=0.0)
    assert not (tmp_path / "records").exists()


def test_dropped_arrays_cannot_be_read_back_but_count_as_done(tmp_path):
    store = RecordStore(tmp_path)
    store.write(ID, "force_constants", "k", sample(), seconds=0.0, drop_arrays=True)
    assert store.read(ID, "force_constants", "k") is None
    assert store.find(ID, "force_constants", "k").data["kappa"] == 1.5


def test_unwritable_directory_is_told(tmp_path):
    (tmp_path / "records").write_text("a file where a folder should be")
    with pytest.raises((StoreError, OSError)):
        RecordStore(tmp_path).write(ID, "s", "k", sample(), seconds=0.0)


def test_file_size_limit_leaves_no_trace(tmp_path):
    """RLIMIT_FSIZE in a child: the write fails with a sentence and the record does not exist."""
    code = (
        "import resource, sys, numpy as np\n"
        "from screen_cli.store.records import RecordStore\n"
        "from screen_cli.store.record import Record\n"
        "from screen_cli.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "store = RecordStore(sys.argv[1])\n"
        "store.write('ab12', 's', 'small', Record({}, {'x': np.zeros(10)}), seconds=0.0)\n"
        "try:\n"
        "    store.write('ab12', 's', 'big', Record({}, {'x': np.random.rand(200_000)}), seconds=0.0)\n"
        "except StoreError as error:\n"
        "    print('StoreError', error)\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("StoreError"), done.stderr
    store = RecordStore(tmp_path)
    assert store.find("ab12", "s", "small") is not None
    assert store.find("ab12", "s", "big") is None
    leftovers = [name for name in os.listdir(store.folder("ab12")) if name.startswith(".tmp")]
    assert leftovers == []


def test_equal_physics_gives_equal_data(tmp_path):
    store = RecordStore(tmp_path)
    for key, seconds in (("k1", 1.0), ("k2", 2.0)):
        store.write(ID, "s", key, sample(), seconds=seconds)
    first, second = (store.path(ID, "s", key, "hdf5").read_bytes() for key in ("k1", "k2"))
    assert first == second
    headers = [json.loads(store.path(ID, "s", key).read_text()) for key in ("k1", "k2")]
    assert headers[0]["data"] == headers[1]["data"]
    assert headers[0]["parts"] == headers[1]["parts"]


def test_quarantine(tmp_path):
    store = RecordStore(tmp_path)
    store.quarantine(ID, {"id": ID, "stage": "relax", "reason": "exploded"})
    assert [report["reason"] for report in store.quarantined()] == ["exploded"]
    store.release(ID)
    assert list(store.quarantined()) == []
