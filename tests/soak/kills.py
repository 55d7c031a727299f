"""Random kills, and what they cost: ``python tests/soak/kills.py light stages loop --kills 1000``.

Drivers, their workers, and whatever else they started are killed at random times, in every combination; a killed
driver is started again until all is done. Counted are tasks lost, repeated, with another result than undisturbed, or
given up without two kills while they ran; drivers that hang or stop by themselves; and processes that outlive their
driver by a minute. Light tasks run on the engines ``local`` and ``parsl``; the stages of ``screen-cli run``, the loop
of ``al-committee run``, ``sdnnff train``, and the commands that keep a finished run (merge, rebuild, report, export)
are compared with runs that nobody disturbs.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
from storm import Count  # noqa: E402  (threads first)

SHARES = {"light": 0.35, "stages": 0.2, "loop": 0.15, "training": 0.15, "parsl": 0.1, "keeping": 0.05}
"""Kinds of soak, and the share of the kills that each gets when all are asked for."""


def soak_of(kind: str) -> Callable[[int, int], Count]:
    """Find the soak of a kind; heavy libraries are imported only for those that are asked for."""
    module = importlib.import_module("light" if kind == "parsl" else kind)
    soak: Callable[..., Count] = module.soak
    return functools.partial(soak, engine="parsl") if kind == "parsl" else soak


def main() -> int:
    """Run the soaks and print what they found as JSON; 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(SHARES)} (default: all)")
    parser.add_argument("--kills", type=int, default=1000, help="in all (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = arguments.kinds or list(SHARES)
    if unknown := sorted(set(kinds) - set(SHARES)):
        parser.error(f"no soak is called {', '.join(unknown)}; there are {', '.join(SHARES)}")
    total, faults = sum(SHARES[kind] for kind in kinds), 0
    for kind in kinds:
        start = time.monotonic()
        count = soak_of(kind)(max(1, round(arguments.kills * SHARES[kind] / total)), arguments.seed)
        count.seconds = round(time.monotonic() - start, 1)
        faults += count.faults
        print(json.dumps({"soak": kind, "faults": count.faults, **vars(count)}, indent=1), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
