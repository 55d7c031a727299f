"""Speed and memory of phon-wigner against phono3py's built-in ``smm19``, in the same run.

Needs the public La2Zr2O7 example (fc2.hdf5, kappa-m191919.hdf5, POSCAR, BORN) in
``$SDNNFF_REFERENCE_DATA/la2zr2o7-wigner`` and, for the overhead of the variant, ``si-dft`` and ``nacl-dft`` beside it.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/scripts/wigner.py --json wigner.json

Memory is the growth of the peak resident size of a fresh process per job.
"""

from __future__ import annotations

import argparse
import json
import lzma
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def in_fresh_process(job: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run one job alone, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(job, arguments)


def ours(folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
    from phon_wigner.files.kappa_file import read_kappa_file
    from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze

    crystal = load_crystal(
        CrystalFiles(fc2=folder / "fc2.hdf5", cell=folder / "POSCAR", dim_fc2=(4, 4, 4), born=folder / "BORN")
    )
    linewidths = read_kappa_file(folder / "kappa-m191919.hdf5")
    result = analyze(crystal, linewidths, [300.0, 1000.0])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time()
    cpu = time.process_time()
    many = np.linspace(310, 990, 41)
    analyze(crystal, linewidths, many[:1], AnalysisSettings(interpolate=True))
    one = time.process_time() - cpu
    cpu = time.process_time()
    analyze(crystal, linewidths, many, AnalysisSettings(interpolate=True))
    further = (time.process_time() - cpu - one) / 40
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_gb": peak_gb(),
        "cpu_seconds_per_further_temperature": further,
        "kappa_p": result.kappa_p[:, 0].tolist(),
        "kappa_c": result.kappa_c[:, 0].tolist(),
    }


def built_in(folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    import h5py
    from phono3py import Phono3py
    from phonopy.file_IO import parse_BORN
    from phonopy.interface.calculator import read_crystal_structure

    cell, _ = read_crystal_structure(str(folder / "POSCAR"))
    crystal = Phono3py(
        cell,
        supercell_matrix=np.eye(3, dtype=int),
        phonon_supercell_matrix=np.eye(3, dtype=int) * 4,
        primitive_matrix="P",
        log_level=0,
    )
    with h5py.File(folder / "fc2.hdf5") as handle:
        crystal.fc2 = handle["force_constants"][:]
    crystal.nac_params = parse_BORN(crystal.primitive, filename=str(folder / "BORN"))
    crystal.mesh_numbers = [19, 19, 19]
    with tempfile.TemporaryDirectory() as scratch:
        here = Path.cwd()
        os.chdir(scratch)
        shutil.copy(folder / "kappa-m191919.hdf5", scratch)
        crystal.init_phph_interaction()
        crystal.run_thermal_conductivity(temperatures=[300, 1000], transport_type="smm19", read_gamma=True)
        os.chdir(here)
    result = crystal.thermal_conductivity
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time(),
        "peak_gb": peak_gb(),
        "kappa_intra": result.kappa_intra[0, :, 0].tolist(),
        "kappa_inter": result.kappa_inter[0, :, 0].tolist(),
    }


def isotopes(folder: Path) -> dict[str, Any]:
    from phon_wigner.phonons.isotope import add_isotopes
    from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
    from phon_wigner.files.kappa_file import read_kappa_file
    from phon_wigner.conductivity.postprocess import analyze

    crystal = load_crystal(
        CrystalFiles(fc2=folder / "fc2.hdf5", cell=folder / "POSCAR", dim_fc2=(4, 4, 4), born=folder / "BORN")
    )
    linewidths = read_kappa_file(folder / "kappa-m191919.hdf5")
    start, cpu = time.perf_counter(), time.process_time()
    more = add_isotopes(crystal, linewidths, average_degenerate=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    result = analyze(crystal, more)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "cpu_seconds_per_qpoint": cpu / len(linewidths.qpoints),
        "peak_gb": peak_gb(),
        "kappa_p": result.kappa_p[:, 0].tolist(),
        "kappa_c": result.kappa_c[:, 0].tolist(),
    }


def load_silicon(folder: Path) -> Any:
    import phono3py

    with tempfile.TemporaryDirectory() as scratch:
        forces = Path(scratch) / "FORCES_FC3"
        forces.write_bytes(lzma.decompress((folder / "FORCES_FC3.xz").read_bytes()))
        return phono3py.load(folder / "phono3py_disp.yaml", forces_fc3_filename=forces, log_level=0)


def load_nacl(folder: Path) -> Any:
    import phono3py

    return phono3py.load(folder / "phono3py_params_NaCl.yaml.xz", fc_calculator="symfc", log_level=0)


def overhead(load: Callable[[Path], Any], folder: Path, mesh: int, repeats: int) -> dict[str, Any]:
    """Compare the CPU time of std and wigner runs of one process, alternately; the median of the pairwise ratios."""
    crystal = load(folder)
    crystal.mesh_numbers = [mesh] * 3
    seconds: dict[str, list[float]] = {"std": [], "wigner": []}
    for repeat in range(repeats + 1):  # the first round warms caches and imports
        for name, times in seconds.items():
            crystal.init_phph_interaction()
            start = time.process_time()
            crystal.run_thermal_conductivity(temperatures=[300], transport_type=None if name == "std" else name)
            if repeat:
                times.append(time.process_time() - start)
    ratios = np.array(seconds["wigner"]) / np.array(seconds["std"])
    return {
        "mesh": mesh,
        **{name: float(np.median(times)) for name, times in seconds.items()},
        "overhead": float(np.median(ratios)) - 1,
        "overheads": (ratios - 1).tolist(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--mesh", type=int, default=15, help="mesh of silicon and NaCl for the overhead")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only-overhead", action="store_true", help="nothing but the overhead of the variant")
    parser.add_argument("--skip-built-in", action="store_true", help="leave the slow peer out")
    parser.add_argument("--skip-isotopes", action="store_true")
    options = parser.parse_args()
    root = os.environ.get("SDNNFF_REFERENCE_DATA")
    if not root:
        sys.stderr.write("set SDNNFF_REFERENCE_DATA to the folder with la2zr2o7-wigner and si-dft\n")
        return 2
    folder = Path(root) / "la2zr2o7-wigner"
    report: dict[str, Any] = {}
    if not options.only_overhead:
        report["phon-wigner analyze"] = in_fresh_process(ours, folder)
        if not options.skip_built_in:
            report["phono3py smm19"] = in_fresh_process(built_in, folder)
        if not options.skip_isotopes:
            report["isotopes"] = in_fresh_process(isotopes, folder)
    for name, load, place in (("Si", load_silicon, "si-dft"), ("NaCl", load_nacl, "nacl-dft")):
        job = (load, Path(root) / place, options.mesh, options.repeats)
        report[f"variant on {name}"] = in_fresh_process(overhead, *job)
    for name, values in report.items():
        sys.stdout.write(f"{name}\n")
        for key, value in values.items():
            sys.stdout.write(f"    {key:32s} {np.array2string(np.asarray(value), precision=5)}\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
