"""The store at the size of the paper's campaign: 77,091 crystals through every stage, each stage instant.

    python benchmarks/scripts/scale.py [--crystals 77091] [--workers 2] [--folder DIR] [--output scale.json]

Everything but the physics is real: keys, records with checksums and fsync, worker processes, index, resume. What
comes out is what the host costs, and how fast a finished run answers. CPU time stands beside wall time, because a
shared machine stretches the latter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import psutil
from ase.data import chemical_symbols
from screen_cli.run import crystal as passage
from screen_cli.run import driver, pipeline
from screen_cli.config import settings_from_dict
from screen_cli.run.driver import execute, resolve
from screen_cli.run.rebuild import rebuild_index
from screen_cli.store.index import Index
from screen_cli.store.record import Record
from screen_cli.store.run_directory import RunDirectory

N_PAPER = 77_091


# -- instant physics -------------------------------------------------------------------------------


def numbers_of(context, n):
    """Numbers that look random and depend on the crystal alone."""
    return np.random.default_rng(int(context.structure.id, 16)).random(n)


def instant_relax(context, **_):
    atoms = context.structure.atoms
    data = {"volume": float(atoms.get_volume()), "energy_ev": -1.0, "n_steps": 12, "relax_converged": True}
    return Record(data, {"positions": atoms.positions, "cell": atoms.cell.array, "numbers": atoms.numbers})


def instant_displace(context, **_):
    displacements = np.zeros((12, 64, 3))
    return Record(
        {"n_supercells": 12, "n_supercell_atoms": 64}, {"displacements": displacements}, {"yaml": "a: 1\n" * 400}
    )


def instant_forces(context, **_):
    return Record({"max_force": 0.3}, {"forces": np.zeros((12, 64, 3))})


def instant_force_constants(context, **_):
    return Record({"fc2_norm": 1.0, "residual": 0.01, "trusted": True}, {"fc2": np.zeros((2, 64, 3, 3))})


def instant_harmonic(context, **_):
    frequency, msd, cv = numbers_of(context, 3)
    data = {"stable": bool(frequency > 0.65), "min_frequency_thz": float(frequency - 0.65), "max_msd": float(msd) / 5}
    return Record(data | {"cv_j_mol_k": float(cv) * 50}, {"dos": np.zeros((2, 201)), "bands": np.zeros((6, 51, 6))})


def instant_conductivity(context, **_):
    kappa = float(10 ** (2 * numbers_of(context, 4)[3] - 1))
    data = {"kappa_p_w_mk": 0.9 * kappa, "kappa_c_w_mk": 0.1 * kappa, "kappa_total_w_mk": kappa, "kappa_trusted": True}
    return Record(data, {"kappa": np.zeros((1, 6)), "mode_kappa_p": np.zeros((1, 20, 6, 6))})


def run_instantly(root, structure_id):
    """The worker's function: the real passage of a crystal, with instant stages."""
    for name in ("relax", "displace", "forces", "force_constants", "harmonic", "conductivity"):
        setattr(pipeline, f"_{name}", globals()[f"instant_{name}"])
    return passage.run_structure(root, structure_id)


def source(n):
    """The paper's prototypes in the paper's proportions, decorated with 63 elements."""
    from screen_cli.sources.decoration import _element_data

    elements = [symbol for symbol in chemical_symbols[1:84] if symbol in _element_data()][:63]
    return {"name": "prototypes", "options": {"elements": elements, "limit": n, "shares": "paper", "rule": "none"}}


# -- measuring -------------------------------------------------------------------------------------


