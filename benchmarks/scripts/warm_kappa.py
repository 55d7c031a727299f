"""κ three ways: force constants of 0 K, fc2 of the temperature with fc3 of 0 K, and both of the temperature.

    python benchmarks/scripts/warm_kappa.py benchmarks/results/warm-kappa.json
    python benchmarks/scripts/warm_kappa.py benchmarks/results/warm-kappa.json --table

With the bundled weights, Born charges given (their origin stands beside them). Where a mode is imaginary at 0 K, κ with
force constants of 0 K leaves it out, which is no κ of a crystal: the number shows what a screening at 0 K would give if
its gate let the crystal pass. What stands in the file is not computed again. CPU time of this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from ase import Atoms
from ase.build import bulk

from screen_cli import compute


@dataclass(frozen=True)
class Case:
    """A crystal with its Born charges.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell.
    kelvin : int
        Temperature.
    mesh : int
        Points along each axis.
    dielectric : float
        High-frequency dielectric constant.
    charges : list of list of float
        Diagonal of the Born charge of each atom that symmetry tells apart, e; empty: only without charges.
    """

    atoms: Atoms
    kelvin: int
    mesh: int
    dielectric: float = 0.0
    charges: list[list[float]] = field(default_factory=list)

    def born(self) -> str:
        """File in phonopy's BORN format."""
        lines = ["14.4", _diagonal([self.dielectric] * 3), *map(_diagonal, self.charges)]
        return "\n".join(lines) + "\n"


def _diagonal(values: list[float]) -> str:
    """Line of a diagonal tensor."""
    return " ".join(str(values[i] if i == j else 0.0) for i in range(3) for j in range(3))


def perovskite(symbols: str, a: float) -> Atoms:
    """Cubic, the first element on the corner; the first anion lies along z, as its listed charge says."""
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms(symbols, scaled_positions=places, cell=[a] * 3, pbc=True)


CASES = {
    # From the measured splitting, 3.42 against 0.96 THz, and ε∞ = 33: W. Cochran et al., doi:10.1098/rspa.1966.0182.
    "PbTe": Case(bulk("PbTe", "rocksalt", a=6.46), 300, 11, 33.0, [[6.5] * 3, [-6.5] * 3]),
    # W. Zhong, R. D. King-Smith, D. Vanderbilt, doi:10.1103/PhysRevLett.72.3618 (ε∞ measured).
    "SrTiO3": Case(perovskite("SrTiO3", 3.905), 300, 9, 5.18, [[2.54] * 3, [7.12] * 3, [-2.0, -2.0, -5.66]]),
    "CsPbBr3": Case(perovskite("CsPbBr3", 5.9), 500, 9),  # cubic above 403 K
}


def computed(case: Case, *, charged: bool) -> dict[str, object]:
    """κ of one crystal, with or without its charges."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        born = Path(folder) / "BORN"
        born.write_text(case.born())
        result = compute(
            case.atoms,
            "sdnnff",
            born=born if charged else None,
            relax={"max_volume_change": 1.0},
            displace={"dim": [2, 2, 2]},
            harmonic={"phase_space": False, "band_points": 11},
            gate={"require_stable": False},
            renormalise={
                "enabled": True,
                "select": "all",
                "temperatures": [case.kelvin],
                "max_supercells": 1600,
                "compare": True,
            },
            conductivity={"mesh": [case.mesh] * 3, "temperatures": [float(case.kelvin)]},
            progress=False,
        )
    row, warm = result.row, f"renormalise_{case.kelvin}k"
    found: dict[str, object] = {name: row.get(name) for name in ("min_frequency_thz", f"{warm}_state")}
    found |= {"reason": row.get(f"{warm}_reason"), "min_thz": row.get(f"{warm}_commensurate_min_thz")}
    for way, front in _ways(case).items():
        found[way] = [row.get(f"{front}kappa_{part}_w_mk") for part in "pc"]
    return found | {"cpu_s": time.process_time() - start}


def _ways(case: Case) -> dict[str, str]:
    """Front of the columns of each way."""
    warm = f"conductivity_{case.kelvin}k_"
    return {"0 K": "", "fc2(T)": f"{warm}fc3_0k_", "fc2(T), fc3(T)": warm}


def table(rows: dict[str, dict[str, object]]) -> str:
    """Markdown."""
    lines = [
        "| crystal | T, K | lowest, THz: 0 K, T | κ_P + κ_C, 0 K | fc2(T), fc3(0 K) | fc2(T), fc3(T) | CPU, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        case = CASES[name.split(",")[0]]
        kappas = " | ".join(_both(row[way]) for way in _ways(case))
        lowest = ", ".join(_number(row[key]) for key in ("min_frequency_thz", "min_thz"))
        lines.append(f"| {name} | {case.kelvin} | {lowest} | {kappas} | {row['cpu_s']:.0f} |")
    return "\n".join(lines)


def _both(parts: object) -> str:
    """κ_P + κ_C."""
    return " + ".join(map(_number, parts)) if isinstance(parts, list) and parts[0] is not None else ""


def _number(value: object) -> str:
    """Two decimals, or nothing."""
    return f"{value:.2f}" if isinstance(value, float) else ""


def main() -> None:
    """Compute what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name, case in () if arguments.table else CASES.items():
        for charged in (True, False) if case.charges else (False,):
            key = f"{name}, {'with' if charged else 'without'} charges"
            if key not in rows:
                rows[key] = computed(case, charged=charged)
                arguments.out.write_text(json.dumps(rows, indent=1))
                print(key, rows[key], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
