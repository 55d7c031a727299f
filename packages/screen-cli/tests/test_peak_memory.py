"""Most memory of a stage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from screen_cli.run.peak_memory import PeakMemory

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts it")


PROGRAM = """
import numpy as np
from screen_cli.run.peak_memory import PeakMemory
held = np.ones(40_000_000)
del held
memory = PeakMemory()
before = memory.megabytes()
held = np.ones(10_000_000)
del held
print(before, memory.megabytes(), PeakMemory().megabytes())
"""


def test_what_was_held_since_the_start_counts_and_no_more():
    """In a process that keeps no freed memory, as one that ran other tests may."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    before, after, later = map(float, said.stdout.split())
    assert 70 < after - before < 120
    assert later < after - 50


def test_processes_that_work_for_this_one_count():
    program = "import sys; held = bytearray(150_000_000); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().strip() == b"ready"
        memory = PeakMemory([child.pid])
        assert memory.megabytes([child.pid]) - memory.megabytes() > 150
        child.stdin.close()
    assert memory.megabytes([child.pid]) < memory.megabytes() + 1  # gone: not counted, no error
