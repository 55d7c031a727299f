"""Ends what workers started when their driver is gone, even by SIGKILL; run as a script with the standard library only.

``python -I -S guard.py MARK``: waits for the end of its stdin, which only the driver holds open, then kills every
process whose environment carries the mark, and the process groups whose leaders it was told on stdin. Imported, it
gives the same sweep to the driver.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

VARIABLE = "PROCESS_MARK"
"""Environment variable of workers, and so of all they start."""
_SWEEPS = 20


def marked(mark: str) -> list[int]:
    """Process ids whose environment carries a mark that begins like this (Linux; elsewhere none), itself apart."""
    needle = f"{VARIABLE}={mark}".encode()
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if any(entry.startswith(needle) for entry in file.read().split(b"\0")):
                        found.append(int(name))
    return found


def kill_group(leader: int) -> None:
    """Kill a process group, if there still is one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_marked(mark: str) -> None:
    """Kill what carries the mark, again while more appears."""
    for _ in range(_SWEEPS):
        found = marked(mark)
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)


def main() -> None:
    """Wait for the end of the driver, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    leaders: set[int] = set()
    for line in sys.stdin:  # "+123" a worker began, "-123" it was ended and reaped
        leader = int(line[1:])
        leaders = leaders | {leader} if line[0] == "+" else leaders - {leader}
    for leader in leaders:
        kill_group(leader)
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
