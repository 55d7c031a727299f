"""The property ``anharmonicity``: σ^A at temperatures, which crystals need more than force constants of 0 K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.calculators.calculator import Calculator

from screen_cli.config import ForcesSettings
from screen_cli.errors import ConfigError
from screen_cli.physics.anharmonic.anharmonicity import anharmonicity as share_of_forces
from screen_cli.physics.anharmonic.anharmonicity import (
    anharmonicity_error,
    anharmonicity_of_groups,
)
from screen_cli.physics.anharmonic.density_matrix import normal_modes, thermal_ensemble
from screen_cli.physics.random_displacements import seeded_generator
from screen_cli.properties.warm.records import Anharmonicity
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import compute_force_set
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.warm.supercell import shortest_bond
from screen_cli.store.record import record_from

FLOOR = 0.1  # of the highest frequency, for imaginary modes
MELTING_SHARE = 0.25


def anharmonicity(
    records: Mapping[str, object],
    *,
    calculator: Calculator,
    temperatures: Sequence[int] = (300,),
    n_supercells: int = 10,
    seed: int = 0,
) -> Anharmonicity:
    """Sample the harmonic ensemble of the force constants at 0 K and compare forces.

    Imaginary modes are sampled with |ω|, at least a tenth of the highest frequency, and no wider than a crystal that
    melts: the number is then a lower bound that says the crystal needs self-consistent force constants.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace`` and ``force_constants``.
    calculator : ase.calculators.calculator.Calculator
    temperatures : sequence of int
        K.
    n_supercells : int
        Samples at each temperature.
    seed : int

    Raises
    ------
    ConfigError
        There is no temperature, one is no whole number of kelvins, or there are fewer than two supercells.
    """
    if n_supercells < 2 or not len(temperatures) or any(int(kelvin) != kelvin or kelvin < 0 for kelvin in temperatures):
        raise ConfigError(
            f"property 'anharmonicity' has temperatures = {list(temperatures)} and n_supercells = {n_supercells}, "
            "expected at least one temperature in whole kelvins from 0 on, and at least 2 supercells."
        )
    displaced = record_from(records, "displace", Displaced)
    force_constants = record_from(records, "force_constants", ForceConstants)
    phonopy = load_phonopy(displaced, force_constants)
    fc2 = full_force_constants(phonopy)
    masses = np.asarray(phonopy.supercell.masses, dtype=np.float64)
    modes = normal_modes(fc2, masses)
    floor = FLOOR * float(np.abs(modes.frequencies_thz).max())
    elements = np.asarray(phonopy.supercell.numbers, dtype=np.int64)
    by_temperature: list[tuple[float, float, list[float]]] = []
    for kelvin in temperatures:
        ensemble = thermal_ensemble(modes, float(kelvin), floor_thz=floor)
        supercells = SupercellSet.of(phonopy.supercell, np.zeros((0, len(masses), 3)))
        ensemble = ensemble.limited(MELTING_SHARE * shortest_bond(supercells.perfect))
        displacements = ensemble.draw(n_supercells, seeded_generator(seed, f"anharmonicity/{kelvin}"))
        found, _ = compute_force_set(SupercellSet.of(phonopy.supercell, displacements), calculator, ForcesSettings())
        harmonic = -np.einsum("ijab,sjb->sia", fc2, displacements)
        groups = anharmonicity_of_groups(found.forces, harmonic, elements)
        error = anharmonicity_error(found.forces, harmonic)
        by_temperature.append((share_of_forces(found.forces, harmonic), error, list(groups.values())))
    shares, errors, by_element = zip(*by_temperature, strict=True)
    return Anharmonicity(
        temperatures=np.array(temperatures, dtype=np.int64),
        sigma_a=np.array(shares),
        sigma_a_error=np.array(errors),
        elements=np.unique(elements),
        sigma_a_by_element=np.array(by_element),
    )
