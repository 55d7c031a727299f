"""Real stages: ``screen-cli run`` on crystals of EMT, compared with a run that nobody disturbs."""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from storm import Count, Scene, program, rage

SCREEN = """
[source]
name = "prototypes"
options = {{ entries = [{entries}] }}
[calculator]
name = "emt"
[relax]
fmax = 1e-2
[displace]
dim = [1, 1, 1]
min_pairs = 1
[force_constants]
third_order = false
[harmonic]
mesh = [2, 2, 2]
phase_space = false
band_points = 2
[engine]
name = "local"
workers = 2
"""
METALS = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92, "Au": 4.08}


def soak(n_kills: int, seed: int) -> Count:
    """Kill ``screen-cli run`` and its processes at random, run after run, until there were so many kills."""
    chance, count = random.Random(seed), Count()
    entries = ", ".join(
        f'{{ prototype = "cu3au", elements = {{ A = "{a}", B = "{b}" }}, a = {(METALS[a] + METALS[b]) / 2} }}'
        for a in METALS
        for b in METALS
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "screen.toml"
        config.write_text(SCREEN.format(entries=entries))
        log = folder / "log"
        words = [sys.executable, "-m", "screen_cli", "run", str(config), "--no-report", "-q", "-d"]
        assert program([*words, str(folder / "calm")], log).wait() == 0, log.read_text()
        expected = physics(folder / "calm")
        number = 0
        while count.kills < n_kills and not count.faults:
            number += 1
            run_dir = folder / f"stormy-{number}"
            _one(run_dir, [*words, str(run_dir)], log, expected, (count, n_kills, chance))
    return count


def _one(
    run_dir: Path,
    words: list[str],
    log: Path,
    expected: dict[str, object],
    storm: tuple[Count, int, random.Random],
) -> None:
    """One run, disturbed, and what became of it."""
    count, n_kills, chance = storm
    hits: Counter[str] = Counter()
    written: dict[str, int] = {}

    def struck(pid: int) -> None:
        for path in run_dir.glob(f"running/*-{pid}.json"):
            note = json.loads(path.read_text() or "{}")
            hits[note.get("id", "")] += 1

    def progress() -> tuple[int, ...]:
        for path in run_dir.glob("records/*/*/*-*.json"):
            changed = path.stat().st_mtime_ns
            if written.setdefault(path.name, changed) != changed:
                count.repeated += 1
                count.notes.append(f"{path.name} was written again")
                written[path.name] = changed
        return len(written), len(list(run_dir.glob("records/*/*/structure.json")))

    count.tasks += len({name.partition("/")[0] for name in expected})
    scene = Scene(lambda: program(words, log), progress, log, pause=(0.5, 6.0), struck=struck)
    rage(scene, count, n_kills, chance)
    blamed = {path.stem for path in (run_dir / "failed").glob("*.json")}
    found = physics(run_dir)
    for name, data in expected.items():
        if name.partition("/")[0] not in blamed and not agree(data, found.get(name)):
            count.lost += name not in found
            count.wrong += name in found
            count.notes.append(f"{name}: {found.get(name)}, expected {data}")
    for name in blamed:
        if hits[name] < 2:
            count.wrongly_blamed += 1
            count.notes.append(f"{name} was blamed after {hits[name]} deaths")


def physics(run_dir: Path) -> dict[str, object]:
    """Data of each record."""
    paths = run_dir.glob("records/*/*/*-*.json")
    return {f"{path.parent.name}/{path.name}": json.loads(path.read_text())["data"] for path in paths}


def agree(first: object, other: object) -> bool:
    """Whether two values are equal to rounding.

    A calculator may keep a neighbour list from stage to stage; made anew after a kill, it sums in another order.
    """
    if isinstance(first, dict) and isinstance(other, dict):
        return first.keys() == other.keys() and all(agree(first[key], other[key]) for key in first)
    if isinstance(first, list) and isinstance(other, list):
        return len(first) == len(other) and all(map(agree, first, other))
    if isinstance(first, float) and isinstance(other, float):
        return math.isclose(first, other, rel_tol=1e-6, abs_tol=1e-6)  # THz at Γ, W/(m K)
    return first == other
