"""Force fields whose weights nobody carries: a tiny model with random weights, in the environment of our recipe.

SCREEN_ENVIRONMENTS=… screen-cli env create matgl && screen-cli env create mattersim
SCREEN_ENVIRONMENTS=… pytest -m slow tests/test_tiny_models.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

ENVIRONMENTS = os.environ.get("SCREEN_ENVIRONMENTS", "")  # of the user; each test has a place of its own
PROGRAMS = {
    "matgl": """
import sys
from matgl.apps.pes import Potential
from matgl.models import TensorNet
model = TensorNet(element_types=("Na", "Cl"), units=16, nblocks=1, num_rbf=8, cutoff=5.0, is_intensive=False)
Potential(model=model).save(sys.argv[1])
""",
    "mattersim": """
import sys
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from mattersim.forcefield.potential import Potential
model = M3Gnet(num_blocks=1, units=16, max_l=2, max_n=2, device="cpu")
Potential(model, device="cpu", model_name="m3gnet").save(sys.argv[1])
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_forces_are_those_of_the_energy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the environment; energy, forces and stress belong together."""
    from screen_cli.calculators import foreign

    python = Path(ENVIRONMENTS) / name / "bin" / "python"
    if not ENVIRONMENTS or not python.exists():
        pytest.skip(f"no environment of {name}: set SCREEN_ENVIRONMENTS and run 'screen-cli env create {name}'")
    model = tmp_path / ("tiny.pth" if name == "mattersim" else "tiny")
    monkeypatch.setenv("SCREEN_ENVIRONMENTS", ENVIRONMENTS)
    subprocess.run([str(python), "-c", PROGRAMS[name], str(model)], check=True, capture_output=True, timeout=300)
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = foreign(name, path=str(model), trust=True)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 1e-6
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-4)
    direction = forces / np.abs(forces).max()  # the steepest: energies of random weights are small, and float32
    step = 0.05
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(
        -float(np.sum(forces * direction)), rel=0.05, abs=1e-3 * float(np.linalg.norm(forces))
    )
