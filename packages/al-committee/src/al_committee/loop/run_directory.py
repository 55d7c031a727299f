"""The run directory: manifest, records of finished steps, quarantine, lock, and a rebuildable index.

::

    run/
      config.toml            what the user wrote
      manifest.json          resolved config, versions, seed, checksums
      test/labels.json       the fixed test set
      rounds/001/            scores/, selection.json, labels.json, train/, models.json, evaluation.json, …
      failed/<key>.json      quarantined labels: reason, traceback, structure
      published/             final models, model-card.json
      finished.json          why the loop ended
      index.sqlite           a cache of the records, rebuilt from them

A step is done when its record exists; records are written atomically after everything they speak of.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ase.io.jsonio import encode

from al_committee.atomic_file import read_json, sync_directory, write_json
from al_committee.config import SAFE_CHANGES, LoopConfig, config_differences, config_from_dict, read_config
from al_committee.errors import ConfigChangedError, RunLockedError, RunStateError
from al_committee.labels.outcome import LabelOutcome, LabelRequest

__all__ = ["STEPS", "RunDirectory"]

STEPS = ("selection", "labels", "models", "evaluation", "report")
"""Records of a round, in order; the scores are part of the selection."""

FORMAT = 1


class RunDirectory:
    """Files of one loop.

    Parameters
    ----------
    path
        An initialised run directory.

    Raises
    ------
    RunStateError
        When it is not initialised, or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = path / "manifest.json"
        if not manifest.exists():
            raise RunStateError(
                f"{path} is no run directory (no manifest.json). Make one: al-committee init CONFIG {path}"
            )
        self.manifest: dict[str, Any] = read_json(manifest)
        if self.manifest.get("format") != FORMAT:
            raise RunStateError(
                f"{path} has format {self.manifest.get('format')}, this version reads {FORMAT}. Update al-committee."
            )
        self.config: LoopConfig = config_from_dict(self.manifest["config"], str(manifest))

    @classmethod
    def create(cls, path: Path, config_file: Path) -> RunDirectory:
        """Initialise a run directory from a config file; an equal one already there is opened.

        Raises
        ------
        ConfigError
            For a bad config.
        RunStateError
            When the folder holds something else.
        ConfigChangedError
            When it was initialised with another config.
        """
        config = read_config(config_file)
        if (path / "manifest.json").exists():
            run = cls(path)
            run.check_config(config)
            return run
        if path.exists() and any(entry.name != "config.toml" for entry in path.iterdir()):
            raise RunStateError(f"{path} is not empty and no run directory. Choose a new folder.")
        path.mkdir(parents=True, exist_ok=True)
        if config_file.resolve() != (path / "config.toml").resolve():
            shutil.copyfile(config_file, path / "config.toml")
        write_json(
            path / "manifest.json",
            {
                "format": FORMAT,
                "config": config.to_dict(),
                "base": str(config_file.resolve().parent),
                "versions": _versions(),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "changes": [],
            },
        )
        return cls(path)

    @property
    def base(self) -> Path:
        """Folder against which the config's relative paths are read."""
        return Path(self.manifest["base"])

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
        differences = config_differences(self.manifest["config"], now.to_dict())
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
        changes = [*self.manifest["changes"], {key: list(pair) for key, pair in differences.items()}]
        self._update_manifest(config=now.to_dict(), changes=changes)
        self.config = now
        if any(key.startswith("stop.") for key in differences):
            (self.path / "finished.json").unlink(missing_ok=True)  # other rules may say: go on

    def pin(self, name: str, value: Any) -> None:
        """Remember something the config points at (pool content, label settings) and refuse a later change.

        Raises
        ------
        ConfigChangedError
            When the value differs from the first one.
        """
        value = json.loads(json.dumps(value))
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

    def _update_manifest(self, **values: Any) -> None:
        """Write the manifest with new values."""
        self.manifest = {**self.manifest, **values}
        write_json(self.path / "manifest.json", self.manifest)

    # ---- rounds ------------------------------------------------------------------------------------------

    def round_folder(self, number: int) -> Path:
        """Folder of a round."""
        return self.path / "rounds" / f"{number:03d}"

    def record_path(self, number: int, step: str) -> Path:
        """Record of a step."""
        return self.round_folder(number) / f"{step}.json"

    def record(self, number: int, step: str) -> dict[str, Any] | None:
        """Read a step's record; None while the step is not done."""
        path = self.record_path(number, step)
        if not path.exists():
            return None
        value: dict[str, Any] = read_json(path)
        return value

    def write_record(self, number: int, step: str, value: Mapping[str, Any]) -> None:
        """Mark a step as done."""
        write_json(self.record_path(number, step), dict(value))

    def rounds(self) -> list[int]:
        """Numbers of the rounds begun."""
        folder = self.path / "rounds"
        if not folder.exists():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())

    def finished(self) -> dict[str, Any] | None:
        """The closing record, or None."""
        path = self.path / "finished.json"
        if not path.exists():
            return None
        value: dict[str, Any] = read_json(path)
        return value

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
        moved = []
        names = ["finished.json", "published"]
        sources = [self.path / name for name in names]
        sources += [self.round_folder(n) for n in self.rounds() if n > number][::-1]  # latest first
        later = STEPS[STEPS.index(step) :][::-1]
        folder = self.round_folder(number)
        for name in later:
            sources.append(folder / f"{name}.json")
        if step == "selection":
            sources += [folder / "scores"]
        if "models" in later:
            sources += [folder / "train"]
        for source in sources:
            if source.exists():
                target = aside / source.relative_to(self.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                moved.append(target)
        sync_directory(self.path)
        return moved

    # ---- quarantine --------------------------------------------------------------------------------------

    def quarantine(self, request: LabelRequest, outcome: LabelOutcome) -> None:
        """Write a failed label's reason, traceback and structure."""
        write_json(
            self.path / "failed" / f"{outcome.key}.json",
            {
                "key": outcome.key,
                "name": request.name,
                "reason": outcome.reason,
                "traceback": outcome.traceback,
                "structure": json.loads(encode(request.atoms)),
            },
        )

    def failed(self) -> dict[str, dict[str, Any]]:
        """All quarantined labels by key."""
        found = {}
        for path in sorted((self.path / "failed").glob("*.json")):
            record = read_json(path)
            found[record["key"]] = record
        return found

    def forget_failures(self) -> int:
        """Clear the quarantine and reopen the earliest round that holds a failed label; give their number."""
        failed = self.failed()
        touched = [
            n for n in self.rounds() if set((self.record(n, "labels") or {"failed": []})["failed"]) & set(failed)
        ]
        tests = self.path / "test" / "labels.json"
        if tests.exists() and set(read_json(tests)["failed"]) & set(failed):
            tests.unlink()
            touched = [0]
        for key in failed:
            (self.path / "failed" / f"{key}.json").unlink()
        if touched:
            self.set_back(touched[0], "labels")
        return len(failed)

    # ---- lock and index ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory; released by the kernel when the process dies.

        Raises
        ------
        RunLockedError
            When another driver holds it, naming host and process.
        """
        with open(self.path / "lock", "a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise RunLockedError(
                    f"{self.path} is driven by {holder}. Wait for it or stop it; status works meanwhile."
                ) from None
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on host {socket.gethostname()}\n")
            handle.flush()
            yield

    def rebuild_index(self) -> Path:
        """Write index.sqlite anew from the records: tables ``rounds`` and ``labels``."""
        target = self.path / "index.sqlite"
        temporary = self.path / f".index.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        failed = self.failed()
        with contextlib.closing(sqlite3.connect(temporary)) as db, db:
            db.execute(
                "create table rounds (round integer primary key, recommended integer, selected integer,"
                " labelled integer, failed integer, force_rmse real, area real, scale real)"
            )
            db.execute(
                "create table labels (key text, round integer, structure_id text, supercell integer,"
                " score real, state text, reason text)"
            )
            for number in self.rounds():
                row = self.summary(number)
                db.execute(
                    "insert into rounds values (?,?,?,?,?,?,?,?)",
                    [
                        row[k]
                        for k in (
                            "round",
                            "recommended",
                            "selected",
                            "labelled",
                            "failed",
                            "force_rmse",
                            "area",
                            "scale",
                        )
                    ],
                )
                selection = self.record(number, "selection") or {"selected": []}
                labels = self.record(number, "labels") or {"done": []}
                done = set(labels["done"])
                for item in selection["selected"]:
                    key = item["key"]
                    state = "done" if key in done else "failed" if key in failed else "pending"
                    db.execute(
                        "insert into labels values (?,?,?,?,?,?,?)",
                        [
                            key,
                            number,
                            item["structure_id"],
                            item["index"],
                            item["score"],
                            state,
                            failed.get(key, {}).get("reason"),
                        ],
                    )
        os.replace(temporary, target)
        return target

    def summary(self, number: int) -> dict[str, Any]:
        """One row of numbers about a round; None for what is not there yet."""
        selection = self.record(number, "selection") or {}
        labels = self.record(number, "labels") or {}
        evaluation = self.record(number, "evaluation") or {}
        test = evaluation.get("test") or {}
        return {
            "round": number,
            "recommended": selection.get("n_recommended"),
            "selected": len(selection["selected"]) if selection else None,
            "labelled": len(labels["done"]) if labels else None,
            "failed": len(labels["failed"]) if labels else None,
            "pending": len(labels["pending"]) if labels else None,
            "training_labels": evaluation.get("n_training"),
            "force_rmse": test.get("force_rmse"),
            "force_mae": test.get("force_mae"),
            "area": test.get("area"),
            "area_scaled": test.get("area_scaled"),
            "scale": test.get("scale"),
            "rank_correlation": test.get("rank_correlation"),
        }


def _versions() -> dict[str, str]:
    """Versions that a reader of the run may want."""
    found = {"python": platform.python_version()}
    for name in ("al-committee", "numpy", "scipy", "ase"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
