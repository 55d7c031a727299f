"""Small models and toy labels for tests of this package and of what builds on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sdnnff_calc.config import EquivariantConfig, GridConfig, ModelConfig
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import Statistics

__all__ = ["SMALL_CONFIGS", "label_with_emt", "toy_model"]

_SMALL: dict[str, Any] = {
    "n_radial": 4,
    "n_element_channels": 3,
    "n_channels": 8,
    "n_hidden": 16,
    "cutoff": 4.5,
}
SMALL_CONFIGS: dict[str, ModelConfig] = {
    "conservative-1": EquivariantConfig(head="conservative", **_SMALL),
    "conservative-1-scaled": EquivariantConfig(head="conservative", radial_basis="bond-scaled", **_SMALL),
    "conservative-2": EquivariantConfig(head="conservative", n_layers=2, **_SMALL),
    "direct-1": EquivariantConfig(head="direct", **_SMALL),
    "direct-2": EquivariantConfig(head="direct", n_layers=2, **_SMALL),
    "grid": GridConfig(cutoff=4.5, n_grid=7, sigma=1.0, n_element_channels=3, n_hidden=24, n_hidden_layers=2),
}
"""One small model of each kind, by architecture, head and layers."""


def toy_model(name: str, dtype: str = "float32", seed: int = 0) -> Model:
    """Build a small model with random weights for Na, Al, Cl and Cu.

    Parameters
    ----------
    name : str
        Key of :data:`SMALL_CONFIGS`.
    dtype, seed : str, int
        Of the weights.
    """
    config = SMALL_CONFIGS[name]
    network = build_network(config, getattr(torch, dtype), seed)
    return Model(network, config, (11, 13, 17, 29), Statistics(0.5, 20.0, {11: -1.0, 17: -2.0}))


def label_with_emt(n: int, seed: int = 0, symbol: str = "Cu") -> list[Atoms]:
    """Make displaced 8-atom supercells with forces, energy and stress of ASE's EMT potential.

    Parameters
    ----------
    n : int
        Number of supercells.
    seed : int
        Of the displacements (0.05 Å standard deviation per component).
    symbol : str
        A metal EMT knows.
    """
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(n):
        atoms = bulk(symbol).repeat(2)
        atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    return structures
