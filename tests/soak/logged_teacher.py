"""A slow toy source of labels that writes down what it is asked: key, process, and whether the label was stored."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ase import Atoms

from al_committee.labels.identity import structure_key
from al_committee.testing import PairTeacher


class LoggedTeacher(PairTeacher):
    """Label as :class:`al_committee.testing.PairTeacher` does, and keep a log.

    Parameters
    ----------
    folder : str
        Of ``labels.log``, to which it appends, and of ``labels``, where they are kept.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def calculate(self, atoms: Atoms | None = None, *args: object, **options: object) -> None:
        """Write a line, wait, and calculate."""
        key = structure_key(atoms)
        stored = any(Path(self.folder, "labels").glob(f"*/{key[:2]}/{key}.npz"))
        descriptor = os.open(Path(self.folder, "labels.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{key} {os.getpid()} {'stored' if stored else 'new'}\n".encode())
        os.close(descriptor)
        time.sleep(0.05)
        super().calculate(atoms, *args, **options)
