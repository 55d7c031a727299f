"""Fixtures shared by the tests of phon-wigner."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.testing import make_phonopy, morse_forces, rocksalt


@pytest.fixture(scope="session")
def crystal() -> HarmonicCrystal:
    """Toy rocksalt, two atoms, no charges."""
    return HarmonicCrystal.from_phonopy(make_phonopy())


@pytest.fixture(scope="session")
def phono3py_yaml(tmp_path_factory) -> Path:
    """phono3py_params.yaml of the toy crystal with fc2 and fc3, made by finite differences."""
    from phono3py import Phono3py

    phono3py = Phono3py(rocksalt(), supercell_matrix=np.eye(3, dtype=int) * 2, primitive_matrix="F", log_level=0)
    phono3py.generate_displacements(distance=0.03)
    phono3py.forces = [morse_forces(cell) for cell in phono3py.supercells_with_displacements]
    phono3py.produce_fc3()
    phono3py.produce_fc2()
    path = tmp_path_factory.mktemp("toy") / "phono3py_params.yaml"
    phono3py.save(path, settings={"force_constants": True})
    return path


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of public reference data; tests skip without it."""
    folder = os.environ.get("SDNNFF_REFERENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set SDNNFF_REFERENCE_DATA to the folder with the public reference data")
    return Path(folder)
