"""The small soak: a few random kills, a few seconds of drawn files (``make soak`` runs for a night)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from screen_cli.engines import guard

sys.path.insert(0, str(Path(__file__).parent / "soak"))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by their environment")
def test_random_kills_of_light_tasks():
    import kills

    count = kills.light(6, seed=1, task_seconds=0.1)
    assert count.faults == 0, count
    assert count.kills


def test_the_judge_sees_every_fault(tmp_path):
    import kills

    ledger = tmp_path / "ledger"
    lines = ["begin a 1 0", "end a 1 0", "end a 2 0", "result a ok 0", "begin b 3 0", "result b crash 0"]
    ledger.write_text("".join(f"{line}\n" for line in lines))
    count = kills.Count(tasks=3)
    kills._judge(ledger, [3], count)
    assert (count.lost, count.repeated, count.wrongly_blamed) == (1, 1, 1)
    assert guard.marked("no such driver") == []


def test_readers_refuse_with_a_sentence():
    import readers

    found = readers.fuzz(0.15, 0)
    assert not [what for what in found if what.startswith("FAULT")], found
    assert found["refused"]
