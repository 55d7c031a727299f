"""Speed of the main job: the whole chain for one crystal, two workers against one, overhead of store and engine.

    python benchmarks/scripts/pipeline.py [--crystals 12] [--output pipeline.json]

Prints a table and writes JSON. The peer of the chain is a script of plain ASE + phono3py calls without host, store
or engine, in the same process: the ratio is what the framework costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from screen_cli.config import settings_from_dict
from screen_cli.run.driver import execute, resolve
from screen_cli.store.run_directory import RunDirectory

NACL = {"prototype": "rocksalt", "elements": ["Na", "Cl"], "a": 5.64}


def nacl_settings(**engine):
    return resolve(
        settings_from_dict(
            {
                "source": {"name": "prototypes", "options": {"entries": [NACL]}},
                "calculator": {"name": "sevennet", "options": {"model": "0", "device": "cpu"}},
                "displace": {"dim": [2, 2, 2]},
                "conductivity": {"mesh": [11, 11, 11]},
                "engine": {"name": "serial", **engine},
            }
        )
    )


def chain(folder: Path) -> dict:
    """NaCl with SevenNet-0 at 11³, one core: total and stage shares."""
    import torch

    torch.set_num_threads(1)
    run = RunDirectory.create(folder / "chain", nacl_settings())
    start = time.perf_counter()
    execute(run)
    total = time.perf_counter() - start
    index = run.index(read_only=True)
    stages = {stage: seconds for stage, _, seconds, _ in index.stage_costs()}
    (row,) = index.rows()
    index.close()
    assert row["state"] == "done", row["reason"]
    return {"total_s": total, "stages_s": stages, "kappa_total_w_mk": row["kappa_total_w_mk"]}


def plain_script() -> dict:
    """The peer: the same physics as a script of ASE and phono3py calls."""
    import torch
    from ase.build import bulk
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms
    from sevenn.calculator import SevenNetCalculator

    torch.set_num_threads(1)
    start = time.perf_counter()
    calculator = SevenNetCalculator("7net-0", device="cpu")
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4)
    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phono3py = Phono3py(cell, np.diag([2, 2, 2]), primitive_matrix="auto")
    phono3py.generate_displacements(distance=0.03, number_of_snapshots=6, is_plusminus=True, random_seed=1)
    forces = []
    for supercell in phono3py.supercells_with_displacements:
        from ase import Atoms

        displaced = Atoms(
            numbers=supercell.numbers,
            positions=supercell.positions,
            cell=supercell.cell,
            pbc=True,
            calculator=calculator,
        )
        forces.append(displaced.get_forces())
    phono3py.forces = np.array(forces)
    phono3py.produce_fc3(fc_calculator="symfc")
    phono3py.mesh_numbers = [11, 11, 11]
    phono3py.init_phph_interaction()
    phono3py.run_thermal_conductivity(temperatures=[300.0], is_isotope=True)
    kappa = float(np.asarray(phono3py.thermal_conductivity.kappa).ravel()[0])
    return {"total_s": time.perf_counter() - start, "kappa_p_w_mk": kappa}


def two_workers(folder: Path, n_crystals: int) -> dict:
    """The same crystals with one and with two local workers."""
    spread = np.linspace(5.50, 5.80, n_crystals)  # relaxation is off, so that each is another crystal
    entries = [{**NACL, "a": float(a)} for a in spread]
    seconds = {}
    for workers in (1, 2):
        settings = resolve(
            settings_from_dict(
                {
                    "source": {"name": "prototypes", "options": {"entries": entries}},
                    "calculator": {"name": "sevennet", "options": {"model": "0", "device": "cpu"}},
                    "relax": {"enabled": False},
                    "displace": {"dim": [2, 2, 2]},
                    "gate": {"require_stable": False},
                    "conductivity": {"mesh": [7, 7, 7]},
                    "engine": {"name": "local", "workers": workers, "options": {"threads": 1}},
                }
            )
        )
        start = time.perf_counter()
        summary = execute(RunDirectory.create(folder / f"workers-{workers}", settings))
        seconds[workers] = time.perf_counter() - start
        assert summary.counts == {"done": n_crystals}, summary
    return {"one_s": seconds[1], "two_s": seconds[2], "ratio": seconds[1] / seconds[2], "crystals": n_crystals}


def overhead(folder: Path, n_tasks: int = 300) -> dict:
    """Store and engine around stages that take no time: milliseconds per task (one stage record each)."""
    from screen_cli.engines.local import LocalEngine
    from screen_cli.store.record import Record
    from screen_cli.config import EngineSettings
    from screen_cli.store.records import RecordStore
    from screen_cli.testing import echo_task

    store = RecordStore(folder / "overhead")
    record = Record({"kappa": 1.0}, {"forces": np.zeros((12, 64, 3))})
    start = time.perf_counter()
    for number in range(n_tasks):
        store.write(f"{number:012x}", "forces", "k", record, seconds=0.0)
    write_ms = 1e3 * (time.perf_counter() - start) / n_tasks
    start = time.perf_counter()
    for number in range(n_tasks):
        assert store.read(f"{number:012x}", "forces", "k") is not None
    read_ms = 1e3 * (time.perf_counter() - start) / n_tasks
    engine = LocalEngine(EngineSettings(workers=1))
    results = engine.run(echo_task, map(str, range(n_tasks + 1)))
    next(results)  # the pool has started
    start = time.perf_counter()
    n_done = sum(1 for _ in results)
    engine_ms = 1e3 * (time.perf_counter() - start) / n_done
    return {"store_write_ms": write_ms, "store_read_ms": read_ms, "engine_ms": engine_ms}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=12)
    parser.add_argument("--only", choices=["workers", "chain", "overhead"], help="run one part")
    parser.add_argument("--output", type=Path, default=Path("pipeline.json"))
    arguments = parser.parse_args()
    result: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.only in (None, "overhead"):
            result["overhead"] = overhead(folder)
            for key, value in result["overhead"].items():
                print(f"{key:<44}{value:8.2f} ms")
        if arguments.only in (None, "chain"):
            plain_script()  # imports and first-call costs fall on neither side
            result["chain"], result["plain_script"] = chain(folder), plain_script()
            total = result["chain"]["total_s"]
            print(f"{'chain, NaCl 11³, SevenNet-0, one core':<44}{total:8.2f} s   (target < 40)")
            for stage, seconds in result["chain"]["stages_s"].items():
                hourly = 3600 / max(seconds, 1e-9)
                print(
                    f"    {stage:<40}{seconds:8.2f} s   {100 * seconds / total:5.1f} %{hourly:9.0f} per hour and core"
                )
            print(f"{'plain ASE + phono3py script (no κ_C, no P3)':<44}{result['plain_script']['total_s']:8.2f} s")
        if arguments.only in (None, "workers"):
            result["workers"] = two_workers(folder, arguments.crystals)
            print(f"{'two workers over one':<44}{result['workers']['ratio']:8.2f} x   (target 1.85)")
    arguments.output.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
