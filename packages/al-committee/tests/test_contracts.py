"""The toy trainer keeps the contract, and trainers that break it are told apart."""

from __future__ import annotations

import pytest

from al_committee.errors import TrainerError
from al_committee.loop.learning import check_models
from al_committee.testing import PairPotentialTrainer
from al_committee.testing.contracts import TrainerContract


class TestToyTrainer(TrainerContract):
    def make_trainer(self):
        return PairPotentialTrainer()


class Forgetful(PairPotentialTrainer):
    """Ignores its seed: every call trains from fresh randomness."""

    calls = 0

    def train(self, *args, seed, **kwargs):
        Forgetful.calls += 1
        return super().train(*args, seed=seed + Forgetful.calls, **kwargs)


def test_a_trainer_that_ignores_its_seed_fails_the_contract(tmp_path):
    contract = TrainerContract()
    contract.make_trainer = Forgetful
    with pytest.raises(AssertionError):
        contract.test_same_seed_same_models_and_other_seed_others(tmp_path)


def test_the_loop_refuses_what_is_no_model(tmp_path):
    inside, outside = tmp_path / "work" / "m", tmp_path / "m"
    inside.parent.mkdir()
    inside.write_text("x")
    outside.write_text("x")
    work = tmp_path / "work"
    assert check_models([str(inside)], work, 1) == [inside]
    with pytest.raises(TrainerError, match="1 models, expected n_members = 2"):
        check_models([inside], work, 2)
    with pytest.raises(TrainerError, match="no file"):
        check_models([work / "absent"], work, 1)
    with pytest.raises(TrainerError, match="outside its workdir"):
        check_models([outside], work, 1)
