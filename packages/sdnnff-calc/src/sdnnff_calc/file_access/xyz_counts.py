"""The counts of atoms and columns of an XYZ file, before ASE reads it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from sdnnff_calc.file_access.xyz_header import check_columns

__all__ = ["check_counts"]

_SO_MANY = 2**40  # lines that no file has


def check_counts(lines: Iterable[str]) -> None:
    """Refuse an XYZ file that promises more atoms than it holds, or more columns than a file has.

    ASE looks for the missing atoms behind the end of the file, as often as there are atoms promised.

    Parameters
    ----------
    lines : iterable of str
        Of the file.

    Raises
    ------
    ValueError
        Naming the frame.
    """
    rest, frame = iter(lines), 0
    for line in rest:
        if not line.strip():
            return  # ASE stops here, too
        if frame and line.lstrip().startswith("VEC"):
            continue  # lattice vectors behind the atoms
        try:
            promised = int(line)
        except ValueError:
            raise ValueError(f"frame {frame}: {line.strip()[:40]!r} is no number of atoms") from None
        try:
            check_columns(next(rest, ""))
        except ValueError as error:
            raise ValueError(f"frame {frame}: {error}") from None
        found = sum(1 for _ in islice(rest, min(max(promised, 0), _SO_MANY)))
        if found != promised:
            raise ValueError(f"frame {frame}: {promised} atoms are promised, {found} are there")
        frame += 1
