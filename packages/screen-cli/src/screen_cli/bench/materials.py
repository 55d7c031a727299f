"""The crystals of a benchmark: their ids, prototypes, supercells and meshes.

Read are extended XYZ files as published with phononDB-PBE (``mp_id``, ``name``, ``fc2_supercell``,
``fc3_supercell``, ``q_mesh`` in each frame's header), folders whose sub-folders name the prototype
(``rocksalt/NaCl.cif``), and whatever else the source ``files`` reads. What a file does not say follows from the
prototype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from screen_cli.config import ReadSettings
from screen_cli.crystal.standard_cell import standardise
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.sources.readers.formats import read_frames
from screen_cli.sources.readers.frame import Frame, Limits, Refused

PROVIDER = "benchmark"
_ID_KEYS = ("mp_id", "material_id", "mat_id", "id")
_SKIPPED = {".md", ".toml", ".py", ".json", ".log", ".html", ".yaml", ".gz", ".hdf5", ".csv"}


@dataclass(frozen=True)
class Prototype:
    """A structure type of the published protocol.

    Parameters
    ----------
    space_group, n_atoms : int
        Space group, and atoms in the conventional cell.
    dim, dim_fc2, mesh : tuple of int
        Supercells of fc3 and fc2 in conventional cells, and q mesh.
    """

    space_group: int
    n_atoms: int
    dim: tuple[int, int, int]
    dim_fc2: tuple[int, int, int]
    mesh: tuple[int, int, int]


PROTOTYPES: dict[str, Prototype] = {
    "rocksalt": Prototype(225, 8, (2, 2, 2), (4, 4, 4), (19, 19, 19)),
    "zincblende": Prototype(216, 8, (2, 2, 2), (4, 4, 4), (19, 19, 19)),
    "wurtzite": Prototype(186, 4, (3, 3, 2), (5, 5, 3), (19, 19, 15)),
}
"""Póta et al., arXiv:2408.00755; A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015)."""

OTHER_Q_SPACING = 0.1
"""1/Å: mesh of a crystal that neither the file, nor the reference, nor its prototype gives one."""


def iterate_materials(
    structures: Sequence[str] | str,
    only: Sequence[str] = (),
    meshes: Mapping[str, Sequence[int]] | None = None,
    settings: ReadSettings | None = None,
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the crystals of a benchmark (the structure source ``benchmark``).

    Parameters
    ----------
    structures : str or sequence of str
        Files and folders.
    only : sequence of str
        Ids, names or prototypes; empty: all.
    meshes : mapping of str to sequence of int, optional
        q mesh by id, of the reference; used where the file gives none.
    settings : ReadSettings, optional
        Tolerances.

    Yields
    ------
    Structure or RejectedStructure
        ``provider_id`` is the id; ``metadata`` holds ``name``, ``prototype`` and ``source_space_group``, ``settings``
        the crystal's own supercells and mesh. An id, or a crystal, that came before is rejected.

    Raises
    ------
    ConfigError
        A path does not exist, or an entry of ``only`` matches nothing.
    """
    seen: dict[str, str] = {}
    missing = set(only)
    for material_id, frame, prototype, where in _frames([structures] if isinstance(structures, str) else structures):
        if isinstance(frame, Refused):
            yield RejectedStructure(PROVIDER, material_id, frame.reason)
            continue
        name = str(frame.atoms.info.get("name", ""))
        try:
            structure = _structure(frame, material_id, name, prototype, (meshes or {}).get(material_id), settings)
        except StructureError as error:
            if not only or missing & {material_id, name}:
                yield RejectedStructure(PROVIDER, material_id, str(error))
            continue
        labels = {material_id, structure.metadata["name"], structure.metadata["prototype"]}
        if only and not labels & set(only):
            continue
        missing -= labels
        if material_id in seen.values():
            yield RejectedStructure(PROVIDER, f"{material_id} ({where})", f"the id {material_id} came before.")
        elif structure.id in seen:
            yield RejectedStructure(PROVIDER, material_id, f"the same crystal as {seen[structure.id]}.")
        else:
            seen[structure.id] = material_id
            yield structure
    if missing:
        raise ConfigError(f"no material of the list is called {', '.join(sorted(missing))} (id, name or prototype).")


