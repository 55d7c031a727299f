"""The store of labels, by content of the structure and settings of the source, shared by all runs.

One file per label, written atomically and never changed. A label in progress is claimed with ``flock``, which
the kernel releases when its holder dies, so that two runs never compute the same label at one time.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from al_committee.atomic_file import write_atomically, write_json
from al_committee.labels.content_key import settings_key, structure_key

__all__ = ["LabelCache", "default_cache_folder"]

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
    root
        Folder shared by runs, and by sources: each gets a sub-folder by its settings.
    settings
        What determines the labels (calculator, parameters, versions), JSON-like. Other settings, other
        labels.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.folder = root / settings_key(self.settings)
        self.folder.mkdir(parents=True, exist_ok=True)
        described = self.folder / "settings.json"
        if not described.exists():
            write_json(described, self.settings)

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
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            atoms = Atoms(
                numbers=arrays["numbers"],
                positions=arrays["positions"],
                cell=arrays["cell"],
                pbc=arrays["pbc"],
                info=json.loads(str(arrays["info"])),
            )
            for name in ("initial_magmoms", "initial_charges"):
                if name in arrays:
                    atoms.set_array(name, arrays[name])
            if structure_key(atoms) != key:
                raise ValueError("content does not match its key")
            results = {name: arrays[name] for name in ("forces", "stress") if name in arrays}
            if "energy" in arrays:
                results["energy"] = float(arrays["energy"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            aside = path.with_suffix(".damaged")
            logger.warning("label %s is damaged (%s); set aside as %s", path, error, aside.name)
            os.replace(path, aside)
            return None
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def put(self, key: str, labelled: Atoms, details: Mapping[str, Any] | None = None) -> None:
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
        info = {k: v for k, v in labelled.info.items() if isinstance(v, str | int | float | bool)}
        arrays: dict[str, Any] = {
            "numbers": labelled.numbers,
            "positions": labelled.positions,
            "cell": labelled.cell.array,
            "pbc": labelled.pbc,
            "info": np.array(json.dumps(info)),
            "details": np.array(json.dumps(dict(details or {}), default=str)),
        }
        for name in ("initial_magmoms", "initial_charges"):
            if labelled.has(name):
                arrays[name] = labelled.get_array(name)
        arrays.update(
            {
                name: np.asarray(value)
                for name, value in labelled.calc.results.items()
                if name in ("energy", "forces", "stress") and value is not None
            }
        )
        buffer = io.BytesIO()
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
        with open(path, "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
