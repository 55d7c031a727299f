"""The source ``children``: what the unstable crystals of a run become along their softest modes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from screen_cli.config import ReadSettings
from screen_cli.crystal.metadata import CHILDREN
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.store.row import stage_keys
from screen_cli.store.run_directory import RunDirectory

STAGE = "property_soft_mode"


def iterate_children(run: str = "", settings: ReadSettings | None = None) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the children that the property ``soft_mode`` found in a run.

    Parameters
    ----------
    run : str
        Run directory of the parents.
    settings : ReadSettings, optional

    Raises
    ------
    ConfigError
        No run is given, or none of its crystals has the property.
    """
    if not run or not Path(run).is_dir():
        raise ConfigError(f"source 'children' needs the run directory of the parents, got '{run}'.")
    parents = RunDirectory.open(run)
    with contextlib.closing(parents.index(read_only=True)) as index:
        found = [(row, stage_keys(row).get(STAGE)) for row in index.rows()]
    rows = [(row, str(key)) for row, key in found if key]
    if not rows:
        raise ConfigError(
            f"no crystal of {run} has the property 'soft_mode'. Run it with [properties] names = [\"soft_mode\"]."
        )
    for row, key in rows:
        record = parents.store.read(str(row["id"]), STAGE, key)
        if record is None or "child_numbers" not in record.arrays:
            continue
        cell, positions, numbers = (record.arrays[f"child_{name}"] for name in ("cell", "positions", "numbers"))
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        about = {"parent_id": row["id"], "parent_formula": row["formula"], "parent_space_group": row["space_group"]}
        name = f"{row['formula']}-{str(record.data['soft_mode_qpoint']).replace(' ', ',')}"
        try:
            yield Structure.from_atoms(
                atoms, provider=CHILDREN, provider_id=name, metadata=about, settings=settings or ReadSettings()
            )
        except StructureError as error:
            yield RejectedStructure(provider=CHILDREN, provider_id=name, reason=str(error))
