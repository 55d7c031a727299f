"""Small models and crystals shared by the tests, and the folder of reference data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import settings

from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.testing import SMALL_CONFIGS, label_with_emt, toy_model
from sdnnff_calc.training import workdirs

torch.set_num_threads(1)
settings.register_profile("sdnnff", deadline=None, max_examples=25)  # no timing decides a test
settings.load_profile("sdnnff")


@pytest.fixture
def learning_curves() -> None:
    """Trainings of this test draw their learning curves."""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the learning curve, more than half of the time of a short training, where no test looks at it."""
    if "learning_curves" not in request.fixturenames:
        monkeypatch.setattr(workdirs, "plot_learning_curve", lambda records, path: None)


@pytest.fixture(params=list(SMALL_CONFIGS))
def any_model(request: pytest.FixtureRequest) -> Model:
    return toy_model(request.param)


@pytest.fixture
def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.fixture(scope="session")
def emt_copper() -> list[Atoms]:
    return label_with_emt(24)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    folder = os.environ.get("SDNNFF_REFERENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set SDNNFF_REFERENCE_DATA to the folder of reference data (nacl-dft, mlearn, ...)")
    return Path(folder)
