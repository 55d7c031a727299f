"""Sources of labels, the cache, quarantine, and labels that do not fit."""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from typing import ClassVar

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from al_committee.errors import LabelMismatchError
from al_committee.labels.cache import LabelCache
from al_committee.labels.content_key import structure_key
from al_committee.labels.labelling import CalculatorLabeller, WorkerLabeller, compute_label, label_through_cache
from al_committee.labels.labels import LabelRequest, attach_label


def requests(count, symbol="Cu"):
    found = []
    for seed in range(count):
        atoms = bulk(symbol, cubic=True)
        atoms.rattle(0.05, seed=seed)
        found.append(LabelRequest(structure_key(atoms), atoms, f"{symbol}-{seed}"))
    return found


class Counting(EMT):
    """Counts its calculations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def calculate(self, *args, **kwargs):
        self.count += 1
        super().calculate(*args, **kwargs)


class Odd(EMT):
    """Dies, hangs or fails according to the lattice it sees; for worker processes."""

    def calculate(self, atoms=None, *args, **kwargs):
        kind = atoms.info.get("kind")
        if kind == "die":
            os._exit(9)
        if kind == "hang":
            time.sleep(60)
        if kind == "fail":
            raise RuntimeError("no convergence")
        super().calculate(atoms, *args, **kwargs)


def run(asked, labeller, cache, failures=None, stop=lambda: False):
    sink = [] if failures is None else failures
    return list(label_through_cache(asked, labeller, cache, on_failure=sink.append, stop=stop))


def test_labels_are_those_of_the_calculator_and_computed_once(tmp_path):
    calculator, cache = Counting(), LabelCache(tmp_path, {"name": "emt"})
    asked = requests(3)
    outcomes = run([*asked, asked[0]], CalculatorLabeller(calculator, {"name": "emt"}), cache)
    assert len(outcomes) == 3
    for request, outcome in zip(asked, outcomes, strict=True):
        atoms = request.atoms.copy()
        atoms.calc = EMT()
        assert outcome.atoms.get_forces() == pytest.approx(atoms.get_forces(), rel=1e-12, abs=1e-13)
        assert outcome.atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        assert outcome.atoms.get_stress() == pytest.approx(atoms.get_stress(), rel=1e-12)
    counted = calculator.count
    again = run(asked, CalculatorLabeller(calculator, {"name": "emt"}), LabelCache(tmp_path, {"name": "emt"}))
    assert calculator.count == counted
    assert (again[1].atoms.get_forces() == outcomes[1].atoms.get_forces()).all()


def test_other_settings_have_other_labels(tmp_path):
    asked = requests(1)
    emt, other = LabelCache(tmp_path, {"name": "emt"}), LabelCache(tmp_path, {"name": "lj"})
    run(asked, CalculatorLabeller(EMT(), {}), emt)
    assert asked[0].key in emt
    assert asked[0].key not in other


def test_cache_round_trip_is_lossless_with_magnetic_moments(tmp_path):
    cache = LabelCache(tmp_path, {})
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.2, -2.2])
    atoms.positions += np.pi / 7
    atoms.info["structure_id"] = "Fe"
    labelled = attach_label(atoms, forces=np.random.default_rng(0).normal(size=(2, 3)), energy=-1 / 3)
    key = structure_key(atoms)
    cache.put(key, labelled)
    back = cache.get(key)
    assert (back.positions == atoms.positions).all()
    assert (back.get_forces() == labelled.get_forces()).all()
    assert back.get_potential_energy() == -1 / 3
    assert back.info["structure_id"] == "Fe"
    with pytest.raises(ValueError, match="other atoms"):
        cache.put("0" * 32, labelled)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_label_is_set_aside_and_made_again(tmp_path, damage, caplog):
    calculator, cache, asked = Counting(), LabelCache(tmp_path, {}), requests(1)
    good = run(asked, CalculatorLabeller(calculator, {}), cache)[0].atoms.get_forces()
    path = cache.path(asked[0].key)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        middle = len(data) // 2
        data[middle : middle + 8] = b"\x00" * 8
    path.write_bytes({"cut": data[: len(data) // 2], "flip": data, "empty": b""}[damage])
    before = calculator.count
    calculator.reset()
    again = run(asked, CalculatorLabeller(calculator, {}), cache)[0]
    assert calculator.count > before
    assert again.atoms.get_forces() == pytest.approx(good, rel=1e-12, abs=1e-13)
    assert "damaged" in caplog.text
    assert path.with_suffix(".damaged").exists()


def test_failures_carry_their_reason_and_the_rest_goes_on(tmp_path):
    asked = requests(3)
    asked[1].atoms.info["kind"] = "fail"
    failures = []
    outcomes = run(asked, CalculatorLabeller(Odd(), {}), LabelCache(tmp_path, {}), failures)
    assert [o.failed for o in outcomes] == [False, True, False]
    assert "no convergence" in failures[0].reason
    assert "Traceback" in failures[0].traceback


def test_stop_leaves_the_rest_pending(tmp_path):
    asked, seen = requests(5), []
    outcomes = run(
        asked,
        CalculatorLabeller(EMT(), {}),
        LabelCache(tmp_path, {}),
        stop=lambda: len(seen) >= 2 or seen.append(1),
    )
    assert len(outcomes) == 2


def test_worker_processes_survive_death_hanging_and_failure(tmp_path):
    asked = requests(6)
    for index, kind in ((1, "die"), (2, "hang"), (4, "fail")):
        asked[index].atoms.info["kind"] = kind
    labeller = WorkerLabeller(functools.partial(Odd), {}, n_workers=2, timeout_s=6.0)
    failures = []
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}), failures)
    reasons = {o.key: o.reason for o in failures}
    assert {o.key for o in outcomes} == {r.key for r in asked}
    assert "died" in reasons[asked[1].key]
    assert "timeout_s" in reasons[asked[2].key]
    assert "no convergence" in reasons[asked[4].key]
    good = {o.key: o.atoms for o in outcomes if not o.failed}
    assert set(good) == {asked[k].key for k in (0, 3, 5)}
    expected = EMT().get_property("forces", asked[5].atoms)
    assert good[asked[5].key].get_forces() == pytest.approx(expected, rel=1e-12, abs=1e-14)


def _hold(folder, key, ready, release):
    with LabelCache(folder, {}).claim(key) as mine:
        assert mine
        ready.set()
        release.wait(30)


def test_a_label_in_progress_elsewhere_is_left_alone_until_its_holder_dies(tmp_path):
    asked, context = requests(2), multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, asked[0].key, ready, release))
    holder.start()
    assert ready.wait(30)
    labeller = CalculatorLabeller(EMT(), {})
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}))
    assert [o.key for o in outcomes] == [asked[1].key]
    holder.kill()
    holder.join()
    assert {o.key for o in run(asked, labeller, LabelCache(tmp_path, {}))} == {r.key for r in asked}


def test_label_of_another_structure_is_refused():
    asked = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    forces = np.zeros((8, 3))
    with pytest.raises(LabelMismatchError, match="another cell size"):
        attach_label(asked, forces=np.zeros((16, 3)), answered=asked * (2, 1, 1))
    with pytest.raises(LabelMismatchError, match=r"shape \(7, 3\), expected \(8, 3\)"):
        attach_label(asked, forces=np.zeros((7, 3)))
    larger, moved, swapped = asked.copy(), asked.copy(), asked[::-1]
    larger.set_cell(asked.cell * 1.01, scale_atoms=True)
    moved.positions[3, 1] += 0.02
    for answered, message in ((larger, "cell lengths"), (moved, "0.02 Å"), (swapped, "order of atoms")):
        with pytest.raises(LabelMismatchError, match=message):
            attach_label(asked, forces=forces, answered=answered)
    forces[2, 2] = np.inf
    with pytest.raises(LabelMismatchError, match="NaN or infinity"):
        attach_label(asked, forces=forces)


def test_positions_are_compared_up_to_lattice_vectors():
    asked = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    wrapped = asked.copy()
    wrapped.positions[2] += wrapped.cell[0] - wrapped.cell[2]
    attach_label(asked, forces=np.zeros((8, 3)), answered=wrapped)


def test_energy_free_sources_give_forces_alone(tmp_path):
    class ForcesOnly(LennardJones):
        implemented_properties = ("forces",)

    outcome = run(requests(1), CalculatorLabeller(ForcesOnly(), {}), LabelCache(tmp_path, {}))[0]
    assert set(outcome.atoms.calc.results) == {"forces"}


class Smeared(Calculator):
    """Says that it has a free energy; gives one, or not."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces"]

    def __init__(self, free_energy: float | None) -> None:
        super().__init__()
        self.free_energy = free_energy

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        self.results = {"energy": -3.0, "forces": np.zeros((len(self.atoms), 3))}
        if self.free_energy is not None:
            self.results["free_energy"] = self.free_energy


@pytest.mark.parametrize(("free_energy", "label"), [(-3.7, -3.7), (None, -3.0)])
def test_the_label_is_the_energy_whose_derivative_the_forces_are(free_energy: float | None, label: float) -> None:
    atoms = bulk("Cu")
    outcome = compute_label(Smeared(free_energy), LabelRequest("key", atoms, "copper"))
    assert outcome.reason == ""
    assert outcome.atoms.get_potential_energy() == label
