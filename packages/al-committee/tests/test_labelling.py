"""Sources of labels, the cache, quarantine, and labels that do not fit."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from hypothesis import given, settings
from hypothesis import strategies as st

from al_committee.errors import LabelMismatchError, LabelSourceError
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import CalculatorLabeller
from al_committee.labels.identity import structure_key
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelRequest, attach_label
from al_committee.labels.workers import guard
from al_committee.labels.workers.teacher import TeacherProcess, TeacherSettings
from al_committee.labels.workers.worker_labeller import WorkerLabeller, _Run
from al_committee.loop.interruption import StopWatch


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


ODD = """
import os, subprocess, sys, time
from ase.calculators.emt import EMT

KINDS = {1: "die", 2: "hang", 3: "fail", 4: "exit", 5: "leave", 6: "interrupt", 7: "fork", 8: "killed"}

class Odd(EMT):
    def __init__(self, marker="", starts=""):
        super().__init__()
        self.marker = marker
        if starts:  # killed from outside at its first start
            with open(starts, "a") as file:
                file.write("once ")
            if open(starts).read() == "once ":
                os.kill(os.getpid(), 9)

    def calculate(self, atoms=None, *args, **kwargs):
        print("noise on standard output")
        kind = KINDS.get(atoms.info.get("charge"))
        if kind == "die":
            os._exit(9)
        if kind == "leave":
            os._exit(0)
        if kind == "exit":
            sys.exit(3)
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "hang":
            command = [sys.executable, "-c", "import time; time.sleep(600)", self.marker]
            subprocess.Popen(command, start_new_session=True)
            time.sleep(60)
        if kind == "fork":
            os.fork()  # the child goes on from here as well
        if kind == "killed":
            os.kill(os.getpid(), 9)
        if kind == "fail":
            raise RuntimeError("no convergence")
        super().calculate(atoms, *args, **kwargs)

class Batched:
    settings = {"flavour": "batched"}

    def __init__(self, log=""):
        self.log = log

    def predict(self, structures):
        if self.log:
            with open(self.log, "a") as handle:
                handle.write(f"{len(structures)}\\n")
        if any(atoms.info.get("charge") == 3 for atoms in structures):
            raise RuntimeError("no convergence")
        return [{"forces": EMT().get_property("forces", a), "energy": -1.0} for a in structures]

def broken():
    raise OSError("no GPU is left")

def gone():
    os._exit(7)
