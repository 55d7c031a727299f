"""Freed memory stays with the process until it is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from screen_cli.calculators.memory import _gnu_libc

SCRIPT = """
import resource, sys
import psutil
from screen_cli.calculators.memory import keep_freed_memory, release_freed_memory

MB = 2**20

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def take_and_free():
    block = b"x" * (64 * MB)
    del block

if "keep" in sys.argv:
    assert keep_freed_memory()
take_and_free()
before = page_faults()
for _ in range(8):
    take_and_free()
faults = page_faults() - before
kept = psutil.Process().memory_info().rss
release_freed_memory()
print(faults, (kept - psutil.Process().memory_info().rss) // MB)
"""


def faults_and_returned(*arguments: str) -> tuple[int, int]:
    """Page faults of taking 64 MB eight times over, and MB given back at the end."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    faults, returned = done.stdout.split()
    return int(faults), int(returned)


@pytest.mark.skipif(_gnu_libc() is None, reason="only the GNU C library maps large blocks afresh")
def test_large_blocks_are_faulted_in_once_and_given_back():
    plain, _ = faults_and_returned()
    kept, returned = faults_and_returned("keep")
    assert kept < plain / 10
    assert returned >= 60
