"""Time per atom of sdnnff and e-sdnnff against SevenNet-0 and CHGNet: same process, same structures.

    python benchmarks/scripts/force_field_speed.py --cores 1 2 --json speed.json

Speed does not depend on the weights, so sdnnff models are built with default settings and random weights; the model
in the wheel is wider than those.
Each number is the fastest of several ASE force calls, atoms moved in between, neighbour lists included.
A peer that is not installed is left out. ``--memory`` adds the peak memory for growing supercells, each in a
process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from sdnnff_calc import SDNNFF
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.config import EquivariantConfig, GridConfig, ModelConfig
from sdnnff_calc.models.heads import Statistics

CONFIGS: dict[str, ModelConfig] = {
    "e-sdnnff conservative, 1 layer": EquivariantConfig(),
    "e-sdnnff conservative, 2 layers": EquivariantConfig(n_layers=2),
    "e-sdnnff direct, 1 layer": EquivariantConfig(head="direct"),
    "e-sdnnff direct, 2 layers": EquivariantConfig(head="direct", n_layers=2),
    "sdnnff (grid, direct)": GridConfig(),
}


def salt(n_atoms: int) -> Atoms:
    repeat = round((n_atoms / 8) ** (1 / 3))
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(repeat)


def random_model(config: ModelConfig, seed: int = 0) -> Model:
    return Model(build_network(config, seed=seed), config, (11, 17), Statistics())


def sevennet() -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def chgnet() -> Any:
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def fastest_call(calculator: Any, atoms: Atoms, repeats: int) -> float:
    """Seconds of the fastest force call."""
    rng = np.random.default_rng(0)
    start_positions = atoms.positions.copy()
    times = []
    for _ in range(repeats + 1):
        atoms = atoms.copy()
        atoms.positions = start_positions + rng.normal(scale=0.02, size=(len(atoms), 3))
        atoms.calc = calculator
        begin = time.perf_counter()
        atoms.get_forces()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def committee_ratio(config: ModelConfig, atoms: Atoms, repeats: int) -> float:
    """CPU time of five members in one pass over that of one, taken in turns: a busy machine counts less."""
    models = [random_model(config, seed) for seed in range(5)]
    five, one = Committee(models, "cpu"), SDNNFF(models[0], device="cpu")
    structures = [atoms] * 8

    def cpu_seconds(call: Callable[[], object]) -> float:
        begin = time.process_time()
        call()
        return time.process_time() - begin

    pairs = [
        (cpu_seconds(lambda: five.predict_committee(structures)), cpu_seconds(lambda: one.predict(structures)))
        for _ in range(repeats + 1)
    ]
    together, alone = zip(*pairs[1:], strict=True)
    return min(together) / min(alone)


def print_committees(repeats: int) -> dict[str, float]:
    """Print the ratios of all models."""
    ratios = {}
    for name, config in CONFIGS.items():
        ratios[name] = committee_ratio(config, salt(64), repeats)
        print(f"committee of five / one, 8 × 64 atoms, {name}: {ratios[name]:.2f}", flush=True)
    return ratios


MATRIX_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")


def print_profile(n_atoms: int, repeats: int) -> None:
    """Print each model's share of time in matrix products, and the five costliest operations."""
    for name, config in CONFIGS.items():
        calculator, atoms = SDNNFF(random_model(config), device="cpu"), salt(n_atoms)
        calculator.predict([atoms])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(repeats):
                calculator.predict([atoms])
        times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        total = sum(times.values())
        costliest = sorted(times, key=times.__getitem__, reverse=True)[:5]
        share = 100 * sum(times.get(key, 0.0) for key in MATRIX_PRODUCTS) / total
        text = ", ".join(f"{key.removeprefix('aten::')} {100 * times[key] / total:.0f} %" for key in costliest)
        print(f"{name}, {len(atoms)} atoms: matrix products {share:.0f} %; {text}", flush=True)


def own_peak_mb() -> float:
    """Peak resident memory of this process, MB; ru_maxrss would count the parent before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("this system does not report VmHWM")


def peak_memory_mb(name: str, n_atoms: int) -> float:
    """Peak resident memory of a fresh process that computes one structure, MB."""
    command = [sys.executable, __file__, "--one-memory", name, str(n_atoms)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[1])
    parser.add_argument("--atoms", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, nargs="*", help="also measure memory at these sizes")
    parser.add_argument(
        "--committee-only", action="store_true", help="measure committees of five against one, no peers"
    )
    parser.add_argument("--profile-only", action="store_true", help="measure where the time goes, no peers")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one-memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.one_memory:
        name, n_atoms = arguments.one_memory
        torch.set_num_threads(1)
        atoms = salt(int(n_atoms))
        atoms.calc = SDNNFF(random_model(CONFIGS[name]), device="cpu")
        atoms.get_forces()
        print(own_peak_mb())
        return 0

    if arguments.profile_only:
        torch.set_num_threads(1)
        print_profile(arguments.atoms[-1], arguments.repeats)
        return 0
    if arguments.committee_only:
        torch.set_num_threads(1)
        print_committees(arguments.repeats)
        return 0

    peers: dict[str, Any] = {}
    for name, make in (("SevenNet-0", sevennet), ("CHGNet", chgnet)):
        try:
            peers[name] = make()
        except ImportError as error:
            print(f"{name} left out: {error}", file=sys.stderr)
    ours = {name: SDNNFF(random_model(config), device="cpu") for name, config in CONFIGS.items()}
    ours["weights in the wheel"] = SDNNFF(device="cpu")
    rows: list[dict[str, Any]] = []
    print(f"{'model':34s} {'cores':>5s} {'atoms':>6s} {'µs/atom':>9s}" + "".join(f" {'× ' + p:>13s}" for p in peers))
    for cores in arguments.cores:
        torch.set_num_threads(cores)
        for n_atoms in arguments.atoms:
            atoms = salt(n_atoms)
            reference: dict[str, float] = {}
            for name, calculator in {**peers, **ours}.items():
                repeats = 2 if name in peers else arguments.repeats
                cost = 1e6 * fastest_call(calculator, atoms, repeats) / len(atoms)
                if name in peers:
                    reference[name] = cost
                ratios = {peer: value / cost for peer, value in reference.items()}
                rows.append(
                    {
                        "model": name,
                        "cores": cores,
                        "n_atoms": len(atoms),
                        "us_per_atom": cost,
                        "faster_than": ratios,
                    }
                )
                text = "".join(f" {ratios.get(p, float('nan')):13.1f}" for p in peers)
                print(f"{name:34s} {cores:5d} {len(atoms):6d} {cost:9.1f}{text}", flush=True)
    torch.set_num_threads(1)
    committees = print_committees(arguments.repeats)
    memory = []
    for n_atoms in arguments.memory or []:
        for name in CONFIGS:
            used = peak_memory_mb(name, n_atoms)
            memory.append({"model": name, "n_atoms": len(salt(n_atoms)), "peak_mb": used})
            print(f"peak memory, {len(salt(n_atoms))} atoms, {name}: {used:.0f} MB", flush=True)
    if arguments.json:
        settings = {name: dataclasses.asdict(config) for name, config in CONFIGS.items()}
        result = {"rows": rows, "committee_of_five": committees, "memory": memory, "settings": settings}
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
