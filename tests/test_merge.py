"""Shards that ran elsewhere, joined: the same records as one run, conflicts told, interruptions survived."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys

import pytest

import screen_cli.store.records
from screen_cli.cli import main
from screen_cli.config import load_settings
from screen_cli.errors import ConfigError
from screen_cli.run.driver import execute, resolve
from screen_cli.run.merge import merge_runs
from screen_cli.store.run_directory import RunDirectory
from screen_cli.store.sealed import seal, unseal

METALS = ("Al", "Cu")  # one in each of two shards


def results(run_dir):
    """Data and checksums of every record."""
    found = {}
    for path in sorted(run_dir.glob("records/*/*/*-*.json")):
        header = json.loads(path.read_text())
        found[f"{path.parent.name}/{path.name}"] = [header["data"], header["parts"]]
    return found


@pytest.fixture(scope="module")
def shards(tmp_path_factory, fast_text):
    """A run and the same run in two shards."""
    folder = tmp_path_factory.mktemp("shards")
    config = folder / "screen.toml"
    config.write_text(fast_text(*METALS))
    settings = resolve(load_settings(config))
    for name, shard in (("whole", None), ("first", (1, 2)), ("second", (2, 2))):
        execute(RunDirectory.create(folder / name, settings, shard=shard))
    return folder


def test_shards_make_the_whole(shards, tmp_path):
    first, second, whole = (results(shards / name) for name in ("first", "second", "whole"))
    assert first
    assert second
    assert not first.keys() & second.keys()
    report = merge_runs([shards / "first", shards / "second"], tmp_path / "merged")
    assert report.counts == {"done": len(METALS)}
    assert (report.conflicts, report.damaged, report.missing_shards) == ([], [], [])
    assert results(tmp_path / "merged") == whole
    summary = execute(RunDirectory.open(tmp_path / "merged"))  # nothing is left to do, the source is known
    assert summary.n_processed == 0
    again = merge_runs([shards / "first", shards / "second", shards / "whole"], tmp_path / "merged")
    assert again.n_copied == 0
    assert again.n_known == 2 * len(whole)


def test_a_missing_shard_is_told_and_can_be_run(shards, tmp_path, capsys):
    assert main(["merge", str(shards / "second"), "--into", str(tmp_path / "merged")]) == 0
    assert "missing shards: 1/2" in capsys.readouterr().err
    summary = execute(RunDirectory.open(tmp_path / "merged"))
    assert summary.counts == {"done": len(METALS)}
    assert summary.n_processed == len({name.split("/")[0] for name in results(shards / "first")})


def test_an_interrupted_merge_goes_on(shards, tmp_path, monkeypatch):
    real, written = screen_cli.store.records.write_bytes, []

    def fail_later(path, content, **options):
        if len(written) == 12:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content, **options)

    monkeypatch.setattr(screen_cli.store.records, "write_bytes", fail_later)
    with pytest.raises(KeyboardInterrupt):
        merge_runs([shards / "whole"], tmp_path / "merged")
    monkeypatch.undo()
    half = len(results(tmp_path / "merged"))
    assert 0 < half < len(results(shards / "whole"))
    report = merge_runs([shards / "whole"], tmp_path / "merged")
    assert report.n_known == half
    assert results(tmp_path / "merged") == results(shards / "whole")


@pytest.mark.parametrize("command", ["merge", "rebuild"])
def test_what_killed_commands_left_half_written_goes(shards, tmp_path, command):
    merged = tmp_path / "merged"
    merge_runs([shards / "whole"], merged)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    name = f".tmp-{platform.node()}-{gone.pid}-0123456789ab"
    (merged / "failed").mkdir(exist_ok=True)
    places = [merged, merged / "failed"]
    places += [path.parent for path in merged.glob("records/*/*/structure.json")] if command == "merge" else []
    for place in places:
        (place / name).write_bytes(b"half")
    words = ["merge", str(shards / "whole"), "--into", str(merged)] if command == "merge" else ["rebuild", str(merged)]
    assert main(words) == 0
    assert not list(merged.rglob(".tmp-*"))
    assert results(merged) == results(shards / "whole")


def test_conflicts_and_damage_are_told(shards, tmp_path, capsys):
    shutil.copytree(shards / "whole", tmp_path / "other")
    shutil.copytree(shards / "whole", tmp_path / "merged")
    changed = sorted((tmp_path / "other").glob("records/*/*/harmonic-*.json"))[0]
    header = unseal(changed.read_bytes())
    header["data"]["cv_j_mol_k"] += 1
    changed.write_text(seal(header))
    cut = sorted((tmp_path / "other").glob("records/*/*/forces-*.hdf5"))[0]
    cut.write_bytes(cut.read_bytes()[:50])
    assert main(["merge", str(tmp_path / "other"), "--into", str(tmp_path / "merged")]) == 1
    said = capsys.readouterr().err
    assert "conflict: harmonic-" in said
    assert "cv_j_mol_k is" in said
    assert "left out: forces-" in said
    assert results(tmp_path / "merged") == results(shards / "whole")


def test_other_settings_are_refused(shards, tmp_path, fast_config):
    settings = resolve(load_settings(fast_config("Al"), ["relax.fmax=1e-2"]))
    RunDirectory.create(tmp_path / "other", settings)
    with pytest.raises(ConfigError, match="relax.fmax was 0.001, now 0.01"):
        merge_runs([shards / "first", tmp_path / "other"], tmp_path / "merged")
    with pytest.raises(ConfigError, match="holds shard 1/2, not the whole campaign"):
        RunDirectory.create(shards / "first", RunDirectory.open(shards / "first").settings)


@pytest.mark.parametrize("text", ["3/2", "0/2", "x", "1/0"])
def test_bad_shards(fast_config, text, capsys):
    assert main(["run", str(fast_config("Al")), "--shard", text]) == 2
    assert "expected K/N" in capsys.readouterr().err
