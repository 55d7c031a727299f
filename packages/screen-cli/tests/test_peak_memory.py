"""Most memory of a stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from screen_cli.run.peak_memory import PeakMemory

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts it")


def test_what_was_held_since_the_start_counts_and_no_more():
    held = np.ones(40_000_000)  # 320 MB, before
    del held
    memory = PeakMemory()
    before = memory.megabytes()
    held = np.ones(10_000_000)
    del held
    after = memory.megabytes()
    assert 70 < after - before < 120
    assert PeakMemory().megabytes() < after - 50


def test_processes_that_work_for_this_one_count():
    program = "import sys; held = bytearray(150_000_000); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().strip() == b"ready"
        memory = PeakMemory([child.pid])
        assert memory.megabytes([child.pid]) - memory.megabytes() > 150
        child.stdin.close()
    assert memory.megabytes([child.pid]) < memory.megabytes() + 1  # gone: not counted, no error
