"""What each approximation costs in κ: DFT forces of NaCl and Si, and SevenNet-0 NaCl where forces must be computed.

    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/accuracy.py --output accuracy.json [--only mesh --only isotopes]

Each section changes one setting and compares κ at 300 K with the best one of that section (marked 'best'); everything
else stays at the defaults here: 11³ mesh, RTA with coherences, isotopes, no NAC, all DFT supercells. Sections that
are already in the JSON are not repeated, so the work can be cut into pieces. Needs the public sets ``nacl-dft`` and
``si-dft`` in ``$SDNNFF_REFERENCE_DATA``, phon-wigner, and sevenn for the sections of the force field.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from ase.build import bulk
from grueneisen_identity import sevennet
from phon_wigner.screening.solver import WignerSolver
from screen_cli.solvers.conductivity import StandardSolver
from screen_cli.errors import UnderdeterminedFitError
from screen_cli.solvers.force_constants.finite_difference import FiniteDifferenceSolver
from screen_cli.solvers.force_constants.symfc import SymfcSolver
from screen_cli.stages.phonon_objects import load_phono3py
from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings, RelaxSettings
from screen_cli.stages.displace import displace
from screen_cli.stages.force_constants import fit_force_constants
from screen_cli.stages.forces import compute_forces
from screen_cli.stages.relax import relax

MESH = 11
Case = tuple[str, dict[str, Any]]


def kappa(phono3py: Any, *, mesh: int = MESH, isotope: bool = True, lbte: bool = False) -> dict[str, float]:
    """κ at 300 K, W/(m K)."""
    phono3py.mesh_numbers = [mesh] * 3
    if lbte:
        found = StandardSolver()(phono3py, [300.0], lbte=True, isotope=isotope)
        return {"kappa": float(found["kappa_p"][0, :3].mean()), "kappa_rta": float(found["kappa_rta"][0, :3].mean())}
    found = WignerSolver(scattering="products")(phono3py, [300.0], isotope=isotope)
    return {
        "kappa": float(found["kappa_total"][0, :3].mean()),
        "kappa_p": float(found["kappa_p"][0, :3].mean()),
        "kappa_c": float(found["kappa_c"][0, :3].mean()),
    }


# -- DFT -------------------------------------------------------------------------------------------


def dft(n_supercells: int = 100, *, nac: bool = False, solver: Any = None, large: bool = True) -> Any:
    """Force constants of NaCl; ``large`` takes fc2 from 512 atoms, else from the 64 atoms of fc3."""
    import phono3py

    path = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
    crystal = phono3py.load(path, produce_fc=False, log_level=0)
    forces: Any = np.array(crystal.forces)
    forces_fc2: Any = np.array(crystal.phonon_forces)
    if not large:
        small = phono3py.Phono3py(crystal.unitcell, crystal.supercell_matrix, primitive_matrix=crystal.primitive_matrix)
        small.dataset, small.nac_params, crystal, forces_fc2 = crystal.dataset, crystal.nac_params, small, None
    fitted = (solver or SymfcSolver()).solve(crystal, forces, forces_fc2, subset=range(n_supercells))
    crystal.fc2, crystal.fc3 = fitted["fc2"], fitted["fc3"]
    if not nac:
        crystal.nac_params = None
    return crystal


def dft_silicon() -> Any:
    """Force constants of Si, 64 atoms, finite differences."""
    import phono3py

    folder = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "si-dft"
    forces = folder / "FORCES_FC3.xz"
    return phono3py.load(folder / "phono3py_disp.yaml", forces_fc3_filename=forces, log_level=0)


MESHES = (5, 7, 9, 11, 13, 15, 19)


def mesh() -> Iterator[Case]:
    """Mesh, NaCl."""
    crystal = dft()
    for number in MESHES:
        yield f"{number}³", kappa(crystal, mesh=number)


def mesh_si() -> Iterator[Case]:
    """Mesh, Si."""
    crystal = dft_silicon()
    for number in (*MESHES, 25):
        yield f"{number}³", kappa(crystal, mesh=number)


def supercells() -> Iterator[Case]:
    """Number of random supercells (DFT, 64 atoms)."""
    for number in (6, 10, 20, 40, 100):
        yield str(number), kappa(dft(number))


def harmonic_supercell() -> Iterator[Case]:
    """Supercell of fc2 (DFT), without and with NAC."""
    yield "64 atoms", kappa(dft(large=False))
    yield "64 atoms, NAC", kappa(dft(large=False, nac=True))
    yield "512 atoms", kappa(dft())
    yield "512 atoms, NAC", kappa(dft(nac=True))


def isotopes() -> Iterator[Case]:
    """Isotopes, NaCl."""
    crystal = dft()
    yield "off", kappa(crystal, isotope=False)
    yield "on", kappa(crystal)


def isotopes_si() -> Iterator[Case]:
    """Isotopes, Si."""
    crystal = dft_silicon()
    yield "off", kappa(crystal, isotope=False)
    yield "on", kappa(crystal)


def boltzmann() -> Iterator[Case]:
    """RTA against the direct solution, NaCl (9³, without coherences)."""
    yield from _boltzmann(dft())


def boltzmann_si() -> Iterator[Case]:
    """RTA against the direct solution, Si (9³, without coherences)."""
    yield from _boltzmann(dft_silicon())


def _boltzmann(crystal: Any) -> Iterator[Case]:
    """Both solutions from one run."""
    found = kappa(crystal, mesh=9, lbte=True)
    yield "RTA", {"kappa": found["kappa_rta"]}
    yield "LBTE", {"kappa": found["kappa"]}


def cutoff() -> Iterator[Case]:
    """Cutoff of fc3 in the fit."""
    for length in (4.5, 6.0, 7.5):
        yield f"{length:g} Å", kappa(dft(solver=SymfcSolver(cutoff=length)))
    yield "none", kappa(dft())


def degeneracy() -> Iterator[Case]:
    """Width of a degenerate block: how κ splits (the total barely moves)."""
    from phon_wigner.phonons.harmonic import HarmonicCrystal
    from phon_wigner.phonons.linewidths import Linewidths
    from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze

    crystal = dft()
    crystal.mesh_numbers = [MESH] * 3
    found = WignerSolver(scattering="products")(crystal, [300.0])
    interaction, symmetry = crystal.phph_interaction, crystal.primitive_symmetry
    harmonic = HarmonicCrystal(
        interaction.dynamical_matrix,
        np.asarray(symmetry.reciprocal_operations, dtype=np.int64),
        float(interaction.frequency_factor_to_THz),
        float(symmetry.tolerance),
    )
    gamma = found["gamma"]
    lines = Linewidths(np.array([300.0]), found["qpoints"], found["weights"], gamma, np.zeros(gamma.shape[1:]))
    for width in (1e-2, 1e-3, 1e-5, 1e-4):
        settings = AnalysisSettings(degeneracy_tolerance=width, imaginary_tolerance=np.inf)
        result = analyze(harmonic, lines, settings=settings)
        values = {name: float(getattr(result, name)[0, :3].mean()) for name in ("kappa_total", "kappa_p", "kappa_c")}
        yield f"{width:g} THz", {"kappa": values.pop("kappa_total"), **values}


# -- SevenNet-0 ------------------------------------------------------------------------------------


def fitted(calculator: Any, *, kind: str = "random", n_supercells: int | None = None, distance: float = 0.03) -> Any:
    """Force constants of NaCl from the calculator, 64 atoms."""
    relaxed = relax(bulk("NaCl", "rocksalt", a=5.69), calculator, RelaxSettings()).atoms
    settings = DisplaceSettings(dim=[2, 2, 2], distance=distance, n_supercells=n_supercells)
    displaced = displace(relaxed, settings, kind=kind, seed_text="accuracy")
    forces = compute_forces(displaced, calculator, ForcesSettings())
    solver = SymfcSolver() if kind == "random" else FiniteDifferenceSolver()
    record = fit_force_constants(displaced, forces, ForceConstantsSettings(holdout=0), solver)
    return load_phono3py(displaced, force_constants=record)


def displacement() -> Iterator[Case]:
    """Length of the random displacements (SevenNet-0, 12 supercells in ± pairs)."""
    calculator = sevennet()
    for length in (0.003, 0.01, 0.06, 0.1, 0.03):
        yield f"{length:g} Å", kappa(fitted(calculator, distance=length))


def pairs() -> Iterator[Case]:
    """Number of ± paired supercells (SevenNet-0)."""
    calculator = sevennet()
    for number in (6, 8, 12, 24, 48):
        try:
            yield str(number), kappa(fitted(calculator, n_supercells=number))
        except UnderdeterminedFitError:
            yield str(number), {"refused": True}


def solver() -> Iterator[Case]:
    """Solver (SevenNet-0, 64 atoms)."""
    calculator = sevennet()
    yield "symfc, 12 random supercells", kappa(fitted(calculator))
    yield "finite differences, 146 supercells", kappa(fitted(calculator, kind="finite-difference"))


def precision() -> Iterator[Case]:
    """Precision of the model (SevenNet-0, 12 supercells)."""
    single = sevennet()
    for length in (0.003, 0.03):
        yield f"float32, {length:g} Å", kappa(fitted(single, distance=length))
    double = sevennet(double=True)
    for length in (0.003, 0.03):
        yield f"float64, {length:g} Å", kappa(fitted(double, distance=length))


_OF_FORCES = (displacement, pairs, supercells, harmonic_supercell, cutoff, solver, precision)
_OF_TRANSPORT = (mesh, mesh_si, boltzmann, boltzmann_si, isotopes, isotopes_si, degeneracy)
SECTIONS: dict[str, Callable[[], Iterator[Case]]] = {
    function.__name__: function for function in _OF_FORCES + _OF_TRANSPORT
}


def table(results: dict[str, Any]) -> str:
    """Markdown table of all sections."""
    lines = ["| approximation | setting | κ (W/mK) | κ_C | against best |", "|---|---|---|---|---|"]
    for name, section in results.items():
        best = section["cases"][-1][1]["kappa"]
        for number, (label, values) in enumerate(section["cases"]):
            title = section["title"] if number == 0 else ""
            if "kappa" not in values:
                lines.append(f"| {title} | {label} | refused | | |")
                continue
            change = "best" if number == len(section["cases"]) - 1 else f"{100 * (values['kappa'] / best - 1):+.2f} %"
            coherent = f"{values['kappa_c']:.4f}" if "kappa_c" in values else ""
            lines.append(f"| {title} | {label} | {values['kappa']:.3f} | {coherent} | {change} |")
        print(f"{name}: {section['cpu_s']:.0f} s of CPU", file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("accuracy.json"))
    parser.add_argument("--only", action="append", choices=list(SECTIONS))
    arguments = parser.parse_args()
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name in arguments.only or SECTIONS:
        if name in results:
            continue
        start = time.process_time()
        cases = list(SECTIONS[name]())
        title = (SECTIONS[name].__doc__ or name).rstrip(".")
        results[name] = {"title": title, "cases": cases, "cpu_s": time.process_time() - start}
        arguments.output.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
