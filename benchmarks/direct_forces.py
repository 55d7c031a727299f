"""Why direct forces need random displacements: fc2, fc3 and κ of NaCl from both heads, by both routes.

    SDNNFF_REFERENCE_DATA=... python benchmarks/direct_forces.py --minutes 2 --markdown table.md

A direct and a conservative e-sdnnff are trained on the same 20 DFT supercells. Each then labels (a) the 146
single and paired displacements of phono3py's finite-difference route and (b) the random displacements of the
data set. Force constants of both routes are compared with those fitted to the DFT forces; κ is RTA, 300 K.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import phono3py
import torch
from ase import Atoms
from force_field_nacl import train
from numpy.typing import NDArray

from sdnnff_calc import SDNNFF
from sdnnff_calc.config import EquivariantConfig
from sdnnff_calc.data import iterate_structures


def to_ase(cell: Any) -> Atoms:
    return Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def properties(ph3: Any, solver: str | None, mesh: int) -> dict[str, Any]:
    """Full fc2 and fc3 in the 64-atom cell, and κ_xx (W/mK)."""
    ph3.produce_fc3(fc_calculator=solver)
    ph3.produce_fc2(fc_calculator=solver)
    ph3.mesh_numbers = [mesh] * 3
    ph3.init_phph_interaction()
    ph3.run_thermal_conductivity(temperatures=[300])
    return {"fc2": ph3.fc2, "fc3": ph3.fc3, "kappa": float(np.ravel(ph3.thermal_conductivity.kappa)[0])}


def new_phono3py(source: Any) -> Any:
    """The same crystal with one 64-atom supercell for both orders, so that routes differ in nothing else."""
    ph3 = phono3py.Phono3py(
        source.unitcell, supercell_matrix=source.supercell_matrix, primitive_matrix=source.primitive_matrix, log_level=0
    )
    ph3.nac_params = source.nac_params
    return ph3


def relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--mesh", type=int, default=11)
    parser.add_argument("--cutoff", type=float, default=6.0)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    yaml = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
    source = phono3py.load(yaml, produce_fc=False, log_level=0)
    small = [a for a in iterate_structures([yaml]) if len(a) == 64]
    displacements, forces = source.displacements, source.forces

    reference = new_phono3py(source)
    reference.displacements, reference.forces = displacements, forces
    dft = properties(reference, "symfc", arguments.mesh)
    rows: list[dict[str, Any]] = []
    print(f"DFT, 100 random supercells: kappa {dft['kappa']:.3f} W/mK", flush=True)
    for head in ("direct", "conservative"):
        config = EquivariantConfig(cutoff=arguments.cutoff, head=head)  # type: ignore[arg-type]
        model = SDNNFF(train(config, small[:20], arguments.minutes, 0).model, device="cpu", dtype=None)
        for route in ("finite differences", "random, 20 supercells", "random, 100 supercells"):
            ph3 = new_phono3py(source)
            if route == "finite differences":
                ph3.generate_displacements(distance=0.03)
                cells = [to_ase(c) for c in ph3.supercells_with_displacements]
                equilibrium = model.predict([to_ase(ph3.supercell)])[0]["forces"]
                solver = None
            else:
                n = int(route.split()[1])
                ph3.displacements = displacements[:n]
                cells = [to_ase(c) for c in ph3.supercells_with_displacements]
                equilibrium = 0.0
                solver = "symfc"
            ph3.forces = np.array([r["forces"] for r in model.predict(cells)]) - equilibrium
            got = properties(ph3, solver, arguments.mesh)
            row = {
                "head": head,
                "route": route,
                "n_supercells": len(cells),
                "fc2_error": relative(got["fc2"], dft["fc2"]),
                "fc3_error": relative(got["fc3"], dft["fc3"]),
                "kappa": got["kappa"],
                "kappa_error": got["kappa"] / dft["kappa"] - 1,
            }
            rows.append(row)
            print(
                f"{head:13s} {route:24s} fc2 {100 * row['fc2_error']:6.2f} %  fc3 {100 * row['fc3_error']:7.2f} %  "
                f"kappa {row['kappa']:8.3f} ({100 * row['kappa_error']:+.1f} %)",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"kappa_dft": dft["kappa"], "rows": rows}, indent=1), encoding="utf-8")
    if arguments.markdown:
        lines = [
            "| head | displacements | supercells | fc2 error | fc3 error | κ (W/mK) | κ error |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['head']} | {r['route']} | {r['n_supercells']} | {100 * r['fc2_error']:.2f} % | "
            f"{100 * r['fc3_error']:.1f} % | {r['kappa']:.2f} | {100 * r['kappa_error']:+.1f} % |"
            for r in rows
        ]
        arguments.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
