"""Run by the Python that has GPAW: one crystal in, its Hamiltonian and overlap in local orbitals out.

``python program.py FOLDER`` reads ``crystal.json`` there, writes ``matrices.npz`` and ``answer.json``. It needs GPAW,
NumPy and ASE, and nothing of this package. A refusal is a sentence in ``answer.json``, never a trace.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from gpaw import GPAW
    from gpaw.setup import Setup
    from numpy.typing import NDArray


class Task(TypedDict):
    """One crystal and how it is computed, Å and eV."""

    numbers: list[int]
    cell: list[list[float]]
    positions: list[list[float]]
    basis: str
    xc: str
    grid_spacing: float
    density_length: float
    population_length: float
    smearing: float


_CONVERGENCE = {"density": 1e-4, "energy": 1e-3}
_SLOW_STEPS = 200


class Refusal(Exception):
    """Why there is no result; ``kind`` says whose fault it is: ``"installation"`` or ``"crystal"``."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def mesh(cell: Sequence[Sequence[float]], length: float) -> list[int]:
    """Points along each reciprocal vector, so that the crystal that the mesh stands for is this long (Å) at least."""
    import numpy as np

    heights = 1 / np.linalg.norm(np.linalg.inv(np.asarray(cell)), axis=0)  # between faces
    return [max(1, int(np.ceil(length / height - 1e-6))) for height in heights]


def converge(atoms: Atoms, task: Task, folder: Path) -> GPAW:
    """Find the density, spin-unpolarised and with the crystal's symmetry; mixed slowly where the usual way fails."""
    from gpaw import GPAW, FermiDirac, KohnShamConvergenceError, Mixer

    for slow in ({}, {"mixer": Mixer(0.02, 5, 100.0), "maxiter": _SLOW_STEPS}):
        calculator = GPAW(
            mode="lcao", basis=task["basis"], xc=task["xc"], h=task["grid_spacing"], spinpol=False,
            kpts={"size": mesh(task["cell"], task["density_length"]), "gamma": True},
            occupations=FermiDirac(task["smearing"]), convergence=_CONVERGENCE, txt=str(folder / "gpaw.txt"), **slow,
        )  # fmt: skip
        atoms.calc = calculator
        try:
            atoms.get_potential_energy()
        except KohnShamConvergenceError:
            continue
        except FileNotFoundError as error:
            raise Refusal("crystal", " ".join(str(error).split("\n")[0].split())) from error
        return calculator
    raise Refusal("crystal", f"the density does not converge within {_SLOW_STEPS} steps")


def free_atom_orbitals(setup: Setup) -> list[bool]:
    """Whether each orbital of an atom's basis is the first one of a shell that the free atom fills."""
    shells = zip(setup.n_j, setup.l_j, setup.data.f_j, strict=False)
    filled = {(int(n), int(angular)) for n, angular, electrons in shells if n > 0 and electrons > 0}
    found: list[bool] = []
    seen: set[tuple[int, int]] = set()
    for function in setup.basis.bf_j:
        shell = (-1 if function.n is None else int(function.n), int(function.l))
        found += [shell in filled and shell not in seen] * (2 * shell[1] + 1)
        seen.add(shell)
    return found


def matrices(calculator: GPAW, task: Task, folder: Path) -> dict[str, NDArray[np.generic]]:
    """Hamiltonian (eV) and overlap on a dense mesh of which of k and −k one is kept, at the density found before."""
    import numpy as np
    from ase.units import Ha
    from gpaw.utilities.tools import tri2full

    dense = calculator.fixed_density(
        kpts={"size": mesh(task["cell"], task["population_length"]), "gamma": True},
        symmetry={"point_group": False, "time_reversal": True}, txt=str(folder / "gpaw-dense.txt"),
    )  # fmt: skip
    waves = dense.wfs
    # gpaw.lcao.tools.get_lcao_hamiltonian makes the potential's matrix anew for every k
    potential = waves.basis_functions.calculate_potential_matrices(dense.hamiltonian.vt_sG[0])
    hamiltonians, overlaps = [], []
    for point in waves.kpt_u:
        matrix = waves.eigensolver.calculate_hamiltonian_matrix(dense.hamiltonian, waves, point, potential)
        overlap = waves.S_qMM[point.q].copy()
        tri2full(matrix)
        tri2full(overlap)
        hamiltonians.append(matrix * Ha)
        overlaps.append(overlap)
    setups = waves.setups
    return {
        # GPAW's phase is exp(−ikR); its matrices are Hermitian, orbitals real
        "hamiltonians": np.array(hamiltonians, dtype=np.complex128).conj(),
        "overlaps": np.array(overlaps, dtype=np.complex128).conj(),
        "kpoints": np.asarray(dense.get_ibz_k_points(), dtype=np.float64),
        "weights": np.asarray(dense.get_k_point_weights(), dtype=np.float64),
        "atoms": np.repeat(np.arange(len(setups)), [setup.nao for setup in setups]).astype(np.int64),
        "kept": np.concatenate([free_atom_orbitals(setup) for setup in setups]).astype(np.bool_),
        "scaled": np.asarray(dense.spos_ac, dtype=np.float64),
        "n_electrons": np.array(dense.get_number_of_electrons(), dtype=np.float64),
    }


def solve(task: Task, folder: Path) -> dict[str, object]:
    """Compute one crystal, write its matrices, and answer with what it was computed with."""
    try:
        import gpaw
        import numpy as np
        from ase import Atoms
    except (ImportError, OSError) as error:  # libxc or BLAS may be missing
        raise Refusal("installation", f"GPAW cannot be imported: {error}") from error
    atoms = Atoms(numbers=task["numbers"], cell=task["cell"], positions=task["positions"], pbc=True)
    calculator = converge(atoms, task, folder)
    found = matrices(calculator, task, folder)
    np.savez(folder / "matrices.npz", **found)  # type: ignore[arg-type]  # numpy: any name may be its allow_pickle
    return {"gpaw": str(gpaw.__version__), "n_iterations": int(calculator.get_number_of_iterations())}


def main(folder: Path, work: Callable[[Task, Path], dict[str, object]] = solve) -> None:
    """Answer one task, with a result or a refusal."""
    task = cast("Task", json.loads((folder / "crystal.json").read_text(encoding="utf-8")))
    try:
        answer = work(task, folder)
    except Refusal as refusal:
        answer = {"refused": refusal.kind, "reason": str(refusal)}
    except Exception as error:  # GPAW may fail in any way, and the next crystal need not
        answer = {"refused": "crystal", "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    main(Path(sys.argv[1]))