class Memory:
    """Resident memory of the driver as the run goes."""

    def __init__(self):
        self.samples = []
        self.n = 0

    def reading(self, n_read):
        pass

    def started(self, n_total, n_finished):
        self.every = max(1, n_total // 20)

    def finished(self, row):
        self.n += 1
        if self.n % self.every == 0:
            self.samples.append((self.n, psutil.Process().memory_info().rss / 1e6))


class FirstCrystal:
    """When a resumed run hands its first crystal to the engine, and when that one is back."""

    def reading(self, n_read):
        pass

    def started(self, n_total, n_finished):
        self.start = time.perf_counter()

    def finished(self, row):
        self.end = time.perf_counter()


@contextlib.contextmanager
def timed(result, name):
    """Wall and CPU seconds, children included."""

    def cpu():
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    start, start_cpu = time.perf_counter(), cpu()
    yield
    result[name] = {"wall_s": time.perf_counter() - start, "cpu_s": cpu() - start_cpu}
    print(f"{name:<44}{result[name]['wall_s']:10.2f} s wall{result[name]['cpu_s']:10.2f} s CPU", flush=True)


def command(*words):
    """Run screen-cli in a process of its own, as a user does."""
    subprocess.run([sys.executable, "-m", "screen_cli", *map(str, words)], check=True, capture_output=True)


def sizes(root):
    """Files and bytes of the run directory."""
    n_files = n_bytes = n_disk = 0
    for folder, _, names in os.walk(root):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            n_files, n_bytes, n_disk = n_files + 1, n_bytes + status.st_size, n_disk + status.st_blocks * 512
    return {"files": n_files, "bytes": n_bytes, "bytes_on_disk": n_disk}


def measure(root, n, workers):
    settings = resolve(
        settings_from_dict(
            {
                "source": source(n),
                "calculator": {"name": "emt"},
                "conductivity": {"solver": "standard"},
                "engine": {"name": "local", "workers": workers},
            }
        )
    )
    result = {"crystals": n, "workers": workers}
    driver.run_structure = run_instantly
    run = RunDirectory.create(root, settings)
    memory = Memory()
    with timed(result, "everything: read, run, index"):
        summary = execute(run, observer=memory)
    result["counts"] = summary.counts
    result["memory_mb"] = memory.samples
    print(f"    {summary.counts}; driver {memory.samples[0][1]:.0f} MB early, {memory.samples[-1][1]:.0f} at the end")
    result["sizes"] = sizes(root)
    index_bytes = (root / "index.sqlite").stat().st_size
    result["index_bytes"] = index_bytes
    total = result["sizes"]
    print(f"    {total['files']} files, {total['bytes'] / 1e9:.2f} GB, index {index_bytes / 1e6:.0f} MB")
    with timed(result, "status"):
        command("status", root)
    with timed(result, "show: filter and sort, 20 rows"):
        where = "stable and kappa_total_w_mk < 1 and max_msd >= 0.076"
        command("show", root, "--filter", where, "--sort", "kappa_total_w_mk", "--limit", "20")
    index = Index(root / "index.sqlite", read_only=True)
    with timed(result, "index: filter and sort, every row read"):
        n_rows = len(list(index.rows(where, sort="kappa_total_w_mk")))
    index.close()
    print(f"    {n_rows} rows")
    with timed(result, "resume of a finished run"):
        again = execute(RunDirectory.open(root))
    assert again.n_processed == 0
    first = FirstCrystal()
    index = Index(root / "index.sqlite")
    index.update(next(iter(index.rows("state == 'done'", limit=1)))["id"], "pending")
    index.close()
    start = time.perf_counter()
    again = execute(RunDirectory.open(root), observer=first)
    assert again.n_processed == 1
    result["resume with one crystal pending"] = {"start_s": first.start - start, "first_back_s": first.end - start}
    print(
        f"resume with one crystal pending: engine after {first.start - start:.2f} s, its result after "
        f"{first.end - start:.2f} s"
    )
    with timed(result, "rebuild of the index"):
        rebuilt = rebuild_index(RunDirectory.open(root))
    assert rebuilt == summary.counts, rebuilt
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=N_PAPER)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the run directory goes (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=Path("scale.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        result = measure(Path(name) / "run", arguments.crystals, arguments.workers)
    arguments.output.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
