"""The small soak: a few random kills, a few seconds of drawn files (``make soak`` runs for a night)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "soak"))


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="processes are found by their environment"
)


def test_random_kills_of_light_tasks():
    import light

    count = light.soak(5, seed=1, task_seconds=0.1)
    assert count.faults == 0, count
    assert count.kills >= 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stages", "loop", "training", "parsl", "keeping"])
def test_random_kills(kind):
    import kills

    if kind == "parsl":
        pytest.importorskip("parsl", reason="needs screen-cli[parsl]")
    count = kills.soak_of(kind)(6, 1)
    assert count.faults == 0, count
    assert count.kills >= 6


def test_the_judge_sees_every_fault(tmp_path):
    import light
    from storm import Count

    ledger = tmp_path / "ledger"
    lines = ["begin a 1", "end a 1", "end a 2", "result a ok", "begin b 3", "result b crash it died"]
    ledger.write_text("".join(f"{line}\n" for line in lines))
    count = Count()
    light.judge(ledger, [3], 3, count)
    assert (count.lost, count.repeated, count.wrongly_blamed, count.faults) == (1, 1, 1, 3)


CLINGER = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


def test_the_storm_sees_drivers_that_stop_hang_or_leave_something_behind(tmp_path, monkeypatch):
    import random

    import storm

    monkeypatch.setattr(storm, "PATIENCE", 0.5)
    monkeypatch.setattr(storm, "ORPHANS_MAY_LIVE", 0.5)
    programs = iter(["raise SystemExit(4)", CLINGER, "pass"])

    def start():
        return storm.program([sys.executable, "-c", next(programs)], tmp_path / "log")

    count = storm.Count()
    scene = storm.Scene(start, progress=lambda: 0, log=tmp_path / "log", pause=(0.1, 0.2))
    storm.rage(scene, count, 0, random.Random(0))
    assert (count.stopped, count.hung, count.orphans) == (1, 1, 1)
    assert len(count.notes) == 3


def test_readers_refuse_with_a_sentence():
    import readers

    found = readers.fuzz(0.0, 0, n_inputs=4)
    assert not [what for what in found if what.startswith("FAULT")], found
    assert found["refused"]
