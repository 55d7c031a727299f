"""Random kills of drivers and workers, and what they cost: ``python tests/soak/kills.py --kills 300``.

Light tasks run on a local engine while workers, the driver, or both at once are killed at random times; a killed driver
is started again until all tasks are reported. Counted are tasks lost (never reported), repeated (finished twice), hung
(no progress for two minutes), wrongly blamed (given up without two kills while they ran), and processes that outlive
a driver by more than the limit. ``--real`` does the same to ``screen-cli run`` with EMT crystals and compares the
data of every record with those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from screen_cli.engines import guard

PATIENCE = 120.0
ORPHANS_MAY_LIVE = 60.0
DRIVER = Path(__file__).with_name("light_driver.py")


@dataclass
class Count:
    """What a soak found."""

    kills: int = 0
    drivers_killed: int = 0
    workers_killed: int = 0
    tasks: int = 0
    lost: int = 0
    repeated: int = 0
    hung: int = 0
    wrongly_blamed: int = 0
    orphans: int = 0
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        """What must be zero."""
        return self.lost + self.repeated + self.hung + self.wrongly_blamed + self.orphans


def workers_of(driver: int) -> list[int]:
    """Workers (leaders of their sessions) that carry the mark of a driver."""
    return [pid for pid in guard.marked(f"{driver}-") if _leads_session(pid)]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def light(n_kills: int, seed: int, *, workers: int = 2, task_seconds: float = 0.2) -> Count:
    """Kill light drivers and workers at random."""
    chance = random.Random(seed)
    count = Count(tasks=max(20, 8 * n_kills))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger"
        ledger.touch()
        killed: list[int] = []
        command = [sys.executable, str(DRIVER), folder, str(count.tasks), str(workers), str(task_seconds)]
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        size, progress = 0, time.monotonic()
        while driver.poll() is None or _reported(ledger) < count.tasks:
            if driver.poll() is not None:
                count.orphans += _orphans(driver.pid)
                driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.1, 1.5))
            if ledger.stat().st_size != size:
                size, progress = ledger.stat().st_size, time.monotonic()
            elif time.monotonic() - progress > PATIENCE:
                count.hung += 1
                driver.kill()
                driver.wait()
                progress = time.monotonic()
                continue
            if count.kills < n_kills and driver.poll() is None:
                _kill(driver, killed, count, chance)
        count.orphans += _orphans(driver.pid)
        _judge(ledger, killed, count)
    count.seconds = round(time.monotonic() - start, 1)
    return count


def _kill(driver: subprocess.Popen[bytes], killed: list[int], count: Count, chance: random.Random) -> None:
    """Kill one worker, several, the driver, or driver and workers together."""
    workers = workers_of(driver.pid)
    what = chance.choices(["worker", "workers", "driver", "both"], [0.7, 0.1, 0.1, 0.1])[0]
    if not workers:
        return
    chosen = chance.sample(workers, len(workers) if what in ("workers", "both") else 1) if what != "driver" else []
    for pid in chosen:
        try:
            os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        except ProcessLookupError:
            continue
        killed.append(pid)
        count.workers_killed += 1
        count.kills += 1
    if what in ("driver", "both"):
        driver.kill()
        driver.wait()
        count.drivers_killed += 1
        count.kills += 1


def _reported(ledger: Path) -> int:
    """Number of tasks that a driver reported."""
    return len({line.split()[1] for line in ledger.read_text().splitlines() if line.startswith("result")})


def _orphans(driver: int) -> int:
    """Processes of a dead driver that live on beyond the limit; they are ended."""
    deadline = time.monotonic() + ORPHANS_MAY_LIVE
    while (left := guard.marked(f"{driver}-")) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        guard.kill_group(pid)
    return len(left)


def _judge(ledger: Path, killed: list[int], count: Count) -> None:
    """Read the ledger: what was lost, repeated, or blamed without two deaths."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    ended = Counter(words[1] for words in lines if words[0] == "end")
    results = Counter(words[1] for words in lines if words[0] == "result" and words[2] == "ok")
    blamed = {words[1] for words in lines if words[0] == "result" and words[2] != "ok"}
    last_of = {int(words[2]): words[1] for words in lines if words[0] == "begin"}  # what each worker began last
    deaths = Counter(last_of[pid] for pid in set(killed) if pid in last_of)
    count.lost += count.tasks - len(results.keys() | blamed)
    count.repeated += sum(n - 1 for n in ended.values())
    count.wrongly_blamed += sum(deaths[task] < 2 for task in blamed)


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


