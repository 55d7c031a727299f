"""Why fc3 and strained crystals may give different Grüneisen parameters: which part is code, supercell, fit, model.

    python benchmarks/scripts/grueneisen_identity.py --output grueneisen.json [--only analytic --only supercell]

Three routes from the same fc2, which differ in the derivative of Φ under a strain alone:

fit         fc3 of a least-squares fit to random displacements, contracted with the strain (the route 'fc3')
contracted  the same contraction without a fit: one atom moved by ±d in a supercell whose other atoms are displaced as
            the strain displaces them, seen from that atom, the cell kept. Differs from 'fit' by the fit and by the
            internal strain, which 'fit' takes from its fc2 and the others from relaxed ions
strained    fc2 of strained crystals (the route 'strain'). Differs from 'contracted' by the range of the model: atoms
            beyond half a supercell have no place of their own, and the contraction puts them at their nearest image

γ̄ at 300 K is a third of the trace. Cases already in the JSON are not repeated. Needs sevenn, but for 'analytic'.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.tersoff import Tersoff, TersoffParameters
from screen_cli.calculators.registered import make_calculator
from screen_cli.physics.elasticity.gruneisen import ModeGruneisen
from screen_cli.properties.expansion.gruneisen import (
    gruneisen_from_derivatives,
    gruneisen_from_fc3,
    gruneisen_from_strains,
)
from screen_cli.crystal.phonopy_cells import ase_cell, cartesian_rotations
from screen_cli.physics.elasticity.strain import invariant_strains
from screen_cli.physics.elasticity.thermal_expansion import compute_expansion
from screen_cli.properties.expansion.deformation import InternalStrain, strained
from screen_cli.solvers.force_constants.finite_difference import FiniteDifferenceSolver
from screen_cli.solvers.force_constants.symfc import SymfcSolver
from screen_cli.stages.phonon_objects import load_phono3py, load_phonopy
from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings, RelaxSettings
from screen_cli.stages.displace import displace
from screen_cli.stages.force_constants import fit_force_constants
from screen_cli.stages.forces import compute_forces
from screen_cli.stages.relax import relax

WURTZITES = {"ZnO": (3.25, 5.21), "AlN": (3.13, 5.02), "GaN": (3.22, 5.24), "BeO": (2.71, 4.40), "ZnS": (3.85, 6.29)}


@dataclass(frozen=True)
class Setup:
    """One comparison of the routes."""

    crystal: str = "ZnO"
    double: bool = True
    dim: tuple[int, int, int] = (3, 3, 2)
    mesh: tuple[int, int, int] = (8, 8, 5)
    fitted: bool = True
    contracted: bool = True
    strained: bool = True
    distance: float = 0.03  # Å, of the random displacements
    n_supercells: int | None = None
    cutoff: float | None = None
    kind: str = "random"
    strain: float = 0.003
    strain_distance: float = 0.03  # Å
    silicon_cutoff: float = 2.9  # Å, of Si-Si in the potential of SiC
    scale: float = 1.0  # of the relaxed cell: moves shells of neighbours away from a cutoff


def tersoff_sic(silicon_cutoff: float) -> Tersoff:
    """Silicon carbide of J. Tersoff, Phys. Rev. B 39, 5566 (1989): analytic, reaches second neighbours.

    Its Si-Si interaction ends at 3.0 Å, just below second neighbours at 3.06 Å, which step into it when displaced.
    """
    silicon = {"A": 1830.8, "B": 471.18, "lambda": 2.4799, "mu": 1.7322, "beta": 1.1e-6, "n": 0.78734}
    silicon |= {"c": 1.0039e5, "d": 16.217, "h": -0.59825, "R": 2.7, "S": silicon_cutoff}
    carbon = {"A": 1393.6, "B": 346.74, "lambda": 3.4879, "mu": 2.2119, "beta": 1.5724e-7, "n": 0.72751}
    carbon |= {"c": 3.8049e4, "d": 4.3484, "h": -0.57058, "R": 1.8, "S": 2.1}
    elements = {"Si": silicon, "C": carbon}
    table = {}
    for names in product(elements, repeat=3):
        i, j, k = (elements[name] for name in names)
        inner, outer = sqrt(i["R"] * k["R"]), sqrt(i["S"] * k["S"])
        chi = 1.0 if names[0] == names[1] else 0.9776
        table[names] = TersoffParameters(
            m=3,
            gamma=1,
            lambda3=0,
            c=i["c"],
            d=i["d"],
            h=i["h"],
            n=i["n"],
            beta=i["beta"],
            lambda2=(i["mu"] + j["mu"]) / 2,
            B=chi * sqrt(i["B"] * j["B"]),
            R=(inner + outer) / 2,
            D=(outer - inner) / 2,
            lambda1=(i["lambda"] + j["lambda"]) / 2,
            A=sqrt(i["A"] * j["A"]),
        )
    return Tersoff(table)


def model(setup: Setup) -> Any:
    """Tersoff for SiC, SevenNet-0 for everything else."""
    return tersoff_sic(setup.silicon_cutoff) if setup.crystal == "SiC" else sevennet(setup.double)


def sevennet(double: bool = False) -> Any:
    """SevenNet-0 on one core, in single or double precision."""
    import torch

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    calculator = make_calculator("sevennet", {"device": "cpu"})
    if double:
        import sevenn.util

        torch.set_default_dtype(torch.float64)
        sevenn.util.dtype_correct = partial(sevenn.util.dtype_correct, float_dtype=torch.float64)  # of its input
        calculator.model.double()
        for module in calculator.model.modules():
            if type(module).__name__ == "OnehotEmbedding":  # it casts to single precision itself
                module.register_forward_hook(_to_double)
    return calculator


def _to_double(module: Any, arguments: Any, graph: Any) -> Any:
    """Cast single precision in what a module of SevenNet adds to its graph."""
    for name, value in list(graph.items()):
        if str(getattr(value, "dtype", "")) == "torch.float32":
            graph[name] = value.double()
    return graph


def crystal(setup: Setup) -> Atoms:
    """Crystal before relaxation."""
    if setup.crystal == "SiC":
        return bulk("SiC", "wurtzite", a=3.05, c=4.98)
    if setup.crystal in WURTZITES:
        a, c = WURTZITES[setup.crystal]
        return bulk(setup.crystal, "wurtzite", a=a, c=c)
    return {"Si": bulk("Si", "diamond", a=5.47), "CaO": bulk("CaO", "rocksalt", a=4.84)}[setup.crystal]


def contracted_derivatives(
    phonopy: Any, calculator: Any, strains: np.ndarray, amplitude: float, distance: float
) -> np.ndarray:
    """∂Φ/∂ε (n_strains, n_primitive, n_atoms, 3, 3) by the displacements that a strain makes, the cell kept."""
    supercell, primitive = ase_cell(phonopy.supercell), ase_cell(phonopy.primitive)
    vectors, multiplicities = phonopy.primitive.get_smallest_vectors()
    kinds = [phonopy.primitive.p2p_map[atom] for atom in phonopy.primitive.s2p_map]
    ions = InternalStrain.of(primitive, calculator)
    found = np.zeros((len(strains), len(primitive), len(supercell), 3, 3))
    for number, strain in enumerate(strains):
        size = amplitude / float(np.abs(strain).max())
        for sign in (1, -1):
            own = ions.relax(strained(primitive, sign * size * strain), calculator)[kinds]
            for atom, index in enumerate(phonopy.primitive.p2s_map):
                counts, starts = multiplicities[:, atom].T
                away = np.array([vectors[s : s + n].mean(axis=0) for n, s in zip(counts, starts, strict=True)])
                field = sign * size * away @ primitive.cell.array @ strain + own
                for axis, move in product(range(3), (distance, -distance)):
                    moved = supercell.copy()
                    moved.positions += field
                    moved.positions[index, axis] += move
                    moved.calc = calculator
                    weight = -sign * np.sign(move) / (2 * distance * 2 * size)
                    found[number, atom, :, axis] += weight * moved.get_forces()
    for atom, index in enumerate(phonopy.primitive.p2s_map):
        found[:, atom, index] -= found[:, atom].sum(axis=1)  # acoustic sum rule
    return found


def compare(setup: Setup) -> dict[str, Any]:
    """γ̄ and its parts along a and c by each route, and what differs."""
    start = time.process_time()
    calculator = model(setup)
    relaxed = relax(crystal(setup), calculator, RelaxSettings(fmax=1e-5 if setup.double else 1e-4)).atoms
    if setup.scale != 1.0:
        relaxed.set_cell(setup.scale * relaxed.cell.array, scale_atoms=True)
        relaxed = relax(relaxed, calculator, RelaxSettings(relax_cell=False)).atoms
    settings = DisplaceSettings(dim=list(setup.dim), distance=setup.distance, n_supercells=setup.n_supercells)
    displaced = displace(relaxed, settings, kind=setup.kind, third_order=setup.fitted, seed_text="identity")
    forces = compute_forces(displaced, calculator, ForcesSettings())
    solver = SymfcSolver(cutoff=setup.cutoff) if setup.kind == "random" else FiniteDifferenceSolver()
    fit = fit_force_constants(displaced, forces, ForceConstantsSettings(holdout=0, third_order=setup.fitted), solver)
    phonopy = load_phonopy(displaced, fit)
    strains = invariant_strains(cartesian_rotations(phonopy.primitive))
    mesh = list(setup.mesh)
    routes: dict[str, ModeGruneisen] = {}
    if setup.fitted:
        routes["fit"] = gruneisen_from_fc3(load_phono3py(displaced, force_constants=fit), mesh)
    if setup.contracted:
        derivatives = contracted_derivatives(phonopy, calculator, strains, setup.strain, setup.strain_distance)
        routes["contracted"] = gruneisen_from_derivatives(phonopy, mesh, strains, derivatives)
    if setup.strained:
        routes["strained"] = gruneisen_from_strains(
            phonopy, calculator, mesh, strains, amplitude=setup.strain, distance=setup.strain_distance
        )
    found: dict[str, Any] = {"n_atoms": len(phonopy.supercell), "n_supercells": displaced.n_supercells}
    found |= {"residual": fit.residual, "residual_even": fit.residual_even, "trusted": fit.trusted}
    for name, modes in routes.items():
        rotations = cartesian_rotations(phonopy.primitive)
        gamma = compute_expansion(modes, np.eye(6), 1.0, rotations, [300.0]).gamma[0]
        found[name] = {"mean": float(np.trace(gamma)) / 3, "a": float(gamma[0, 0]), "c": float(gamma[2, 2])}
    found["cpu_s"] = time.process_time() - start
    print(setup, found, file=sys.stderr, flush=True)
    return found


def analytic() -> Iterator[tuple[str, Setup]]:
    """Wurtzite SiC, Tersoff, 72 atoms: double precision, range below half the supercell."""
    base = Setup(crystal="SiC", contracted=False)
    small = replace(base, contracted=True, distance=0.005, strain_distance=0.005, strain=0.001)
    yield "all steps small", small
    yield "steps of the command", base
    yield "the same, a shell 0.06 Å from a cutoff", replace(base, silicon_cutoff=3.0)


def precision() -> Iterator[tuple[str, Setup]]:
    """Precision of the model: ZnO, SevenNet-0, 72 atoms."""
    yield "float32", Setup(double=False)
    yield "float64", Setup()


def steps() -> Iterator[tuple[str, Setup]]:
    """Size of displacements and strains: the same, float64."""
    yield "strained cells displaced by 0.01 Å", Setup(fitted=False, strain_distance=0.01)
    yield "strain 0.0015", Setup(fitted=False, strain=0.0015)
    yield "random displacements of 0.01 Å", Setup(contracted=False, strained=False, distance=0.01)


def fit() -> Iterator[tuple[str, Setup]]:
    """Number of random supercells and cutoff of fc3: the same, float64."""
    yield "188 supercells", Setup(contracted=False, strained=False, n_supercells=188)
    yield "94 supercells, fc3 cut at 5 Å", Setup(contracted=False, strained=False, cutoff=5.0)


def supercell() -> Iterator[tuple[str, Setup]]:
    """Supercell: ZnO, SevenNet-0, float32."""
    base = Setup(double=False, fitted=False)
    for dim in ((3, 3, 2), (4, 4, 2), (4, 4, 3)):
        yield f"{dim[0]}×{dim[1]}×{dim[2]}", replace(base, dim=dim)


def crystals() -> Iterator[tuple[str, Setup]]:
    """Shell of neighbours nearest to the cutoff of 5 Å: SevenNet-0, float32, 72 atoms."""
    base = Setup(double=False, contracted=False)
    yield "ZnS: 4.50 and 5.44 Å", replace(base, crystal="ZnS")
    yield "ZnO, cell times 0.97: 4.87 Å", replace(base, scale=0.97)
    for name in ("AlN", "BeO", "GaN"):
        yield name, replace(base, crystal=name)


_ALL = (analytic, precision, steps, fit, supercell, crystals)
SECTIONS: dict[str, Callable[[], Iterator[tuple[str, Setup]]]] = {function.__name__: function for function in _ALL}


def table(results: dict[str, Any]) -> str:
    """Markdown table of all sections."""
    lines = ["| what | case | γ̄ fit | γ̄ contracted | γ̄ strained | fit against strained |", "|---|---|---|---|---|---|"]
    for section in results.values():
        for number, (label, values) in enumerate(section["cases"]):
            means = [values[name]["mean"] if name in values else None for name in ("fit", "contracted", "strained")]
            shown = ["" if mean is None else f"{mean:.4f}" for mean in means]
            apart = "" if means[0] is None or means[2] is None else f"{100 * (means[0] / means[2] - 1):+.2f} %"
            title = section["title"] if number == 0 else ""
            lines.append(f"| {title} | {label} | {' | '.join(shown)} | {apart} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("grueneisen.json"))
    parser.add_argument("--only", action="append", choices=list(SECTIONS))
    parser.add_argument("--limit", type=int, default=1000, help="new cases in this call")
    arguments = parser.parse_args()
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    n_left = arguments.limit
    for name in arguments.only or SECTIONS:
        title = (SECTIONS[name].__doc__ or name).rstrip(".")
        section = results.setdefault(name, {"title": title, "cases": []})
        known = {label for label, _ in section["cases"]}
        for label, setup in SECTIONS[name]():
            if label not in known and n_left > 0:
                section["cases"].append((label, compare(setup)))
                arguments.output.write_text(json.dumps(results, indent=1))
                n_left -= 1
    print(table(results))


if __name__ == "__main__":
    main()
