"""Labels by file exchange: one folder per label with ready DFT input, collected whenever outputs appear.

Nothing is submitted from here: folders are carried to a cluster in whatever way, run in any order, and
brought back partially. ``manifest.csv`` lists them with their state.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from al_committee.errors import CommitteeError, LabelFailedError
from al_committee.file_access.atomic_write import read_json, write_atomically, write_json
from al_committee.labels.identity import settings_key
from al_committee.labels.outcome import LabelOutcome, LabelRequest

__all__ = ["DftFormat", "FileExchangeLabeller"]

logger = logging.getLogger(__name__)


class DftFormat(Protocol):
    """Input and output of one DFT code."""

    name: str

    @property
    def settings(self) -> Mapping[str, object]:
        """Parameters that determine the label, JSON-like."""
        ...

    def write_input(self, folder: Path, request: LabelRequest) -> None:
        """Write a ready input into an empty folder."""
        ...

    def read_output(self, folder: Path, request: LabelRequest) -> LabelOutcome | None:
        """Read a finished output; None while there is none or it still grows.

        Raises
        ------
        LabelFailedError, LabelMismatchError
            When the output is finished and unusable.
        """
        ...

    def output_paths(self, folder: Path) -> list[Path]:
        """Files whose age tells whether a calculation still runs."""
        ...


class FileExchangeLabeller:
    """Write folders, collect outputs.

    Parameters
    ----------
    folder : Path
        Where the label folders go.
    dft : DftFormat
        The code's input and output.
    stale_hours : float
        An unfinished output not touched for this long counts as failed; 0 waits for ever.

    Notes
    -----
    A file ``FAILED`` in a label's folder gives the label up, its first line being the reason. Folders are
    complete or absent: they are written aside and renamed.
    """

    def __init__(self, folder: Path, dft: DftFormat, *, stale_hours: float = 0.0) -> None:
        self.folder, self.dft, self.stale_hours = folder, dft, stale_hours
        self._states: dict[str, str] = {}

    @property
    def settings(self) -> Mapping[str, object]:
        """What determines the labels."""
        return {"code": self.dft.name, **self.dft.settings}

    def label_folder(self, request: LabelRequest) -> Path:
        """Folder of one label: its content key."""
        return self.folder / request.key

    def label(
        self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[LabelOutcome]:
        """Write the folders that are missing and yield whatever is finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for request in requests:
            if not self.label_folder(request).exists():
                self._write(request)
        for request in requests:
            outcome = self._collect(request)
            self._states[request.key] = "pending" if outcome is None else "failed" if outcome.failed else "done"
            if outcome is not None:
                yield outcome
        self._write_manifest()

    def _write(self, request: LabelRequest) -> None:
        """Write one folder aside and rename it into place."""
        target = self.label_folder(request)
        aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            self.dft.write_input(aside, request)
            write_json(
                aside / "label.json",
                {
                    "key": request.key,
                    "name": request.name,
                    "formula": request.atoms.get_chemical_formula(),
                    "n_atoms": len(request.atoms),
                    "code": self.dft.name,
                    "settings_key": settings_key(self.settings),
                },
            )
            os.rename(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _collect(self, request: LabelRequest) -> LabelOutcome | None:
        """Read one folder's output."""
        folder = self.label_folder(request)
        given_up = folder / "FAILED"
        if given_up.exists():
            lines = given_up.read_text(errors="replace").splitlines()
            return LabelOutcome(request.key, reason=f"given up by hand: {lines[0] if lines else 'no reason'}")
        try:
            described = read_json(folder / "label.json")
            if described.get("settings_key") != settings_key(self.settings):
                raise LabelFailedError(
                    f"{folder} was written for other DFT settings. Move it away and resume: it is written anew."
                )
            outcome = self.dft.read_output(folder, request)
        except CommitteeError as error:
            return LabelOutcome(request.key, reason=str(error), traceback=traceback.format_exc())
        except Exception as error:  # ASE's readers raise anything on a damaged file
            reason = f"{folder}: output cannot be read ({type(error).__name__}: {error})"
            return LabelOutcome(request.key, reason=reason, traceback=traceback.format_exc())
        if outcome is None and self._is_stale(folder):
            return LabelOutcome(
                request.key,
                reason=f"{folder}: output unfinished and untouched for more than {self.stale_hours:g} h",
            )
        return outcome

    def _is_stale(self, folder: Path) -> bool:
        """Whether an output exists and has not grown for long."""
        written = [path.stat().st_mtime for path in self.dft.output_paths(folder) if path.exists()]
        return bool(written) and self.stale_hours > 0 and time.time() - max(written) > self.stale_hours * 3600

    def close(self) -> None:
        """Hold nothing."""

    def _write_manifest(self) -> None:
        """List all folders, also those of earlier rounds."""
        rows = []
        for path in sorted(self.folder.glob("*/label.json")):
            if path.parent.name.startswith("."):
                continue
            row = json.loads(path.read_text())
            row["state"] = self._states.get(row["key"], "collected earlier")
            row["folder"] = path.parent.name
            rows.append(row)
        names = ["folder", "state", "name", "formula", "n_atoms", "code", "key", "settings_key"]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / "manifest.csv", lambda handle: handle.write(text.getvalue().encode()))
