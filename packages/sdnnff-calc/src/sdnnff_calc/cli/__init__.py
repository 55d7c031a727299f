"""The command ``sdnnff``: train, finetune, evaluate, info, embed. Data go to stdout, everything else to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 on a mistake in the input, 70 on a fault of this program, 130 on Ctrl-C."""
    from sdnnff_calc.cli.boundary import Session
    from sdnnff_calc.cli.program import program

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    return Session(sys.argv[1:] if argv is None else argv).run(program)
