"""Drawn and damaged files for every reader: ``python tests/soak/readers.py --minutes 10``.

With ``--each 10 --ledger FILE`` every reader gets ten minutes of its own; the ledger keeps what was found, and a second
run goes on with the readers that it misses.

A reader may take a file, or refuse it with an error of its package. Anything else is a fault: another exception, more
than thirty seconds, a gigabyte. What is damaged is drawn by hypothesis: bytes replaced, cut out or put in; values of
JSON replaced by hostile ones, with a checksum that fits, as a forger would make it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from seeds import Reader, all_readers

SLOWEST = 30
WORDS = [
    b"nan", b"inf", b"1e999", b"999999999999", b"-1", b"0", b"\xff\xfe", b"'", b'"', b"\0", b"loop_\n", b"[" * 500,
    b"[" * 200_000, b"0.0", b"{" * 2000, b"\n", b"\x1b[31m", b"&a *a", b"!!python/object/apply:os.system ['true']",
    b"=1+1", b"../../x", b"<!ENTITY",
]  # fmt: skip
HOSTILE = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        10**30,
        1e308,
        "",
        "x" * 3000,
        "../../../etc/passwd",
        "\x1b[31m",
        [],
        {},
        [[]],
        [None],
        {"a": {}},
    ]
)


class SlowError(BaseException):
    """A reader took too long; no Exception, so that no reader catches it."""


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


def forged(content: bytes) -> st.SearchStrategy[bytes]:
    """Some values of JSON replaced or taken out, with the checksum that fits."""
    from screen_cli.store.sealed import CHECKSUM, seal

    def apply(edits: list[tuple[int, object, bool]]) -> bytes:
        table = json.loads(content)
        table.pop(CHECKSUM, None)
        for number, value, remove in edits:
            places = list(_places(table))
            if not places:
                break
            owner, key = places[number % len(places)]
            if remove:
                del owner[key]
            else:
                owner[key] = copy.deepcopy(value)  # what was drawn stays as it is
        return seal(table, finite=False).encode()

    return st.lists(st.tuples(st.integers(0, 10**6), HOSTILE, st.booleans()), min_size=1, max_size=3).map(apply)


def _places(value: object) -> Iterator[tuple[object, object]]:
    """Every place in JSON that something else could stand in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def expected_errors() -> tuple[type[Exception], ...]:
    """Base classes of the four packages' errors."""
    from al_committee.errors import CommitteeError
    from phon_wigner.errors import WignerError
    from screen_cli.errors import ScreenError
    from sdnnff_calc.errors import SdnnffError

    return ScreenError, WignerError, CommitteeError, SdnnffError


def try_reader(
    name: str, read: Callable[[], object], expected: tuple[type[Exception], ...], found: Counter[str]
) -> None:
    """Run a reader; count what was read, refused, or at fault."""
    signal.alarm(SLOWEST)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            read()
        found["read"] += 1
    except expected:
        found["refused"] += 1
    except SlowError:
        found[f"FAULT {name}: slower than {SLOWEST} s"] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
        found[f"FAULT {name}: {type(error).__name__}: {str(error)[:80]} ({where})"] += 1
    finally:
        signal.alarm(0)


def feed(reader: Reader, found: Counter[str], seed_: int, n_inputs: int) -> None:
    """Draw some inputs for one reader."""
    expected = expected_errors()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @seed(seed_)
    @settings(
        max_examples=n_inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given((forged if reader.reseal else damaged)(reader.whole))
    def once(content: bytes) -> None:
        try_reader(reader.name, lambda: reader.read(content), expected, found)

    once()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    if grown > 1.0:
        found[f"FAULT {reader.name}: took {grown:.1f} GiB"] += 1


def fuzz(minutes: float, first_seed: int, *, n_inputs: int = 20, only: str = "", exactly: bool = False) -> Counter[str]:
    """Feed every reader in turn until the time is up, each at least once."""
    found: Counter[str] = Counter()
    chance, deadline = random.Random(first_seed), time.monotonic() + 60 * minutes

    def stop(number: int, frame: object) -> None:
        raise SlowError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with tempfile.TemporaryDirectory() as name:
            readers = [
                reader
                for reader in all_readers(Path(name))
                if (only == reader.name if exactly else only in reader.name)
            ]
            for reader in readers:
                try_reader(f"whole {reader.name}", lambda r=reader: whole_is_read(r), (), found)
            while True:
                for reader in readers:
                    feed(reader, found, chance.getrandbits(32), n_inputs)
                if time.monotonic() > deadline:
                    return found
    finally:
        signal.signal(signal.SIGALRM, before)


def fuzz_each(minutes: float, first_seed: int, ledger: Path, *, only: str = "") -> Counter[str]:
    """Feed one reader after another for some minutes, and note each in the ledger when it is done.

    The ledger is a table of JSON: reader -> minutes, inputs, how many were read and refused, faults. Readers that have
    their minutes there are passed over; several processes may share a ledger, each with its own ``only``.
    """
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        names = dict.fromkeys(reader.name for reader in all_readers(Path(name)) if only in reader.name)
    for reader in names:
        with FileLock(f"{ledger}.lock"):
            if _ledger(ledger).get(reader, {}).get("minutes", 0.0) >= minutes:
                continue
        print(f"{reader} ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        of_this = fuzz(minutes, first_seed, n_inputs=100, only=reader, exactly=True)
        row = {
            "minutes": round((time.monotonic() - start) / 60, 1),
            "seed": first_seed,
            "read": of_this["read"],
            "refused": of_this["refused"],
            "faults": {what: n for what, n in of_this.items() if what.startswith("FAULT")},
        }
        with FileLock(f"{ledger}.lock"):
            ledger.write_text(json.dumps(_ledger(ledger) | {reader: row}, indent=1) + "\n")
        found.update(of_this)
    return found


def _ledger(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else {}


def whole_is_read(reader: Reader) -> None:
    """Read a file that nobody damaged: a reader that refuses it would learn nothing from its damages."""
    content = reader.whole
    if reader.reseal:
        from screen_cli.store.sealed import seal

        table = json.loads(content)
        table.pop("checksum", None)
        content = seal(table, finite=False).encode()
    reader.read(content)


def main() -> int:
    """Fuzz, print the counts, and return 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers with this in their name")
    parser.add_argument("--each", type=float, help="minutes for every reader by itself, instead of --minutes for all")
    parser.add_argument("--ledger", type=Path, default=Path("fuzz-readers.json"), help="with --each: what was done")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(100_000)  # as symfc leaves it
    if arguments.each is None:
        found = fuzz(arguments.minutes, arguments.seed, only=arguments.only)
    else:
        found = fuzz_each(arguments.each, arguments.seed, arguments.ledger, only=arguments.only)
    for what, n in found.most_common():
        print(f"{n:8d} {what}")
    return 1 if any(what.startswith("FAULT") for what in found) else 0


if __name__ == "__main__":
    sys.exit(main())