def real(n_kills: int, seed: int) -> Count:
    """Kill ``screen-cli run`` and its workers at random; compare with an undisturbed run."""
    chance = random.Random(seed)
    entries = ", ".join(
        f'{{ prototype = "cu3au", elements = ["{first}", "{second}"], a = {(METALS[first] + METALS[second]) / 2} }}'
        for first in METALS
        for second in METALS
    )
    count = Count(tasks=len(METALS) ** 2)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "screen.toml"
        config.write_text(SCREEN.format(entries=entries))

        def screen(run_dir: Path) -> subprocess.Popen[bytes]:
            words = [sys.executable, "-m", "screen_cli", "run", str(config), "-d", str(run_dir), "--no-report", "-q"]
            return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        assert screen(folder / "undisturbed").wait() == 0
        driver, finished = screen(folder / "run"), {}
        started = time.monotonic()
        while (code := driver.poll()) != 0:
            if code is not None:
                count.orphans += _orphans(driver.pid)
                driver, started = screen(folder / "run"), time.monotonic()
            time.sleep(chance.uniform(1.0, 8.0))
            if time.monotonic() - started > 5 * PATIENCE:
                count.hung += 1
                driver.kill()
            elif count.kills < n_kills and driver.poll() is None:
                _kill(driver, [], count, chance)
                for path, changed in _records(folder / "run").items():
                    count.repeated += finished.setdefault(path, changed) != changed
        expected, found = _physics(folder / "undisturbed"), _physics(folder / "run")
        count.lost = sum(not _agree(data, found.get(name)) for name, data in expected.items())
        count.wrongly_blamed = len(list((folder / "run" / "failed").glob("*.json")))
        count.orphans += _orphans(driver.pid)
    count.seconds = round(time.monotonic() - start, 1)
    return count


def _records(run_dir: Path) -> dict[str, int]:
    """When each record was written."""
    return {path.name: path.stat().st_mtime_ns for path in run_dir.glob("records/*/*/*-*.json")}


def _physics(run_dir: Path) -> dict[str, dict[str, object]]:
    """Data of each record."""
    paths = run_dir.glob("records/*/*/*-*.json")
    return {f"{path.parent.name}/{path.name}": json.loads(path.read_text())["data"] for path in paths}


def _agree(first: object, other: object) -> bool:
    """Whether two values are equal to rounding.

    A calculator may keep a neighbour list from stage to stage; made anew after a kill, it sums in another order.
    """
    if isinstance(first, dict) and isinstance(other, dict):
        return first.keys() == other.keys() and all(_agree(first[key], other[key]) for key in first)
    if isinstance(first, list) and isinstance(other, list):
        return len(first) == len(other) and all(map(_agree, first, other))
    if isinstance(first, float) and isinstance(other, float):
        return math.isclose(first, other, rel_tol=1e-6, abs_tol=1e-6)  # THz at Γ, W/(m K)
    return first == other


def main() -> int:
    """Run the soak and print what it found as JSON; 1 when anything was lost, repeated, hung, blamed or left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="screen-cli run with EMT instead of light tasks")
    arguments = parser.parse_args()
    count = (real if arguments.real else light)(arguments.kills, arguments.seed)
    print(json.dumps(asdict(count), indent=1))
    return 1 if count.faults else 0


if __name__ == "__main__":
    sys.exit(main())
