"""The BORN file of a crystal of a run: dielectric tensor and Born charges, in phonopy's format."""

from __future__ import annotations

from pathlib import Path

from screen_cli.crystal.structure import Structure


def find_born(folder: str, structure: Structure) -> str | None:
    """Read the BORN file of a crystal.

    Parameters
    ----------
    folder : str
        With files ``<provider_id>.BORN`` or ``<formula>.BORN``; empty: there is none.
    structure : Structure

    Returns
    -------
    str or None
        Its text.
    """
    if not folder:
        return None
    for name in (structure.provider_id, structure.formula):
        path = Path(folder) / f"{Path(name).stem}.BORN"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None
