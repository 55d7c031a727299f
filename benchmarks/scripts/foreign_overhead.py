"""What a force field costs in an environment of its own against the same one in this process; whether results agree.

    screen-cli env create sevennet
    python benchmarks/scripts/foreign_overhead.py sevennet                     # also installed here
    python benchmarks/scripts/foreign_overhead.py chgnet --kill                # the server is killed in mid-batch

Displaced supercells of NaCl, 64 atoms, one thread each. Time is that of the processors: of this process and of the
server together, against this process alone, in turns so that other load on the machine meets both. With --kill the
server gets SIGKILL while it works on a batch, and the batch must give what it gave before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import psutil
from ase.build import bulk

from screen_cli.calculators import foreign
from screen_cli.calculators.registered import make_calculator


def supercells(n):
    """Displaced supercells of 64 atoms."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(n):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
        atoms.positions += 0.03 * rng.standard_normal((64, 3))
        made.append(atoms)
    return made


def evaluate(calculator, atoms):
    """Energy, forces and stress of one structure that the calculator has not seen."""
    calculator.reset()
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()


def server_seconds(calculator):
    """Processor time of the server so far."""
    used = psutil.Process(calculator.process_id).cpu_times()
    return used.user + used.system


def measure(name, options, rounds):
    """Ratio of processor times and whether all results are equal bit for bit."""
    there, here = foreign(name, **options), make_calculator(name, options, environment="here")
    for calculator in (there, here):  # what is loaded and compiled once
        for atoms in supercells(3):
            evaluate(calculator, atoms)
    own = client = server = 0.0
    equal = True
    for atoms in supercells(rounds):
        start = time.process_time()
        wanted = evaluate(here, atoms)
        own += time.process_time() - start
        start, there_before = time.process_time(), server_seconds(there)
        found = evaluate(there, atoms)
        client += time.process_time() - start
        server += server_seconds(there) - there_before
        equal &= all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
    return {
        "calculator": name, "structures": rounds, "bit_for_bit": equal, "in_process_s": own / rounds,
        "server_s": server / rounds, "client_s": client / rounds,
        "overhead_percent": 100 * ((server + client) / own - 1),
    }  # fmt: skip


def kill_in_mid_batch(name, options, rounds):
    """Kill the server while it works; whether the batch gives what it gave undisturbed."""
    calculator = foreign(name, **options)
    batch = supercells(rounds)
    start = time.perf_counter()
    wanted = [result["forces"] for result in calculator.predict(batch)]
    undisturbed = time.perf_counter() - start
    first = calculator.process_id
    before = server_seconds(calculator)
    killed = []

    def kill():
        while server_seconds(calculator) < before + 0.2:  # it works on the batch
            time.sleep(0.01)
        killed.append(first)
        os.kill(first, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    calculator.reset()
    found = [result["forces"] for result in calculator.predict(batch)]
    thread.join()
    return {
        "calculator": name, "structures": rounds, "killed": killed == [first] != [calculator.process_id],
        "bit_for_bit": all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True)),
        "undisturbed_s": undisturbed,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calculator")
    parser.add_argument("--options", type=json.loads, default={}, help="of the calculator, JSON")
    parser.add_argument("--structures", type=int, default=20)
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    run = kill_in_mid_batch if arguments.kill else measure
    print(json.dumps(run(arguments.calculator, arguments.options, arguments.structures), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
