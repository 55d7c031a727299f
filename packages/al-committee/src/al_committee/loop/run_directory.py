"""The run directory: manifest, records of finished steps, quarantine and lock.

::

    run/
      config.toml            what the user wrote
      manifest.json          resolved config, versions, seed, checksums
      pool.sqlite            the crystals, read once from their source
      live.html              where the loop stands
      test/labels.json       the fixed test set
      rounds/001/            scores/, selected.jsonl, selection.json, labels.json, train/, models.json, …
      failed/<key>.json      quarantined labels: reason, traceback, structure
      published/             final models, model-card.json
      finished.json          why the loop ended

A step is done when its record exists; records are written atomically after everything they speak of.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from ase import Atoms
from filelock import FileLock, Timeout

from al_committee.config import SAFE_CHANGES, LoopConfig, config_differences, config_from_dict, read_config
from al_committee.errors import ConfigChangedError, ConfigError, RunLockedError, RunStateError
from al_committee.file_access.atomic_write import read_json, sweep, sync_directory, write_atomically, write_json
from al_committee.labels.identity import decode_structure, encode_structure
from al_committee.labels.outcome import LabelOutcome, LabelRequest
from al_committee.loop.records import ClosingRecord, FailedLabel, TestSetRecord, read_record, write_record
from al_committee.loop.rounds import STEPS, Rounds

__all__ = ["RunDirectory"]

FORMAT = 2


class RunDirectory:
    """Files of one loop.

    Parameters
    ----------
    path : Path
        An initialised run directory.

    Raises
    ------
    RunStateError
        When it is not initialised, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = path / "manifest.json"
        if not manifest.exists():
            raise RunStateError(
                f"{path} is no run directory (no manifest.json). Make one: al-committee init CONFIG {path}"
            )
        self.manifest: dict[str, object] = read_json(manifest)
        found = self.manifest.get("format")
        if found != FORMAT:
            older = isinstance(found, int) and found < FORMAT
            raise RunStateError(
                f"{path} has format {found}, this version reads {FORMAT}. "
                + (
                    "Its labels may hold forces of fixed atoms, and its rounds were chosen by them: init a new run; "
                    "labels of unconstrained structures are taken over by 'al-committee adopt RUN'."
                    if older
                    else "Update al-committee."
                )
            )
        try:
            self.config: LoopConfig = config_from_dict(self.stored_config, str(manifest))
            self.base = Path(str(self.manifest["base"]))
        except (KeyError, TypeError) as error:
            raise RunStateError(f"{manifest} is damaged: {error} is missing. Bring the file back.") from error
        self.rounds = Rounds(path / "rounds")
        self._failed: dict[str, FailedLabel] | None = None

    @property
    def stored_config(self) -> dict[str, object]:
        """The configuration that the run was made with, as nested tables."""
        return cast("dict[str, object]", self.manifest["config"])

    @classmethod
    def create(cls, path: Path, config_file: Path) -> RunDirectory:
        """Make a run directory, or open it when it was made with the same configuration.

        Parameters
        ----------
        path : Path
            Where.
        config_file : Path
            A TOML file; copied to ``config.toml``.

        Raises
        ------
        ConfigChangedError
            When the directory was made with another configuration.
        RunStateError
            When the folder holds something else.
        """
        config = read_config(config_file)
        if (path / "manifest.json").exists():
            run = cls(path)
            run.check_config(config)
            return run
        if path.exists() and (not path.is_dir() or any(entry.name != "config.toml" for entry in path.iterdir())):
            raise RunStateError(f"{path} is not empty and no run directory. Choose a new folder.")
        path.mkdir(parents=True, exist_ok=True)
        if config_file.resolve() != (path / "config.toml").resolve():
            shutil.copyfile(config_file, path / "config.toml")
        manifest = {
            "format": FORMAT,
            "config": config.to_dict(),
            "base": str(config_file.resolve().parent),
            "versions": _versions(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "changes": [],
        }
        write_json(path / "manifest.json", manifest)
        return cls(path)

    def check_config(self, config: LoopConfig | None = None, *, accept_changes: bool = False) -> None:
        """Compare a config (the folder's config.toml by default) with the manifest.

        Accepted changes of ``[stop]`` reopen a finished run: it goes on when the new rules say so.

        Raises
        ------
        ConfigChangedError
            When they differ, showing each difference; with `accept_changes` only for keys that would change
            what was already done.
        """
        now = config or read_config(self.path / "config.toml")
        differences = config_differences(self.stored_config, now.to_dict())
        if not differences:
            return
        lines = "\n".join(f"  {key}: {old!r} -> {new!r}" for key, (old, new) in differences.items())
        unsafe = [key for key in differences if not key.startswith(SAFE_CHANGES)]
        if unsafe or not accept_changes:
            fix = (
                f"{', '.join(unsafe)} shaped the rounds already done: put the old value back, or init a new "
                "run (labels are kept in the cache and cost nothing)."
                if unsafe
                else "Put the old values back, or accept the new: al-committee resume --accept-changes"
            )
            raise ConfigChangedError(f"the config differs from the one {self.path} was made with:\n{lines}\n{fix}")
        before = cast("list[object]", self.manifest["changes"])
        changes = [*before, {key: list(pair) for key, pair in differences.items()}]
        self._update_manifest(config=now.to_dict(), changes=changes)
        self.config = now
        if any(key.startswith("stop.") for key in differences):
            (self.path / "finished.json").unlink(missing_ok=True)  # other rules may say: go on

    def pin(self, name: str, value: object) -> None:
        """Remember something the config points at (pool content, label settings) and refuse a later change.

        Raises
        ------
        ConfigChangedError
            When the value differs from the first one.
        """
        try:
            value = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name.replace('_', ' ')} cannot be written as JSON: {error}.") from error
        known = self.manifest.get(name)
        if known is None:
            self._update_manifest(**{name: value})
        elif known != value:
            if isinstance(known, Mapping) and isinstance(value, Mapping):
                pairs = config_differences(known, value)
                shown = "; ".join(f"{key}: {old!r} -> {new!r}" for key, (old, new) in pairs.items())
            else:
                shown = f"{known!r} -> {value!r}"
            raise ConfigChangedError(
                f"{name.replace('_', ' ')} changed since {self.path} was made: {shown}. Put the old back, or "
                "init a new run (labels are kept in the cache)."
            )

    def _update_manifest(self, **values: object) -> None:
        """Write the manifest with new values."""
        self.manifest = {**self.manifest, **values}
        write_json(self.path / "manifest.json", self.manifest)

    # ---- structures and closing records ------------------------------------------------------------------

    def write_structures(self, number: int, structures: Sequence[Atoms]) -> None:
        """Keep the structures that a round selected, every digit of them."""
        text = "".join(encode_structure(atoms) + "\n" for atoms in structures)
        write_atomically(
            self.rounds.round_folder(number) / "selected.jsonl", lambda handle: handle.write(text.encode())
        )

    def selected_structures(self, number: int) -> list[Atoms]:
        """Structures that a round selected, in the order of its record.

        Raises
        ------
        RunStateError
            When the file is gone.
        """
        path = self.rounds.round_folder(number) / "selected.jsonl"
        if not path.exists():
            raise RunStateError(f"{path} is gone. Bring it back, or redo the selection of round {number}.")
        return [decode_structure(line) for line in path.read_text().splitlines()]

    def test_set(self) -> TestSetRecord | None:
        """The labelled test set; None while it is not."""
        path = self.path / "test" / "labels.json"
        return read_record(path, TestSetRecord) if path.exists() else None

    def write_test_set(self, record: TestSetRecord) -> None:
        """Mark the test set as labelled."""
        write_record(self.path / "test" / "labels.json", record)

    def finished(self) -> ClosingRecord | None:
        """Give the closing record, or None."""
        path = self.path / "finished.json"
        return read_record(path, ClosingRecord) if path.exists() else None

    def set_back(self, number: int, step: str) -> list[Path]:
        """Move a round's records from a step on, and all later rounds, aside; nothing is deleted.

        Returns
        -------
        list of Path
            Where they went.
        """
        stamp = f"redone-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        aside = self.path / "redone" / stamp
        while aside.exists():
            aside = aside.with_name(aside.name + "x")
        aside.mkdir(parents=True)
        steps, folder = list(STEPS), self.rounds.round_folder(number)
        later = steps[steps.index(step) :][::-1]
        sources = [self.path / name for name in ("finished.json", "published")]
        sources += [self.rounds.round_folder(n) for n in self.rounds.numbers() if n > number][::-1]  # latest first
        sources += [folder / f"{name}.json" for name in later]
        if step == "selection":
            sources += [folder / "selected.jsonl", folder / "scores"]
        if "models" in later:
            sources += [folder / "train"]
        moved = []
        for source in sources:
            if source.exists():
                target = aside / source.relative_to(self.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                moved.append(target)
        sync_directory(self.path)
        self.rounds.forget()
        return moved

    # ---- quarantine --------------------------------------------------------------------------------------

    def quarantine(self, request: LabelRequest, outcome: LabelOutcome) -> None:
        """Write a failed label's reason, traceback and structure."""
        record = FailedLabel(
            outcome.key, request.name, outcome.reason, outcome.traceback, encode_structure(request.atoms)
        )
        write_record(self.path / "failed" / f"{outcome.key}.json", record)
        self.failed()[outcome.key] = record

    def failed(self) -> dict[str, FailedLabel]:
        """All quarantined labels by key."""
        if self._failed is None:
            paths = sorted((self.path / "failed").glob("*.json"))
            self._failed = {path.stem: read_record(path, FailedLabel) for path in paths}
        return self._failed

    def forget_failures(self) -> int:
        """Clear the quarantine and reopen the earliest round that holds a failed label; give their number."""
        failed = set(self.failed())
        labels = {n: self.rounds.labels(n) for n in self.rounds.numbers()}
        touched = [n for n, record in labels.items() if record is not None and failed & set(record.failed)]
        tests = self.test_set()
        if tests is not None and failed & set(tests.labels.failed):
            (self.path / "test" / "labels.json").unlink()
            touched = [0]
        for key in failed:
            (self.path / "failed" / f"{key}.json").unlink()
        self._failed = {}
        if touched:
            self.set_back(touched[0], "labels")
        return len(failed)

    # ---- lock --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory; released by the kernel when the process dies.

        Raises
        ------
        RunLockedError
            When another driver holds it, naming host and process.
        """
        holder = self.path / "lock.holder"
        try:
            with FileLock(self.path / "lock", timeout=0):
                self._failed = None
                self.rounds.forget()  # what another driver wrote before we came
                sweep(self.path)
                holder.write_text(f"process {os.getpid()} on host {socket.gethostname()}\n")
                yield
        except Timeout:
            known = holder.read_text().strip() if holder.exists() else "another process"
            raise RunLockedError(
                f"{self.path} is driven by {known}. Wait for it or stop it; status works meanwhile."
            ) from None


def _versions() -> dict[str, str]:
    """Versions that a reader of the run may want."""
    found = {"python": platform.python_version()}
    for name in ("al-committee", "numpy", "scipy", "ase"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
