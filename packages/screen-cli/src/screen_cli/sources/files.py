"""Crystals from files: CIF, POSCAR, extended XYZ, ASE databases, and whatever else ASE reads."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from screen_cli.config import ReadSettings
from screen_cli.crystal.checks import check_units
from screen_cli.crystal.standard_cell import right_handed, space_group_number
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.sources.readers.formats import read_frames
from screen_cli.sources.readers.frame import Frame, Limits, Refused
from screen_cli.sources.readers.text import plain_name, printable
from screen_cli.sources.readers.time_limit import time_limit
from screen_cli.store.reading.recursion import usual_recursion

logger = logging.getLogger(__name__)

_PASSED_OVER = {
    *(".md", ".toml", ".py", ".json", ".log", ".html", ".yaml", ".yml", ".txt", ".csv", ".h5", ".hdf5", ".npz", ".png"),
    *(".svg", ".pdf", ".born", ".zip", ".tar", ".tgz", ".zst", ".lz4", ".7z", ".z", ".rar", ".lzma", ".sh", ".bak"),
    *(".swp", ".js", ".tmp"),
}
"""Endings that a folder may hold beside its structures; each file passed over is told."""
_TOLD = 10


def iterate_files(
    paths: Sequence[str] | str,
    settings: ReadSettings | None = None,
    all_frames: bool = False,
    **options: object,
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the crystals in files.

    Parameters
    ----------
    paths : str or sequence of str
        Files, folders (searched deeply, in sorted order) and glob patterns.
    settings : ReadSettings, optional
        Tolerances and limits.
    all_frames : bool
        Take every step of a relaxation, not the last one.

    Yields
    ------
    Structure or RejectedStructure
        One for each frame; a broken file or frame is rejected with its reason and never stops the iteration.

    Raises
    ------
    ConfigError
        A path that does not exist, or an option that is not known.
    """
    if options:
        raise ConfigError(f"source 'files' has no option {sorted(options)}. Known: all_frames, paths.")
    if not isinstance(all_frames, bool):
        raise ConfigError(f"source 'files': all_frames is {all_frames!r}, expected true or false.")
    for pattern in [paths] if isinstance(paths, str) else paths:
        if not isinstance(pattern, str) or "\0" in pattern:
            raise ConfigError(f"source 'files': {pattern!r} is no path; paths is a list of strings.")
        for path in _expand(pattern):
            yield from _read(path, settings or ReadSettings(), all_frames)


def _expand(pattern: str) -> list[Path]:
    """Turn a file, folder or pattern into files."""
    path = Path(pattern).expanduser()
    try:
        if path.is_dir():
            return _search(path)
        if path.exists():
            return [path]
    except OSError as error:
        raise ConfigError(f"source 'files': '{printable(pattern)}' cannot be opened: {error.strerror}.") from error
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise ConfigError(f"source 'files': nothing matches '{printable(pattern)}' (looked in {Path.cwd()}).")
    if "**" in pattern:  # its folders are searched by the pattern itself
        return [item for item in found if item.is_file()]
    return [file for item in found for file in (_search(item) if item.is_dir() else [item])]


def _search(folder: Path) -> list[Path]:
    """Structure files of a folder, deeply, in sorted order; what is passed over is told."""
    taken: list[Path] = []
    passed: list[str] = []

    def cannot(error: OSError) -> None:
        passed.append(f"{_within(Path(error.filename), folder)} (cannot be opened: {error.strerror})")

    for place, inner, names in os.walk(folder, onerror=cannot):
        inner.sort()
        links = [item for item in (Path(place, name) for name in inner) if item.is_symlink()]  # may lead in a circle
        passed += [f"{_within(item, folder)} (a link to a folder)" for item in links]
        for item in sorted(Path(place, name) for name in names):
            plain = Path(plain_name(item))
            odd = item.name.startswith(".") or plain.suffix.lower() in _PASSED_OVER or plain.name.endswith("~")
            if odd or not item.is_file():
                passed.append(_within(item, folder))
            else:
                taken.append(item)
    if passed:
        more = f" and {len(passed) - _TOLD} more" if len(passed) > _TOLD else ""
        logger.warning(
            "%s: %d files are passed over, which by their names hold no structure: %s%s. Name one in paths to have it "
            "read.",
            printable(str(folder)),
            len(passed),
            ", ".join(passed[:_TOLD]),
            more,
        )
    return sorted(taken)


def _within(item: Path, folder: Path) -> str:
    """Name of a file in its folder, for a message."""
    return printable(str(item.relative_to(folder)), 80)


def _read(path: Path, settings: ReadSettings, all_frames: bool) -> Iterator[Structure | RejectedStructure]:
    """Read every frame of one file; frames have a number in their name where there are several."""
    name = printable(str(path), 1000)
    items = _numbered(path, name, settings, all_frames)
    first = next(items, None)
    if first is None:
        yield RejectedStructure("files", name, "holds no structure.")
        return
    second = next(items, None)
    if second is None:
        yield replace(first, provider_id=name)
        return
    yield first
    yield second
    yield from items


def _numbered(
    path: Path, name: str, settings: ReadSettings, all_frames: bool
) -> Iterator[Structure | RejectedStructure]:
    """Frames of a file, each with its number; what stops the reader is the last of them."""
    limits = Limits(max_bytes=int(settings.max_megabytes * 2**20), max_atoms=settings.max_atoms_given)
    frames = read_frames(path, limits, all_frames=all_frames)
    for number in itertools.count():
        try:
            with time_limit(settings.seconds_per_file), usual_recursion():
                frame = next(frames, None)
                item = None if frame is None else _structure(frame, f"{name}#{number}", settings)
        except StructureError as error:
            yield RejectedStructure("files", f"{name}#{number}", str(error))
            return
        if item is None:
            return
        for note in item.notes if isinstance(item, Structure) else ():
            logger.warning("%s: %s", name, note)
        yield item


def _structure(frame: Frame | Refused, name: str, settings: ReadSettings) -> Structure | RejectedStructure:
    """Make a crystal of a frame, or say why not."""
    if isinstance(frame, Refused):
        return RejectedStructure("files", name, frame.reason)
    try:
        check_units(frame.atoms)
        structure = Structure.from_atoms(
            frame.atoms, provider="files", provider_id=name, metadata=frame.metadata, settings=settings
        )
        return replace(structure, notes=(*frame.notes, *_rounded(frame, structure.space_group, settings.symprec)))
    except StructureError as error:
        return RejectedStructure("files", name, str(error))


def _rounded(frame: Frame, space_group: int, symprec: float) -> tuple[str, ...]:
    """Note where ten times the tolerance (Å) finds more symmetry: coordinates with few digits in a long cell."""
    try:
        higher = space_group_number(right_handed(frame.atoms), 10 * symprec)
    except StructureError:
        return ()
    if higher == space_group:
        return ()
    return (
        f"the space group is {space_group} within {symprec:g} Å and {higher} within {10 * symprec:g} Å: if the file "
        "rounds its coordinates, raise read.symprec",
    )
