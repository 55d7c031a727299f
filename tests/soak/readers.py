"""Drawn and damaged files for every reader of screen-cli: ``python tests/soak/readers.py --minutes 10``.

A reader may refuse a file with an error of ours; anything else (a trace, a hang, a gigabyte) is a fault. Structures,
configurations, records, manifests, indices and filters are drawn by hypothesis, whole ones with bytes changed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from screen_cli.config import load_settings
from screen_cli.errors import ScreenError
from screen_cli.sources.files import iterate_files
from screen_cli.store.expression import evaluate, to_sql
from screen_cli.store.record import Record
from screen_cli.store.records import RecordStore
from screen_cli.store.run_directory import RunDirectory

SLOWEST = 30.0
CIF = """data_x
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Al1 0 0 0
"""
POSCAR = "Al\n1.0\n0 2.0 2.0\n2.0 0 2.0\n2.0 2.0 0\nAl\n1\ndirect\n0 0 0\n"
XYZ = '1\nLattice="0 2 2 2 0 2 2 2 0" Properties=species:S:1:pos:R:3 pbc="T T T"\nAl 0 0 0\n'
TOML = '[source]\nname = "files"\noptions = { paths = ["x.cif"] }\n[relax]\nfmax = 1e-3\n[displace]\ndim = [2, 2, 2]\n'
SEEDS = {"a.cif": CIF, "POSCAR": POSCAR, "a.xyz": XYZ}
ID = "ab12cd34ef56"


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Some bytes replaced, cut out, or put in."""
    edit = st.tuples(
        st.floats(0, 1, exclude_max=True), st.integers(0, 8), st.binary(max_size=12) | st.sampled_from(WORDS)
    )

    def apply(edits: list[tuple[float, int, bytes]]) -> bytes:
        changed = content
        for where, n_cut, put in edits:
            position = int(where * len(changed))
            changed = changed[:position] + put + changed[position + n_cut :]
        return changed

    return st.lists(edit, min_size=1, max_size=4).map(apply)


WORDS = [b"nan", b"inf", b"1e999", b"999999999999", b"-1", b"\xff\xfe", b"'", b"\0", b"loop_\n", b"[" * 500, b"0.0"]


def read_structure(name: str, content: bytes, folder: Path) -> None:
    """Read a structure file as the source ``files`` does."""
    path = folder / name
    path.write_bytes(content)
    list(iterate_files([str(path)]))


def read_settings(content: bytes, folder: Path) -> None:
    """Read a configuration."""
    (folder / "c.toml").write_bytes(content)
    load_settings(folder / "c.toml")


def read_record(suffix: str, content: bytes, folder: Path) -> None:
    """Read a record of which one part was changed."""
    store = RecordStore(folder)
    store.write(ID, "relax", "k1", Record({"a": 1.0}, {"x": np.arange(9.0)}, {"yaml": "a: 1\n"}), seconds=0.0)
    store.path(ID, "relax", "k1", suffix).write_bytes(content)
    store.read(ID, "relax", "k1")
    store.find(ID, "relax", "k1")
    store.damage(ID, "relax", "k1")


def read_manifest(content: bytes, folder: Path) -> None:
    """Open a run directory."""
    (folder / "manifest.json").write_bytes(content)
    RunDirectory.open(folder)


def read_filter(text: str) -> None:
    """Translate and evaluate an expression."""
    to_sql(text, ["a", "b"])
    evaluate(text, {"a": 1.0, "b": "x"})


def try_reader(reader: Callable[[], None], found: Counter[str]) -> None:
    """Run a reader; count what was read, refused, or at fault."""
    start = time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader()
        found["read"] += 1
    except ScreenError:
        found["refused"] += 1
    except Exception as error:
        found[f"FAULT {type(error).__name__}: {str(error)[:80]}"] += 1
    if time.monotonic() - start > SLOWEST:
        found["FAULT hung"] += 1


def feed(strategy: st.SearchStrategy[object], reader: Callable[..., None], found: Counter[str], seed_: int) -> None:
    """Draw some inputs for one reader."""

    @seed(seed_)
    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def once(content: object) -> None:
        try_reader(lambda: reader(content), found)

    once()


def fuzz(minutes: float, first_seed: int) -> Counter[str]:
    """Feed every reader in turn until the time is up."""
    found: Counter[str] = Counter()
    chance, deadline = random.Random(first_seed), time.monotonic() + 60 * minutes
    filters = st.text("ab01.()<>=!+-*/ '\"inotrd,[]", max_size=40) | st.text(max_size=20)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = RecordStore(root / "whole")
        store.write(ID, "relax", "k1", Record({"a": 1.0}, {"x": np.arange(9.0)}, {"yaml": "a: 1\n"}), seconds=0.0)
        parts = {suffix: store.path(ID, "relax", "k1", suffix).read_bytes() for suffix in ("json", "hdf5", "yaml")}
        manifest = b'{"format": 2, "settings": {"relax": {"fmax": 0.001}}, "shard": null}'
        readers: list[tuple[st.SearchStrategy[object], Callable[..., None]]] = [
            *((damaged(text.encode()), lambda c, n=n: read_structure(n, c, root)) for n, text in SEEDS.items()),
            (damaged(TOML.encode()), lambda c: read_settings(c, root)),
            *((damaged(content), lambda c, s=s: read_record(s, c, root)) for s, content in parts.items()),
            (damaged(manifest), lambda c: read_manifest(c, root)),
            (filters, read_filter),
        ]
        while time.monotonic() < deadline:
            for strategy, reader in readers:
                feed(strategy, reader, found, chance.getrandbits(32))
                if time.monotonic() > deadline:
                    break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if peak > 1.0:
        found[f"FAULT {peak:.1f} GiB of memory"] += 1
    return found


def main() -> int:
    """Fuzz, print the counts, and return 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = fuzz(arguments.minutes, arguments.seed)
    for what, n in found.most_common():
        print(f"{n:8d} {what}")
    return 1 if any(what.startswith("FAULT") for what in found) else 0


if __name__ == "__main__":
    sys.exit(main())