def _frames(paths: Sequence[str]) -> Iterator[tuple[str, Frame | Refused, str, str]]:
    """Yield id, frame (or why there is none), prototype by folder, and where it stands."""
    for name in paths:
        root = Path(name).expanduser()
        if not root.exists():
            raise ConfigError(f"the structure list {root} does not exist.")
        files = [root] if root.is_file() else sorted(item for item in root.rglob("*") if _is_structure(item))
        if not files:
            raise ConfigError(f"the folder {root} holds no structure file.")
        for file in files:
            prototype = file.parent.name if root.is_dir() and file.parent != root else ""
            try:
                frames = list(read_frames(file, Limits(), all_frames=True))
            except StructureError as error:
                yield file.stem, Refused(f"{file} {error}"), prototype, str(file)
                continue
            for number, frame in enumerate(frames):
                info = frame.atoms.info if isinstance(frame, Frame) else {}
                given = next((str(info[key]) for key in _ID_KEYS if key in info), "")
                fallback = file.stem if len(frames) == 1 else f"{file.stem}-{number}"
                yield given or fallback, frame, prototype, f"{file.name}, frame {number}"


def _is_structure(path: Path) -> bool:
    """Whether a file of a folder may hold a structure."""
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in _SKIPPED


def _structure(
    frame: Frame,
    material_id: str,
    name: str,
    folder: str,
    mesh: Sequence[int] | None,
    settings: ReadSettings | None,
) -> Structure:
    """Build the crystal with its own settings.

    Raises
    ------
    StructureError
        Not a usable crystal, or supercells that refer to another than the conventional cell.
    """
    read = settings or ReadSettings()
    atoms = frame.atoms
    structure = Structure.from_atoms(
        atoms, provider=PROVIDER, provider_id=material_id, settings=read, notes=frame.notes
    )
    conventional = standardise(structure.atoms, read.symprec, to_primitive=False)
    space_group = structure.space_group
    known = next(
        (
            label
            for label, entry in PROTOTYPES.items()
            if entry.space_group == space_group and entry.n_atoms == len(conventional)
        ),
        "",
    )
    dim, dim_fc2 = (_multiples(atoms, key, len(conventional)) for key in ("fc3_supercell", "fc2_supercell"))
    own = atoms.info.get("q_mesh", mesh)
    if known:
        default = PROTOTYPES[known]
        if not dim and structure.given is not None:  # the table counts the standardised axes, whatever the file's order
            structure.atoms.info.pop("given_cell", None)
            structure = replace(structure, given=replace(structure.given, cell=None))
        dim, dim_fc2 = dim or list(default.dim), dim_fc2 or list(default.dim_fc2)
        own = default.mesh if own is None else own
    settings_of_crystal: dict[str, object] = {}
    if dim:
        settings_of_crystal["displace"] = {"dim": dim, **({"dim_fc2": dim_fc2} if dim_fc2 else {})}
    if own is not None:
        points = [int(number) for number in np.asarray(own).ravel()]
        settings_of_crystal |= {"harmonic": {"mesh": points}, "conductivity": {"mesh": points}}
    metadata = {
        **structure.metadata,
        "name": name or structure.formula,
        "prototype": str(atoms.info.get("prototype", "")) or folder or known or f"space group {space_group}",
        "source_space_group": int(atoms.info.get("symm.no", space_group)),
    }
    return replace(structure, metadata=metadata, settings=settings_of_crystal)


def _multiples(atoms: Atoms, key: str, n_conventional: int) -> list[int]:
    """Diagonal multiples of the conventional cell in a frame's header; empty when it has none."""
    if key not in atoms.info:
        return []
    matrix = np.asarray(atoms.info[key])
    diagonal = matrix if matrix.ndim == 1 else np.diag(matrix)
    if matrix.ndim == 2 and np.abs(matrix - np.diag(diagonal)).max() > 0:
        raise StructureError(f"{key} = {matrix.tolist()} is not diagonal; only multiples of the cell edges are used.")
    if len(atoms) != n_conventional:
        raise StructureError(
            f"{key} counts cells of {len(atoms)} atoms, but the conventional cell has {n_conventional}. Give the "
            "conventional cell, or leave the supercells out."
        )
    return [int(number) for number in diagonal]
