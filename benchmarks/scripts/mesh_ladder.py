"""κ by the mesh ladder, or on the final mesh alone, against phono3py's own sum on the final mesh: time and difference.

    screen-cli run examples/demo.toml --run-dir demo-run
    python benchmarks/scripts/mesh_ladder.py demo-run --mesh 13 --ladder             # the final mesh alone
    python benchmarks/scripts/mesh_ladder.py demo-run --mesh 19 --ladder 0.4 0.6 0.7

Force constants come from the run. What is compared runs with the solver's own options (--options), the direct mesh
with --direct-options. CPU time of this process, so run with one thread (RAYON_NUM_THREADS=1). What has been computed
is kept in the output file and not computed again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from screen_cli.plugins.manager import installed_plugins
from screen_cli.store.run_directory import RunDirectory
from screen_cli.stages.conductivity import compute_conductivity
from screen_cli.physics.mesh_ladder import mesh_error, rungs


def kappa_on(run, row, mesh, options):
    """κ at 300 K (or the first temperature) on one mesh, and its CPU time."""
    import numpy as np

    keys = json.loads(row["keys"])
    displaced, fitted = (run.store.read(row["id"], stage, keys[stage]) for stage in ("displace", "force_constants"))
    settings = dataclasses.replace(
        run.settings.conductivity, mesh=mesh, ladder=[], temperatures=[300.0], keep_modes=False
    )
    solver = installed_plugins().get("conductivity_solvers", settings.solver).load()(**options)
    start = time.process_time()
    record = compute_conductivity(displaced, fitted, settings, solver)
    return {"kappa": float(np.mean(record.kappa_total[0, :3])), "cpu_s": time.process_time() - start}


def climb(values, meshes, tolerance):
    """Follow the ladder on known values: the rung it stops on, its estimate, the time it took."""
    import numpy as np

    seconds, error, kappas = 0.0, float("nan"), []
    for n, mesh in enumerate(meshes):
        seconds += values[mesh[0]]["cpu_s"]
        kappas.append(np.array([values[mesh[0]]["kappa"]]))
        if len(meshes) > 1:
            error = mesh_error(meshes[: n + 1], kappas, meshes[-1])
        if error < tolerance:
            break
    return mesh[0], error, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--mesh", type=int, default=19)
    parser.add_argument("--ladder", type=float, nargs="*", default=[0.4, 0.6, 0.7])
    parser.add_argument("--options", type=json.loads, default={}, help="solver options of the ladder, JSON")
    parser.add_argument("--direct-options", type=json.loads, default={"scattering": "phono3py"}, help="JSON")
    parser.add_argument("--only", nargs="+", help="formulas")
    parser.add_argument("--tolerance", type=float, default=0.03)
    parser.add_argument("--crystals", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("mesh_ladder.json"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    run = RunDirectory.open(arguments.run_dir)
    meshes = rungs([arguments.mesh] * 3, arguments.ladder)
    rows = [row for row in run.rows("kappa_total_w_mk > 0") if not arguments.only or row["formula"] in arguments.only]
    rows = rows[: arguments.crystals]
    print(f"{'crystal':<10}{'rung':>5}{'kappa':>10}{'direct':>10}{'off %':>9}{'est. %':>8}{'time share':>12}")
    total = direct_total = 0.0
    worst = 0.0
    for row in rows:
        values = known.setdefault(row["formula"], {})
        label, direct_label = (json.dumps(words) for words in (arguments.options, arguments.direct_options))
        wanted = {f"{mesh[0]} {label}": (mesh, arguments.options) for mesh in meshes}
        direct_name = f"{arguments.mesh} {direct_label}"
        for name, (mesh, options) in (wanted | {direct_name: (meshes[-1], arguments.direct_options)}).items():
            if name not in values:
                values[name] = kappa_on(run, row, mesh, options)
                arguments.output.write_text(json.dumps(known, indent=1))
        numbers = {mesh[0]: values[name] for name, (mesh, _) in wanted.items()}
        rung, error, seconds = climb(numbers, meshes, arguments.tolerance)
        kappa, direct = numbers[rung]["kappa"], values[direct_name]
        off = kappa / direct["kappa"] - 1
        worst = max(worst, abs(off))
        total, direct_total = total + seconds, direct_total + direct["cpu_s"]
        print(
            f"{row['formula']:<10}{rung:>5}{kappa:>10.3f}{direct['kappa']:>10.3f}{100 * off:>9.4f}{100 * error:>8.1f}"
            f"{seconds / direct['cpu_s']:>12.2f}",
            flush=True,
        )
    print(f"in all {total:.0f} s against {direct_total:.0f} s: {total / direct_total:.2f}; worst {100 * worst:.4f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
