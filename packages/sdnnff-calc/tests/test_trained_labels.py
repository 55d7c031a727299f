"""A model offers what it was trained on; what was never trained is said, marked and withheld."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.optimize import BFGS
from hypothesis import given
from hypothesis import strategies as st

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.config import FinetuneConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.loss_labels import say_once
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.models.checkpoint import load_model, save_model
from sdnnff_calc.models.trained_labels import TrainedLabels
from sdnnff_calc.testing import SMALL_CONFIGS, label_with_emt, toy_model
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.finetuning.finetune import finetune
from sdnnff_calc.training.runs import train_committee

CONFIG = SMALL_CONFIGS["conservative-1"]
COUNTS = st.one_of(st.none(), st.integers(0, 1000))


def stores_of(structures: list[Atoms]) -> Stores:
    return Stores(store_of(structures[:6], CONFIG.cutoff), store_of(structures[6:8], CONFIG.cutoff), DataReport())


def train(workdir: Path, structures: list[Atoms], **settings: float) -> Path:
    training = TrainingConfig(workdir=str(workdir), epochs=1, refit_atoms=0, **settings)  # type: ignore[arg-type]
    return train_committee(RunConfig(model=CONFIG, training=training), stores_of(structures))[0]


def test_a_model_of_forces_alone_gives_no_stress(
    emt_copper: list[Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    path = train(tmp_path, emt_copper)
    assert "6 structures have stresses that are read and not used (stress_weight = 0)" in caplog.text
    assert load_model(path).trained == TrainedLabels(6, 0, 0)
    atoms = emt_copper[0].copy()
    atoms.calc = SDNNFF(path)
    assert atoms.calc.implemented_properties == ["forces"]
    with pytest.raises(PropertyNotImplementedError, match="forces of 6 structures, no energies, no stresses"):
        atoms.get_stress()
    assert set(atoms.calc.predict([atoms])[0]) == {"forces", "energy", "free_energy", "energies"}
    assert not Committee([load_model(path)], "cpu").has_stress
    assert Committee([load_model(path)], "cpu").predict_committee([atoms])["stresses"] is None


def test_its_energy_serves_optimisers_and_says_what_it_is(
    emt_copper: list[Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = emt_copper[0].copy()
    atoms.calc = SDNNFF(train(tmp_path, emt_copper))
    caplog.clear()
    BFGS(atoms, logfile=None).run(steps=2)
    energy = atoms.get_potential_energy()
    assert energy == atoms.calc.predict([atoms])[0]["energy"]
    assert caplog.text.count("never trained on energies") == 1
    assert "energy" not in atoms.calc.results


def test_what_was_trained_is_offered_and_counted(emt_copper: list[Atoms], tmp_path: Path) -> None:
    structures = [atoms.copy() for atoms in emt_copper[:8]]
    for k, atoms in enumerate(structures):
        atoms.calc = emt_copper[k].calc
    bare = structures[0].copy()
    bare.calc = type(emt_copper[0].calc)(bare, forces=emt_copper[0].calc.results["forces"])
    path = train(tmp_path, [bare, *structures[1:]], energy_weight=0.1, stress_weight=0.1)
    assert load_model(path).trained == TrainedLabels(6, 5, 5)
    assert SDNNFF(path).implemented_properties == ["energy", "free_energy", "energies", "forces", "stress"]


def test_evaluate_marks_what_was_never_trained(emt_copper: list[Atoms], tmp_path: Path) -> None:
    report = evaluate_forces(SDNNFF(train(tmp_path, emt_copper)), emt_copper[:2])
    assert report.never_trained == ("energies", "stresses")
    text = "\n".join(report.lines())
    assert "never trained on: its zero is arbitrary" in text
    assert "never trained on stresses" in text
    assert report.as_dict()["never_trained"] == ["energies", "stresses"]
    assert report.stress_mae is None


@pytest.mark.parametrize(
    ("symbol", "weight", "offers_stress"), [("Cu", 0.0, True), ("Al", 0.0, False), ("Al", 0.1, True)]
)
def test_fine_tuning_keeps_and_loses_what_it_must(
    symbol: str, weight: float, offers_stress: bool, emt_copper: list[Atoms], tmp_path: Path
) -> None:
    path = train(tmp_path / "first", emt_copper, energy_weight=0.1, stress_weight=0.1)
    training = TrainingConfig(
        workdir=str(tmp_path / "second"), epochs=1, energy_weight=0.1, stress_weight=weight, refit_atoms=0
    )
    config = RunConfig(training=training, finetune=FinetuneConfig(model=str(path)))
    tuned = load_model(finetune(config, stores_of(label_with_emt(8, symbol=symbol))))
    assert tuned.trained is not None
    assert tuned.trained.forces == 12
    assert ("stress" in SDNNFF(tuned).implemented_properties) == offers_stress


def test_old_checkpoints_tell_by_their_card_or_say_that_they_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = Path(__file__).parent / "checkpoints" / "v1-conservative-1.pt"
    assert load_model(old).trained is None
    calculator = SDNNFF(old)
    assert "does not tell what it was trained on" in caplog.text
    assert "stress" in calculator.implemented_properties
    card = {"training": {"structures": 40, "energy_weight": 0.5}}
    assert TrainedLabels.of_settings(card) == TrainedLabels(40, None, 0)
    assert TrainedLabels.of_settings({"training": "by hand"}) is None
    caplog.clear()
    assert SDNNFF().implemented_properties == ["energy", "free_energy", "energies", "forces", "stress"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@given(COUNTS, COUNTS, COUNTS)
def test_what_was_trained_survives_a_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, forces: int | None, energies: int | None, stresses: int | None
) -> None:
    model = toy_model("conservative-1")
    model.trained = TrainedLabels(forces, energies, stresses)
    path = save_model(model, tmp_path_factory.mktemp("m") / "model.pt")
    assert load_model(path).trained == model.trained
    assert ("stress" in SDNNFF(path).implemented_properties) == (stresses != 0)


@given(st.tuples(COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS, COUNTS))
def test_more_training_never_takes_a_property_away(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    one, two = TrainedLabels(*first), TrainedLabels(*second)
    assert set(one.after(two).properties) == set(one.properties) | set(two.properties)
    assert one.after(two) == two.after(one)
    assert dataclasses.replace(one) == one.after(TrainedLabels())