"""
KINDS = {"die": 1, "hang": 2, "fail": 3, "exit": 4, "leave": 5, "interrupt": 6, "fork": 7, "killed": 8}


@pytest.fixture
def teacher(tmp_path):
    """Settings of a teacher from a module of odd ones, which only its own process can import."""
    (tmp_path / "odd_teachers.py").write_text(ODD)

    def make(name, **options):
        return TeacherSettings(f"odd_teachers:{name}", options, path=[str(tmp_path)])

    return make


def mark(request, kind):
    """A request of the same structure that an odd teacher stumbles over."""
    atoms = request.atoms.copy()
    atoms.info["charge"] = KINDS[kind]
    return LabelRequest(structure_key(atoms), atoms, kind)


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


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "encrypted", "patched", "newer", "compression"])
def test_damaged_label_is_set_aside_and_made_again(tmp_path, damage, caplog):
    calculator, cache, asked = Counting(), LabelCache(tmp_path, {}), requests(1)
    good = run(asked, CalculatorLabeller(calculator, {}), cache)[0].atoms.get_forces()
    path = cache.path(asked[0].key)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        middle = len(data) // 2
        data[middle : middle + 8] = b"\x00" * 8
    entry = data.index(b"PK\x01\x02")  # of the table of contents: version needed, flags and compression follow
    for what, place, byte in (("newer", 6, 99), ("encrypted", 8, 1), ("patched", 8, 32), ("compression", 10, 77)):
        if damage == what:
            data[entry + place] = byte
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, bytes(data)))
    before = calculator.count
    calculator.reset()
    again = run(asked, CalculatorLabeller(calculator, {}), cache)[0]
    assert calculator.count > before
    assert again.atoms.get_forces() == pytest.approx(good, rel=1e-12, abs=1e-13)
    assert "damaged" in caplog.text
    assert path.with_suffix(".damaged").exists()


class Failing(EMT):
    """Fails in all ways that Python has, by total charge."""

    def calculate(self, atoms=None, *args, **kwargs):
        charge = atoms.info.get("charge")
        if charge == 1:
            raise RuntimeError("no convergence")
        if charge == 2:
            sys.exit(1)
        if charge == 3:
            raise KeyboardInterrupt
        super().calculate(atoms, *args, **kwargs)


def charged(request, charge):
    atoms = request.atoms.copy()
    atoms.info["charge"] = charge
    return LabelRequest(structure_key(atoms), atoms)


def test_failures_carry_their_reason_and_the_rest_goes_on(tmp_path):
    asked = requests(5)
    asked[1:4] = [charged(request, charge) for charge, request in enumerate(asked[1:4], 1)]
    failures = []
    outcomes = run(asked, CalculatorLabeller(Failing(), {}), LabelCache(tmp_path, {}), failures)
    assert [o.failed for o in outcomes] == [False, True, True, True, False]
    assert [o.reason for o in failures] == ["RuntimeError: no convergence", "SystemExit: 1", "KeyboardInterrupt: "]
    assert "Traceback" in failures[0].traceback


class Interrupted(EMT):
    """Somebody presses Ctrl-C while it calculates."""

    def calculate(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)


def test_a_persons_interrupt_is_not_taken_for_the_calculators(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(requests(1), CalculatorLabeller(Interrupted(), {}), LabelCache(tmp_path, {}))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_of_a_loop_that_listens_is_a_persons_too(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = StopWatch()
    stop.listen()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(requests(2), CalculatorLabeller(Interrupted(), {}), LabelCache(tmp_path, {}))
        assert stop.reason == "signal SIGINT"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_stop_leaves_the_rest_pending(tmp_path):
    asked, seen = requests(5), []
    outcomes = run(
        asked,
        CalculatorLabeller(EMT(), {}),
        LabelCache(tmp_path, {}),
        stop=lambda: len(seen) >= 2 or seen.append(1),
    )
    assert len(outcomes) == 2


def test_worker_processes_survive_every_end(tmp_path, teacher):
    asked = requests(9)
    kinds = {1: "die", 2: "hang", 3: "fork", 4: "fail", 5: "exit", 6: "leave", 7: "interrupt"}
    for index, kind in kinds.items():
        asked[index] = mark(asked[index], kind)
    labeller = WorkerLabeller(teacher("Odd", marker=str(tmp_path)), {}, n_workers=2, timeout_s=4.0)
    failures = []
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}), failures)
    labeller.close()
    reasons = {o.key: o.reason for o in failures}
    assert {o.key for o in outcomes} == {r.key for r in asked}
    expected = {
        1: "died 2 times while it was alone with this label; the process ended (exit code 9)",
        2: "took longer than timeout_s = 4 s",
        4: "RuntimeError: no convergence",
        5: "SystemExit: 3",
        6: "exit code 0",
        7: "KeyboardInterrupt",
    }
    for index, reason in expected.items():
        assert reason in reasons[asked[index].key]
    good = {o.key: o.atoms for o in outcomes if not o.failed}
    assert set(good) == {asked[k].key for k in (0, 3, 8)}
    forces = EMT().get_property("forces", asked[8].atoms)
    assert good[asked[8].key].get_forces() == pytest.approx(forces, rel=1e-12, abs=1e-14)
    assert not alive(str(tmp_path))  # what a calculator started ends with it, wherever it went


def alive(word):
    """Whether a process with a word in its command line runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def test_a_source_that_is_killed_at_its_start_is_started_again(tmp_path, teacher):
    labeller = WorkerLabeller(teacher("Odd", starts=str(tmp_path / "starts")), {})
    outcomes = run(requests(2), labeller, LabelCache(tmp_path, {}))
    labeller.close()
    assert (tmp_path / "starts").read_text() == "once once "
    assert [o.failed for o in outcomes] == [False, False]


def test_a_label_is_blamed_for_signals_from_outside_only_when_it_was_alone(tmp_path, teacher):
    asked = requests(6)
    asked[1] = mark(asked[1], "killed")
    labeller = WorkerLabeller(teacher("Odd"), {}, n_workers=2)
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}))
    labeller.close()
    assert [o.key for o in outcomes if o.failed] == [asked[1].key]
    assert outcomes[-1].key == asked[1].key  # tried by itself, after all others
    assert "exit code -9" in outcomes[-1].reason


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_label_is_blamed_but_for_two_deaths_of_its_own(data):
    """Whatever dies in whatever order: every label ends once, blamed exactly when the rule says so."""
    n_workers = data.draw(st.integers(1, 4))
    asked = [SimpleNamespace(key=f"k{number}") for number in range(data.draw(st.integers(1, 7)))]
    desk = _Run([[request] for request in asked], lambda: False, alone_anyway=n_workers == 1)
    busy, ended, counted = [], {}, Counter()
    for _ in range(300):
        while len(busy) < n_workers and not (desk._alone and busy) and (desk.work or not busy):
            part = desk.take()
            if part is None:
                break
            busy.append(part[0])
        if not busy:
            break
        request = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
        fate = data.draw(st.sampled_from(["ok", "own", "killed", "killed"]))
        if fate == "ok":
            assert request.key not in ended
            ended[request.key] = "ok"
        else:
            counted[request.key] += fate == "own" or desk._alone
            if desk.blames(request, killed=fate == "killed"):
                assert request.key not in ended
                ended[request.key] = "blamed"
            assert (ended.get(request.key) == "blamed") == (counted[request.key] > 1)
        desk.finish()
    else:
        return  # an endless series of kills is drawn too
    assert sorted(ended) == sorted(request.key for request in asked)


