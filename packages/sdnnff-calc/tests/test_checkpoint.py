"""Checkpoints: round trip, corruption, versions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from sdnnff_calc import SDNNFF
from sdnnff_calc.errors import CheckpointError, CheckpointVersionError
from sdnnff_calc.models import checkpoint
from sdnnff_calc.models.checkpoint import FORMAT_VERSION, KEYS, Model, git_version, load_model, save_model
from sdnnff_calc.testing import toy_model

OLD = Path(__file__).parent / "checkpoints"


def test_round_trip_is_exact(any_model: Model, salt: Atoms, tmp_path: Path) -> None:
    any_model.card["data"] = "toy"
    path = save_model(any_model, tmp_path / "model.pt")
    again = load_model(path)
    assert again.config == any_model.config
    assert again.elements == any_model.elements
    assert again.statistics == any_model.statistics
    assert again.card == {"data": "toy"}
    assert set(again.provenance) == {"sdnnff-calc", "torch", "e3nn", "git"}
    assert again.checksum == any_model.checksum
    before, after = (SDNNFF(m).predict([salt])[0]["forces"] for m in (any_model, again))
    assert np.array_equal(before, after)


def test_file_holds_every_documented_key(any_model: Model, tmp_path: Path) -> None:
    content = torch.load(save_model(any_model, tmp_path / "m.pt"), weights_only=True)
    assert set(content) == set(KEYS)
    assert content["units"]["force"] == "eV/Angstrom"


def test_a_flipped_weight_is_found(tmp_path: Path) -> None:
    path = save_model(toy_model("direct-1"), tmp_path / "m.pt")
    content = torch.load(path, weights_only=True)
    name = next(n for n, t in content["weights"].items() if t.is_floating_point())
    content["weights"][name].view(-1)[0] += 1.0
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="checksum"):
        load_model(path)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = save_model(toy_model("direct-1"), tmp_path / "m.pt")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = save_model(toy_model("direct-1"), tmp_path / "m.pt")
    content = torch.load(path, weights_only=True)
    content["format_version"] = FORMAT_VERSION + 1
    torch.save(content, path)
    with pytest.raises(CheckpointVersionError, match="Upgrade"):
        load_model(path)


@pytest.mark.parametrize("version", [0, -1, "2", None])
def test_a_version_that_never_was_is_refused(tmp_path: Path, version: object) -> None:
    path = save_model(toy_model("direct-1"), tmp_path / "m.pt")
    content = torch.load(path, weights_only=True)
    content["format_version"] = version
    torch.save(content, path)
    with pytest.raises(CheckpointVersionError, match="reads 1 to"):
        load_model(path)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_or_changed_entry_is_found(tmp_path: Path, key: str) -> None:
    path = save_model(toy_model("direct-1"), tmp_path / "m.pt")
    content = torch.load(path, weights_only=True)
    torch.save({k: v for k, v in content.items() if k != key}, path)
    with pytest.raises(CheckpointError):
        load_model(path)
    if key in ("config", "elements", "statistics", "weights", "checksum"):
        torch.save({**content, key: [1]}, path)
        with pytest.raises(CheckpointError):
            load_model(path)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_provenance_takes_the_commit_of_its_own_tree_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    file = tmp_path / "checkpoint.py"
    file.write_text("x = 1\n")
    (tmp_path / "other").write_text("a project around the environment\n")
    monkeypatch.setattr(checkpoint, "__file__", str(file))
    assert git_version() == ""
    git("init", "-q")
    git("add", "other")
    git("commit", "-qm", "one")
    assert git_version() == ""
    git("add", "checkpoint.py")
    git("commit", "-qm", "two")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert git_version() == commit
    file.write_text("x = 2\n")
    assert git_version() == f"{commit}-dirty"


def test_provenance_without_git_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_version() == ""
    model = toy_model("direct-1")
    save_model(model, tmp_path / "m.pt")
    assert model.provenance["git"] == ""


def test_other_torch_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no sdnnff-calc checkpoint"):
        load_model(tmp_path / "other.pt")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    model = toy_model("direct-1")
    model.config = toy_model("conservative-2").config
    with pytest.raises(CheckpointError, match="do not fit"):
        load_model(save_model(model, tmp_path / "m.pt"))


@pytest.mark.parametrize("path", sorted(OLD.glob("*.pt")), ids=lambda p: p.stem)
def test_every_past_version_keeps_loading_and_predicting(path: Path, salt: Atoms) -> None:
    """Each stored file comes with the forces it gave on the salt fixture when it was written."""
    expected = np.load(path.with_suffix(".npy"))
    assert np.allclose(SDNNFF(path).predict([salt])[0]["forces"], expected, rtol=1e-4, atol=1e-6)


def test_every_version_has_a_stored_file() -> None:
    for version in range(1, FORMAT_VERSION + 1):
        assert list(OLD.glob(f"v{version}-*.pt")), f"no checkpoint of format version {version} is kept"
