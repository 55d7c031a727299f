"""``al-committee``: the command line. Data go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from al_committee.cli.objects import HostNames

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, names: HostNames | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; the process's own by default.
    names : HostNames, optional
        What a host (screen-cli) knows by name; without one, configurations name ``module:attr`` alone.

    Returns
    -------
    int
        0 done, 1 stopped by a failure, 2 wrong input, 3 stopped cleanly with work left, 70 a fault of this program,
        130 interrupted.
    """
    from al_committee.cli.program import program
    from al_committee.cli.session import Session

    return Session(sys.argv[1:] if argv is None else argv, names).run(program)