def test_batches_lose_nobody_to_one_bad_structure(tmp_path, teacher):
    asked = requests(5)
    asked[1], asked[3] = mark(asked[1], "fail"), asked[3]
    log = tmp_path / "calls"
    labeller = WorkerLabeller(teacher("Batched", log=str(log)), {}, batch=5)
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}))
    assert {o.key for o in outcomes if o.failed} == {asked[1].key}
    assert log.read_text().split() == ["5", "1", "1", "1", "1", "1"]
    assert labeller.settings["identity"] == {"settings": {"flavour": "batched"}}
    labeller.close()


def test_a_batch_that_kills_its_process_is_repeated_one_by_one(tmp_path, teacher):
    asked = requests(4)
    asked[2] = mark(asked[2], "die")
    labeller = WorkerLabeller(teacher("Odd"), {}, batch=4)
    outcomes = run(asked, labeller, LabelCache(tmp_path, {}))
    labeller.close()
    assert {o.key for o in outcomes if o.failed} == {asked[2].key}
    assert len(outcomes) == 4


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("broken", "OSError: no GPU is left"),
        ("gone", "exit code 7"),
        ("misspelt", "has no attribute 'misspelt'"),
    ],
)
def test_a_source_that_fails_at_its_start_stops_the_labelling(tmp_path, teacher, factory, reason):
    labeller = WorkerLabeller(teacher(factory), {}, n_workers=2)
    failures = []
    with pytest.raises(LabelSourceError, match="fails at its start") as caught:
        run(requests(3), labeller, LabelCache(tmp_path, {}), failures)
    assert reason in str(caught.value)
    assert failures == []  # no structure is blamed


def test_no_interpreter_is_a_sentence(tmp_path):
    settings = TeacherSettings("a:b", python=str(tmp_path / "python"))
    with pytest.raises(LabelSourceError, match="cannot be started"):
        TeacherProcess(settings).identity()


def test_a_teacher_of_another_environment_sees_none_of_ours(tmp_path, teacher, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/of/this/environment")
    (tmp_path / "odd_teachers.py").write_text(
        "import os\nclass Asked:\n    settings = {'env': os.environ.get('VIRTUAL_ENV', 'none')}\n    predict = None\n"
    )
    settings = TeacherSettings("odd_teachers:Asked", {}, python=sys.executable, path=[str(tmp_path)])
    with TeacherProcess(settings) as process:
        assert process.identity() == {"settings": {"env": "none"}}


STUBBORN = """
import ctypes, signal
def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(600)  # in C, and no other thread of Python runs meanwhile
"""


def test_a_worker_that_hangs_in_c_ends_with_its_user(tmp_path):
    (tmp_path / "stubborn_teachers.py").write_text(STUBBORN)
    program = textwrap.dedent(
        f"""
        from al_committee.labels.workers.teacher import TeacherProcess, TeacherSettings
        TeacherProcess(TeacherSettings("stubborn_teachers:hang", path=[{str(tmp_path)!r}])).identity()
        """
    )
    user = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    mark = f"{user.pid}-"
    deadline = time.monotonic() + 600
    while not guard.marked(mark):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(2.0)  # it loads, and hangs
    user.kill()
    user.wait()
    while guard.marked(mark):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_ends_with_its_user(tmp_path, teacher):
    program = textwrap.dedent(
        f"""
        import os, sys
        from al_committee.labels.workers.teacher import TeacherProcess, TeacherSettings
        process = TeacherProcess(TeacherSettings("odd_teachers:Odd", path=[{str(tmp_path)!r}]))
        process.identity()
        print(process._process.pid, flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stdout)
    for _ in range(6000):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its user by ten minutes")


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
    labelled = attach_label(asked, forces=np.zeros((8, 3)), answered=wrapped)
    assert labelled.positions == pytest.approx(asked.positions)
    wrapped.positions[2] += 0.5 * wrapped.cell[0]
    with pytest.raises(LabelMismatchError, match="from where it was asked"):
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
    (outcome,) = CalculatorLabeller(Smeared(free_energy), {}).label([LabelRequest("key", atoms, "copper")])
    assert outcome.reason == ""
    assert outcome.atoms.get_potential_energy() == label
