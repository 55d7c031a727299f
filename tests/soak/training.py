"""The training of sdnnff-calc, killed at any step; the model must be the one of a training that nobody disturbs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from ase.io import write
from storm import Count, Forked, Scene, rage

from sdnnff_calc import load_model
from sdnnff_calc.cli import main
from sdnnff_calc.testing import label_with_emt

CONFIG = """
[model]
kind = "e-sdnnff"
n_radial = 4
n_element_channels = 3
n_channels = 8
n_hidden = 16
cutoff = 4.5
[data]
train = ["{folder}/copper.xyz"]
validation_fraction = 0.2
split_by = "supercell"
[training]
epochs = 25
n_members = 2
batch_atoms = 32
warmup_steps = 5
seed = 3
ema_decay = 0.9
checkpoint_minutes = 0.0
"""


def soak(n_kills: int, seed: int) -> Count:
    """Kill ``sdnnff train`` at random, training after training, until there were so many kills."""
    chance, count = random.Random(seed), Count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "copper.xyz", label_with_emt(24), format="extxyz")
        (folder / "train.toml").write_text(CONFIG.format(folder=folder))
        calm = start(folder, folder / "calm")
        calm.wait()
        assert calm.poll() == 0, (folder / "calm.log").read_text()
        expected = checksums(folder / "calm")
        number = 0
        while count.kills < n_kills and not count.faults:
            number += 1
            workdir = folder / f"stormy-{number}"

            def progress(workdir: Path = workdir) -> tuple[int, ...]:
                return tuple(path.stat().st_mtime_ns for path in sorted(workdir.glob("*/resume-*.pt")))

            scene = Scene(
                lambda workdir=workdir: start(folder, workdir),
                progress,
                workdir.with_suffix(".log"),
                pause=(0.05, 2.5),
                has_helpers=False,
            )
            rage(scene, count, n_kills, chance)
            count.tasks += len(expected)
            found = checksums(workdir)
            count.lost += len(expected) - len(found)
            differ = [name for name in found if found[name] != expected.get(name)]
            count.wrong += len(differ)
            count.notes += [f"{name} is another model than without kills" for name in differ]
    return count


def start(folder: Path, workdir: Path) -> Forked:
    """Start a training, or let it go on."""
    words = ["train", str(folder / "train.toml"), "--workdir", str(workdir)]
    return Forked(lambda: main(words), workdir.with_suffix(".log"))


def checksums(workdir: Path) -> dict[str, str]:
    """Checksum of each member's model."""
    return {path.parent.name: load_model(path).checksum for path in sorted(workdir.glob("*/model.pt"))}
