"""Parsl's interchange, ended with the driver: a killed driver leaves nobody who would hand out crystals.

The nodes notice its absence and end themselves; a second driver then finds a quiet run directory.
"""

from __future__ import annotations

import pickle
import signal
import sys

from screen_cli.engines.processes import end_with_parent


def main() -> None:
    """Read the configuration from stdin and serve, as ``parsl.executors.high_throughput.interchange`` does."""
    from parsl.executors.high_throughput.interchange import Interchange

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which drains
    end_with_parent(int(sys.argv[1]))
    Interchange(**pickle.load(sys.stdin.buffer)).start()


if __name__ == "__main__":
    main()
