"""The store of labels, by content of the structure and settings of the source, shared by all runs.

One file per label, written atomically and never changed. A label in progress is claimed with a file lock, which the
kernel releases when its holder dies, so that two runs never compute the same label at one time.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from al_committee.errors import RunStateError
from al_committee.file_access.atomic_write import write_atomically, write_json
from al_committee.file_access.damaged_npz import DAMAGED_NPZ
from al_committee.file_access.recursion import usual_recursion
from al_committee.labels.identity import DETERMINING_ARRAYS, earlier_settings_key, settings_key, structure_key
from al_committee.labels.outcome import attach_label

__all__ = ["LabelCache", "LazyLabels", "default_cache_folder"]

logger = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """Give ``$AL_COMMITTEE_LABELS``, else ``al-committee/labels`` in the user's data folder."""
    named = os.environ.get("AL_COMMITTEE_LABELS")
    if named:
        return Path(named)
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "al-committee" / "labels"


class LabelCache:
    """Labels of one source of labels.

    Parameters
    ----------
    root : Path
        Folder shared by runs, and by sources: each gets a sub-folder by its settings.
    settings : mapping of str to object
        What determines the labels (calculator, parameters, versions), JSON-like. Other settings, other
        labels.
    """

    def __init__(self, root: Path, settings: Mapping[str, object]) -> None:
        self.settings = dict(settings)
        self.folder = root / settings_key(self.settings)
        self.earlier = root / earlier_settings_key(self.settings)
        self.folder.mkdir(parents=True, exist_ok=True)
        described = self.folder / "settings.json"
        if not described.exists():
            write_json(described, self.settings)
        self._warn_of_earlier()

    def _warn_of_earlier(self) -> None:
        """Say that labels from before constraints were kept out are there and are not used."""
        count = sum(1 for _ in self.earlier.glob("*/*.npz")) if not (self.folder / "adopted").exists() else 0
        if count:
            logger.warning(
                "%d labels in %s are from before constraints were kept out of labels: fixed atoms may have a force of "
                "zero in them. They are not used. If none of their structures was constrained, take them over: "
                "al-committee adopt RUN",
                count,
                self.earlier,
            )

    def adopt_earlier(self) -> tuple[int, int]:
        """Take over labels of this source from before constraints were kept out, on the user's word.

        Returns
        -------
        tuple of int
            Taken over; left, because an atom has a force of exactly zero along an axis, as a constrained one would.
        """
        taken = left = 0
        for path in sorted(self.earlier.glob("*/*.npz")):
            try:
                atoms = _read(path)
            except DAMAGED_NPZ:
                left += 1
                continue
            if (atoms.calc.results["forces"] == 0.0).any():
                left += 1
                continue
            self.put(structure_key(atoms), atoms, {"adopted": path.stem})
            taken += 1
        write_json(self.folder / "adopted", {"taken": taken, "left": left})
        return taken, left

    def path(self, key: str) -> Path:
        """File of a label."""
        return self.folder / key[:2] / f"{key}.npz"

    def __contains__(self, key: str) -> bool:
        return self.path(key).exists()

    def keys(self) -> Iterator[str]:
        """Yield the keys of all labels, sorted."""
        for path in sorted(self.folder.glob("*/*.npz")):
            if not path.name.startswith("."):
                yield path.stem

    def get(self, key: str) -> Atoms | None:
        """Read a label.

        Returns
        -------
        Atoms or None
            With a single-point calculator (eV, eV/Å, eV/Å³); None when there is none. A damaged file is set
            aside as ``*.damaged`` with a warning and counts as absent.
        """
        path = self.path(key)
        try:
            atoms = _read(path)
            if structure_key(atoms) != key:
                raise ValueError("content does not match its key")
        except FileNotFoundError:
            return None
        except DAMAGED_NPZ as error:
            aside = path.with_suffix(".damaged")
            logger.warning("label %s is damaged (%s); set aside as %s", path, error, aside.name)
            os.replace(path, aside)
            return None
        return atoms

    def put(self, key: str, labelled: Atoms, details: Mapping[str, object] | None = None) -> None:
        """Store a label for good; a second one for the same key is ignored.

        Raises
        ------
        ValueError
            When `labelled` is not the structure of `key`.
        """
        if structure_key(labelled) != key:
            raise ValueError(f"label of {structure_key(labelled)} given for {key}: other atoms, cell or order.")
        if key in self:
            return
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {**_arrays_of(labelled, details or {})}  # numpy takes them as keywords
        np.savez(buffer, **arrays)
        write_atomically(self.path(key), lambda handle: handle.write(buffer.getvalue()))

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim a label for computation.

        Yields
        ------
        bool
            False when another living process holds it.
        """
        path = self.folder / key[:2] / f".{key}.claim"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path, timeout=0):
                yield True
        except Timeout:
            yield False


class LazyLabels(Sequence[Atoms]):
    """Labels read from the cache when they are looked at, so that any number of them needs no memory.

    Parameters
    ----------
    cache : LabelCache
        Where they are.
    keys : sequence of str
        Which, and in what order.
    """

    def __init__(self, cache: LabelCache, keys: Sequence[str]) -> None:
        self.cache, self.keys = cache, list(keys)

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...

    @overload
    def __getitem__(self, index: slice) -> LazyLabels: ...

    def __getitem__(self, index: int | slice) -> Atoms | LazyLabels:
        """Read one label, or give a part of them.

        Raises
        ------
        RunStateError
            When the label is gone or damaged.
        """
        if isinstance(index, slice):
            return LazyLabels(self.cache, self.keys[index])
        key = self.keys[index]
        atoms = self.cache.get(key)
        if atoms is None:
            raise RunStateError(
                f"label {key} is recorded as done but {self.cache.path(key)} is gone or damaged. Bring the file back, "
                "or redo the labels step of its round: it is computed again."
            )
        return atoms


def _read(path: Path) -> Atoms:
    """Read a file of a label."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data, usual_recursion():
        arrays = {name: data[name] for name in data.files}
        info = json.loads(str(arrays["info"]))
    atoms = Atoms(
        numbers=arrays["numbers"],
        positions=arrays["positions"],
        cell=arrays["cell"],
        pbc=arrays["pbc"],
        info=info,
    )
    for name in DETERMINING_ARRAYS:
        if name in arrays:
            atoms.set_array(name, arrays[name])
    results = {name: arrays[name] for name in ("forces", "stress") if name in arrays}
    if "energy" in arrays:
        results["energy"] = float(arrays["energy"])
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _arrays_of(labelled: Atoms, details: Mapping[str, object]) -> dict[str, NDArray[np.generic]]:
    """Arrays of the file of a label: what determines it, its notes, its results and details."""
    results = labelled.calc.results
    atoms = attach_label(labelled, forces=results["forces"], energy=results.get("energy"), stress=results.get("stress"))
    arrays = {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        "pbc": np.asarray(atoms.pbc),
        "info": np.array(json.dumps(atoms.info)),
        "details": np.array(json.dumps(dict(details), default=str)),
    }
    arrays.update({name: atoms.get_array(name) for name in DETERMINING_ARRAYS if atoms.has(name)})
    arrays.update({name: np.asarray(value) for name, value in atoms.calc.results.items()})
    return arrays
