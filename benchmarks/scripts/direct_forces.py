"""Why direct forces need random displacements: fc2, fc3 and κ of NaCl from both heads, by both routes.

    python benchmarks/scripts/direct_forces.py --minutes 5 --figure direct-forces.svg
    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/direct_forces.py --minutes 2 --markdown table.md

A direct and a conservative e-sdnnff are trained on the same supercells of 64 atoms, labelled by DFT or, without
reference data, by the weights in the wheel. Each then labels (a) the 146 single and paired displacements of phono3py's
finite-difference route, taken as it is and with symmetry and sum rules imposed afterwards, and (b) random displacements
of all atoms. Force constants are compared with those fitted to the labels of 100 supercells; κ is RTA, 300 K.
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
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from force_field_nacl import train
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from phonopy.harmonic.dynamical_matrix import get_dynamical_matrix
from phonopy.physical_units import get_physical_units
from phonopy.structure.atoms import PhonopyAtoms

from sdnnff_calc import SDNNFF
from sdnnff_calc.config import EquivariantConfig


def to_ase(cell: Any) -> Atoms:
    return Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def labelled_salt(source: str | None) -> tuple[Any, str]:
    """NaCl with 100 randomly displaced supercells of 64 atoms and their forces, and where these come from."""
    if source is not None:
        yaml = Path(source) / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
        return phono3py.load(yaml, produce_fc=False, log_level=0), "DFT"
    teacher = SDNNFF()
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    salt.calc = teacher
    BFGS(FrechetCellFilter(salt, hydrostatic_strain=True), logfile=None).run(fmax=1e-4)
    cell = PhonopyAtoms(symbols=salt.symbols, cell=salt.cell.array, scaled_positions=salt.get_scaled_positions())
    ph3 = phono3py.Phono3py(cell, supercell_matrix=np.diag([2, 2, 2]), primitive_matrix="F", log_level=0)
    ph3.generate_displacements(number_of_snapshots=100, distance=0.03, random_seed=0)
    ph3.forces = np.array(
        [r["forces"] for r in teacher.predict([to_ase(c) for c in ph3.supercells_with_displacements])]
    )
    return ph3, "the weights in the wheel"


def labelled_supercells(ph3: Any, n: int) -> list[Atoms]:
    """The first n supercells with their forces."""
    cells = [to_ase(c) for c in ph3.supercells_with_displacements[:n]]
    for atoms, forces in zip(cells, ph3.forces, strict=False):
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
    return cells


def plot(rows: list[dict[str, Any]], kappa: float, path: Path) -> None:
    """κ against the number of random supercells; finite differences as crosses."""
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(kappa, color="black", linewidth=0.8, label="from the labels")
    for head, colour in (("direct", "tab:red"), ("conservative", "tab:blue")):
        fits = [r for r in rows if r["head"] == head and r["route"].startswith("random")]
        single, symmetrised = (r for r in rows if r["head"] == head and not r["route"].startswith("random"))
        axes.plot(
            [r["n_supercells"] for r in fits], [r["kappa"] for r in fits], "o-", color=colour, label=f"{head}, fit"
        )
        for row, marker, label in ((single, "x", "finite differences"), (symmetrised, "+", "the same, symmetrised")):
            axes.plot(row["n_supercells"], row["kappa"], marker, color=colour, label=f"{head}, {label}")
    axes.set(xlabel="supercells evaluated", ylabel="κ of NaCl, 300 K (W/(m K))")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path)


def properties(ph3: Any, solver: str | None, mesh: int, symmetrised: bool = False) -> dict[str, Any]:
    """Full fc2 and fc3 in the 64-atom cell, κ_xx (W/mK) and the acoustic modes at Γ (THz), zero by the sum rule."""
    ph3.produce_fc3(fc_calculator=solver)
    ph3.produce_fc2(fc_calculator=solver)
    if symmetrised:
        ph3.symmetrize_fc3()
        ph3.symmetrize_fc2()
    ph3.mesh_numbers = [mesh] * 3
    ph3.init_phph_interaction()
    ph3.run_thermal_conductivity(temperatures=[300])
    kappa = float(np.ravel(ph3.thermal_conductivity.kappa)[0])
    return {"fc2": ph3.fc2, "fc3": ph3.fc3, "kappa": kappa, "gamma": acoustic_at_gamma(ph3)}


def acoustic_at_gamma(ph3: Any) -> float:
    """Largest |frequency| of the three acoustic modes at Γ, THz."""
    matrix = get_dynamical_matrix(ph3.fc2, ph3.phonon_supercell, ph3.phonon_primitive)
    matrix.run([0.0, 0.0, 0.0])
    values = np.linalg.eigvalsh(matrix.dynamical_matrix)
    smallest = values[np.argsort(np.abs(values))[:3]]
    return float(np.sqrt(np.abs(smallest).max()) * get_physical_units().DefaultToTHz)


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
    parser.add_argument("--train", type=int, default=20, help="supercells to train on")
    parser.add_argument("--mesh", type=int, default=11)
    parser.add_argument("--cutoff", type=float, default=6.0)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--figure", type=Path, help="κ against the number of supercells")
    parser.add_argument("--supercells", type=int, nargs="+", default=[20, 100], help="random ones, for the fits")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    if max(*arguments.supercells, arguments.train) > 100:
        parser.error("there are 100 random supercells.")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    source, labels = labelled_salt(os.environ.get("SDNNFF_REFERENCE_DATA"))
    small = labelled_supercells(source, arguments.train)
    displacements, forces = source.displacements, source.forces

    reference = new_phono3py(source)
    reference.displacements, reference.forces = displacements, forces
    dft = properties(reference, "symfc", arguments.mesh)
    rows: list[dict[str, Any]] = []
    print(f"{labels}, 100 random supercells: kappa {dft['kappa']:.3f} W/mK", flush=True)
    for head in ("direct", "conservative"):
        config = EquivariantConfig(cutoff=arguments.cutoff, head=head)  # type: ignore[arg-type]
        model = train(config, small, arguments.minutes, 0)
        routes = [
            "finite differences",
            "the same, symmetrised",
            *(f"random, {n} supercells" for n in arguments.supercells),
        ]
        for route in routes:
            ph3 = new_phono3py(source)
            if not route.startswith("random"):
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
            got = properties(ph3, solver, arguments.mesh, symmetrised=route == routes[1])
            row = {
                "head": head,
                "route": route,
                "n_supercells": len(cells),
                "fc2_error": relative(got["fc2"], dft["fc2"]),
                "fc3_error": relative(got["fc3"], dft["fc3"]),
                "kappa": got["kappa"],
                "kappa_error": got["kappa"] / dft["kappa"] - 1,
                "acoustic_at_gamma": got["gamma"],
            }
            rows.append(row)
            print(
                f"{head:13s} {route:24s} fc2 {100 * row['fc2_error']:6.2f} %  fc3 {100 * row['fc3_error']:7.2f} %  "
                f"kappa {row['kappa']:8.3f} ({100 * row['kappa_error']:+.1f} %)  "
                f"acoustic at gamma {row['acoustic_at_gamma']:.3f} THz",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"labels": labels, "kappa_of_labels": dft["kappa"], "rows": rows}, indent=1), encoding="utf-8"
        )
    if arguments.figure:
        plot(rows, dft["kappa"], arguments.figure)
    if arguments.markdown:
        lines = [
            "| head | displacements | supercells | fc2 error | fc3 error | κ (W/mK) | κ error | acoustic at Γ (THz) |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['head']} | {r['route']} | {r['n_supercells']} | {100 * r['fc2_error']:.2f} % | "
            f"{100 * r['fc3_error']:.1f} % | {r['kappa']:.2f} | {100 * r['kappa_error']:+.1f} % | "
            f"{r['acoustic_at_gamma']:.2f} |"
            for r in rows
        ]
        arguments.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
