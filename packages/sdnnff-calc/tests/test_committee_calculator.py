"""Several models as one calculator: their mean, their disagreement, and where they know nothing."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.optimize import BFGS
from hypothesis import given, settings
from hypothesis import strategies as st

from sdnnff_calc import SDNNFF, SDNNFFCommittee, save_model
from sdnnff_calc.calculators.committee_calculator import SCALE_TOPIC
from sdnnff_calc.calculators.sdnnff import ELEMENTS_TOPIC
from sdnnff_calc.errors import ConfigError, EmptyInputError, UnknownElementError
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.testing import SMALL_CONFIGS, toy_model


def models_of(name: str, n: int = 3) -> list[Model]:
    return [toy_model(name, "float64", seed) for seed in range(n)]


@pytest.mark.parametrize("name", sorted(SMALL_CONFIGS))
def test_results_are_means_of_the_members_and_their_spread(name: str, salt: Atoms) -> None:
    """Against each member's own calculator and Eq. 3 written out; alone and in a batch."""
    models = models_of(name)
    committee = SDNNFF.committee(models, scale=2.0)
    alone = [SDNNFF(model).predict([salt])[0] for model in models]
    forces = np.array([result["forces"] for result in alone])
    mean = forces.mean(axis=0)
    deviation = np.sqrt(np.mean(np.sum((forces - mean) ** 2, axis=2), axis=0))
    committee.calculate(salt, ["forces"])
    for results in (committee.results, committee.predict([bulk("Cu"), salt])[1]):
        np.testing.assert_allclose(results["forces_committee"], forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(results["forces"], mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(results["force_deviation"], deviation, rtol=0, atol=1e-10)
        np.testing.assert_allclose(results["force_error_bar"], 2.0 * deviation, rtol=0, atol=1e-10)
        for key in ("energy", "stress", "energies"):
            if key in alone[0]:
                wanted = np.mean([result[key] for result in alone], axis=0)
                np.testing.assert_allclose(results[key], wanted, rtol=1e-9, atol=1e-11)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)), shift=st.tuples(*3 * [st.floats(-5.0, 5.0)]))
def test_neither_the_order_of_members_nor_the_origin_matters(
    order: list[int], shift: tuple[float, float, float]
) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.4, cubic=True)
    atoms.rattle(0.1, seed=3)
    models = models_of("conservative-2", 4)
    first = SDNNFFCommittee(models).predict([atoms])[0]
    moved = atoms.copy()
    moved.positions += shift
    second = SDNNFFCommittee([models[k] for k in order]).predict([moved])[0]
    np.testing.assert_allclose(second["force_deviation"], first["force_deviation"], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(second["forces"], first["forces"], rtol=1e-7, atol=1e-9)


def test_clones_agree_and_the_mean_serves_an_optimiser(salt: Atoms) -> None:
    model = toy_model("conservative-2", "float64")
    salt.calc = SDNNFF.committee([model, model])
    assert float(salt.calc.get_property("force_deviation", salt).max()) < 1e-12
    assert not salt.calc.get_property("outside", salt)
    before = salt.get_potential_energy()
    BFGS(salt, logfile=None).run(fmax=0.05, steps=5)
    assert salt.get_potential_energy() < before


def test_the_scale_stands_in_the_card_of_the_first(salt: Atoms, tmp_path: Path) -> None:
    models = models_of("conservative-1")
    assert "force_error_bar" not in SDNNFFCommittee(models).predict([salt])[0]
    models[0].card[SCALE_TOPIC] = 1.5
    paths = [save_model(model, tmp_path / f"{k}.pt") for k, model in enumerate(models)]
    found = SDNNFFCommittee(paths).predict([salt])[0]
    np.testing.assert_allclose(found["force_error_bar"], 1.5 * found["force_deviation"])
    assert SDNNFFCommittee(paths, scale=3.0).scale == 3.0


def test_energies_of_the_elements_stand_in_the_card_of_the_first() -> None:
    models = models_of("conservative-1")
    assert SDNNFF(models[0]).element_energies == SDNNFFCommittee(models).element_energies == {}
    models[0].card[ELEMENTS_TOPIC] = {"Na": -1.3}
    assert SDNNFF(models[0]).element_energies == SDNNFFCommittee(models).element_energies == {"Na": -1.3}


def test_what_members_disagree_on_is_outside_and_said_once(salt: Atoms, caplog: pytest.LogCaptureFixture) -> None:
    members = models_of("conservative-1")
    doubtful, sure = SDNNFFCommittee(members, scale=100.0), SDNNFFCommittee(members, scale=1e-6)
    said = []
    for calculator in (sure, doubtful):
        for _ in range(2):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                calculator.calculate(salt, ["forces"])
            said.append(("outside what it knows" in caplog.text, calculator.results["outside"], calculator.is_outside))
    assert said == [(False, False, False), (False, False, False), (True, True, True), (False, True, True)]


def test_close_atoms_are_outside_too() -> None:
    models = models_of("conservative-1")
    for model in models:
        model.statistics = dataclasses.replace(model.statistics, closest_pairs={(11, 17): 2.4})
        model.repulsive_core = True
    committee = SDNNFFCommittee(models, scale=1e-6)
    for distance, outside in ((2.6, False), (1.9, True)):
        committee.calculate(Atoms("NaCl", [[0, 0, 0], [distance, 0, 0]]), ["forces"])
        assert committee.results["outside"] is outside


def test_it_knows_the_elements_that_all_members_know(salt: Atoms) -> None:
    models = models_of("conservative-1")
    models[1].elements = (11,)
    with pytest.raises(UnknownElementError, match="Cl"):
        SDNNFFCommittee(models).predict([salt])


def test_a_committee_is_not_fused_into_another_as_if_it_were_its_first_member() -> None:
    models = models_of("conservative-1")
    single, committee = SDNNFF(models[0]), SDNNFFCommittee(models)
    assert single.batched_committee([single, committee]) is None
    assert committee.batched_committee([committee, committee]) is None


def test_what_is_no_committee_is_refused() -> None:
    with pytest.raises(EmptyInputError, match="two models, got 1"):
        SDNNFFCommittee([toy_model("conservative-1")])
    with pytest.raises(ConfigError, match="differ in architecture"):
        SDNNFFCommittee([toy_model("conservative-1"), toy_model("conservative-2")])
