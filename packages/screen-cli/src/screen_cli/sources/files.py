"""Crystals from files: CIF, POSCAR, extended XYZ, ASE databases, and whatever else ASE reads."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from screen_cli.config import ReadSettings
from screen_cli.crystal.checks import check_units
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError

_SKIPPED_SUFFIXES = {".md", ".toml", ".py", ".json", ".log", ".html", ".yaml", ".gz"}


def iterate_files(
    paths: Sequence[str] | str, settings: ReadSettings | None = None, **options: Any
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the crystals in files.

    Parameters
    ----------
    paths : str or sequence of str
        Files, folders (searched deeply, in sorted order) and glob patterns.
    settings : ReadSettings, optional
        Tolerances.

    Yields
    ------
    Structure or RejectedStructure
        One for each frame; a broken file or frame is rejected with its reason and never stops the iteration.

    Raises
    ------
    ConfigError
        A path that does not exist.
    """
    if options:
        raise ConfigError(f"source 'files' has no option {sorted(options)}. Known: paths.")
    for pattern in [paths] if isinstance(paths, str) else paths:
        for path in _expand(pattern):
            yield from _read(path, settings or ReadSettings())


def _expand(pattern: str) -> list[Path]:
    """Turn a file, folder or pattern into files."""
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
        return [item for item in files if item.suffix.lower() not in _SKIPPED_SUFFIXES]
    if path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise ConfigError(f"source 'files': nothing matches '{pattern}' (looked in {Path.cwd()}).")
    return found


def _read(path: Path, settings: ReadSettings) -> Iterator[Structure | RejectedStructure]:
    """Read every frame of one file."""
    frames: Iterator[tuple[Any, dict[str, Any]]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = iter(list(_frames(path)))
    except Exception as error:  # ASE's readers fail in every possible way
        yield RejectedStructure("files", str(path), f"cannot be read: {type(error).__name__}: {error}")
        return
    number = -1
    for number, (atoms, metadata) in enumerate(frames):
        name = str(path) if number == 0 else f"{path}#{number}"
        if isinstance(atoms, str):
            yield RejectedStructure("files", f"{path}#{number}", atoms)
            continue
        try:
            check_units(atoms)
            yield Structure.from_atoms(atoms, provider="files", provider_id=name, metadata=metadata, settings=settings)
        except StructureError as error:
            yield RejectedStructure("files", f"{path}#{number}", str(error))
    if number < 0:
        yield RejectedStructure("files", str(path), "holds no structure.")


def _frames(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield (atoms or reason, metadata) for each frame."""
    if path.suffix == ".db":
        from ase.db import connect

        with connect(str(path)) as database:
            for row in database.select():
                yield row.toatoms(), {"ase_db_id": row.id, **dict(row.key_value_pairs)}
        return
    from ase.io import iread

    frames = iread(str(path), index=":")
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            return
        metadata = {key: value for key, value in atoms.info.items() if isinstance(value, (str, int, float, bool))}
        yield atoms, metadata
