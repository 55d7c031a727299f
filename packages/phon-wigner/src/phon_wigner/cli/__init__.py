"""The command line ``phon-wigner``. Data go to stdout, everything else to stderr; options carry phono3py's names."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        0 when done, 1 when a check failed, 2 on wrong input, 70 when phon-wigner itself is at fault, 130 when
        interrupted.
    """
    from phon_wigner.cli.boundary import Session
    from phon_wigner.cli.program import program

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    return Session(sys.argv[1:] if argv is None else argv).run(program)
