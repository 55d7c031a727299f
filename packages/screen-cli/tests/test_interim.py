"""Forces of a stage that a kill cuts off are not computed again, and what does not fit is not believed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from screen_cli.config import DisplaceSettings, ForcesSettings
from screen_cli.stages.displace import Displaced, displace
from screen_cli.stages.forces import compute_forces
from screen_cli.store.interim import Interim
from screen_cli.store.records import RecordStore

SETTINGS = ForcesSettings()
N, KEY = 6, "0123456789abcdef"


@pytest.fixture(scope="module")
def displaced() -> Displaced:
    return displace(bulk("Cu", a=3.6), DisplaceSettings(dim=[2, 2, 2], n_supercells=N))


class Slow(EMT):
    """EMT that counts its calls and ends its process in one of them."""

    def __init__(self, last: int = 99) -> None:
        super().__init__()
        self.last, self.count = last, 0

    def calculate(self, *given: object) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        if hasattr(self, "nl"):
            self.initialize(given[0])  # type: ignore[no-untyped-call]  # neighbours that are kept change the order of sums
        super().calculate(*given)


class Committee(Slow):
    """Two members, one of them EMT."""

    def calculate(self, *given: object) -> None:
        super().calculate(*given)
        forces = self.results["forces"]
        self.results |= {"forces_committee": np.array([forces, 1.1 * forces]), "force_deviation": abs(forces[:, 0])}


def interim(folder: Path, key: str = KEY, every: float = 0.0) -> Interim:
    return Interim(RecordStore(folder), "abcdef", "forces", key, every)


def killed_in(call: int, displaced: Displaced, folder: Path, calculator: type[Slow] = Slow) -> None:
    """Compute forces in a process that is killed in one of its calls."""
    child = os.fork()
    if not child:
        try:
            compute_forces(displaced, calculator(call), SETTINGS, interim=interim(folder))
        finally:
            os._exit(3)  # not reached: it was killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("calculator", [Slow, Committee])
@pytest.mark.parametrize("call", [1, 2, 5, N + 1])
def test_a_kill_costs_one_supercell(displaced: Displaced, tmp_path: Path, call: int, calculator: type[Slow]) -> None:
    killed_in(call, displaced, tmp_path, calculator)
    after, undisturbed = calculator(), calculator()
    forces = compute_forces(displaced, after, SETTINGS, interim=interim(tmp_path))
    expected = compute_forces(displaced, undisturbed, SETTINGS)
    assert undisturbed.count == N + 1
    assert after.count == N + 1 - (call - 1)
    record, wanted = forces.to_storage(), expected.to_storage()
    assert record.data == wanted.data
    assert record.arrays.keys() == wanted.arrays.keys()
    for name, values in wanted.arrays.items():
        np.testing.assert_array_equal(record.arrays[name], values)


def damaged(folder: Path) -> Interim:
    path = next(folder.rglob("*.hdf5"))
    path.write_bytes(path.read_bytes()[:-20])
    return interim(folder)


def of_another_cell(folder: Path) -> Interim:
    interim(folder).write({"forces_residual": np.zeros((1, 4, 3)), "forces_displaced": np.zeros((2, 4, 3))})
    return interim(folder)


def too_long(folder: Path) -> Interim:
    n_atoms = interim(folder).read()["forces_residual"].shape[1]
    interim(folder).write(
        {"forces_residual": np.zeros((2, n_atoms, 3)), "forces_displaced": np.zeros((50, n_atoms, 3))}
    )
    return interim(folder)


def of_no_cell(folder: Path) -> Interim:
    interim(folder).write({"forces_residual": np.zeros(()), "forces_displaced": np.zeros(0)})
    return interim(folder)


def without_forces(folder: Path) -> Interim:
    interim(folder).write(
        {"force_deviation_residual": np.zeros((1, 32)), "force_deviation_displaced": np.zeros((2, 32))}
    )
    return interim(folder)


def of_other_inputs(folder: Path) -> Interim:
    return interim(folder, "fedcba9876543210")


@pytest.mark.parametrize("left", [damaged, of_another_cell, too_long, of_no_cell, without_forces, of_other_inputs])
def test_what_does_not_fit_is_computed_again(displaced: Displaced, tmp_path: Path, left: object) -> None:
    killed_in(4, displaced, tmp_path)
    calculator = Slow()
    forces = compute_forces(displaced, calculator, SETTINGS, interim=left(tmp_path))  # type: ignore[operator]
    assert calculator.count == N + 1
    np.testing.assert_array_equal(forces.fc3_forces, compute_forces(displaced, Slow(), SETTINGS).fc3_forces)


def test_short_work_is_never_written(displaced: Displaced, tmp_path: Path) -> None:
    compute_forces(displaced, EMT(), SETTINGS, interim=interim(tmp_path, every=1e9))
    assert not list(tmp_path.rglob("*.*"))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every supercell be written, and note what was."""
    written: list[str] = []
    write = RecordStore.write

    def noting(store: RecordStore, structure_id: str, stage: str, *given: object, **named: object) -> object:
        written.append(stage)
        return write(store, structure_id, stage, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(RecordStore, "write", noting)
    monkeypatch.setattr(Interim, "is_due", True)
    return written


def test_a_run_leaves_none_behind(tmp_path: Path, always: list[str]) -> None:
    from screen_cli.cli import main

    bulk("Al", cubic=True).write(tmp_path / "al.cif")
    assert main(["init", "--crystals", str(tmp_path / "al.cif"), str(tmp_path / "screen.toml")]) == 0
    words = ["--set", "calculator.name=emt", "--set", "engine.name=serial", "--set", "displace.dim=[2,2,2]"]
    assert main(["run", str(tmp_path / "screen.toml"), "-d", str(tmp_path / "run"), "--no-report", *words]) == 0
    assert "forces.interim" in always
    assert not list((tmp_path / "run").rglob("*interim*"))
