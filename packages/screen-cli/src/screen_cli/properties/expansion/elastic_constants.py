"""Elastic constants of a crystal and a calculator: sampling for :mod:`screen_cli.physics.elasticity.elastic`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.crystal.phonopy_cells import cartesian_rotations, phonopy_cell
from screen_cli.errors import CalculatorError, ConfigError
from screen_cli.physics.elasticity.elastic import ElasticTensor, fit_elastic_tensor
from screen_cli.physics.elasticity.strain import unit_strains
from screen_cli.properties.expansion.deformation import SYMPREC, InternalStrain, strained

logger = logging.getLogger(__name__)

STRAIN_STEPS = (0.002, 0.004)


def compute_elastic_tensor(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    steps: Sequence[float] = STRAIN_STEPS,
    symprec: float = SYMPREC,
) -> ElasticTensor:
    """Strain a crystal in six ways and both signs, and fit its stress.

    Parameters
    ----------
    atoms : ase.Atoms
        Relaxed crystal, best in its primitive cell.
    calculator : ase.calculators.calculator.BaseCalculator
        With stress.
    steps : sequence of float
        Sizes of the strains (norm of the tensor); both signs are taken.
    symprec : float
        Symmetry tolerance, Å.

    Raises
    ------
    CalculatorError
        The calculator gives no stress, or failed.
    ConfigError
        No step, or one that is not positive.
    PhysicsError
        The ions sit on a saddle.
    """
    if not len(steps) or min(steps) <= 0:
        raise ConfigError(f"strain steps are {list(steps)}, expected positive numbers, e.g. [0.002, 0.004].")
    signed = np.array([sign * step for step in steps for sign in (-1.0, 1.0)])
    residual = stress(atoms, calculator)
    ions = InternalStrain.of(atoms, calculator)
    clamped, relaxed = np.empty((2, 6, len(signed), 3, 3))
    for n_strain, direction in enumerate(unit_strains()):
        for n_step, step in enumerate(signed):
            deformed = strained(atoms, step * direction)
            clamped[n_strain, n_step] = stress(deformed, calculator)
            ions.relax(deformed, calculator)
            relaxed[n_strain, n_step] = stress(deformed, calculator)
        logger.info("elastic constants: strain %d of 6", n_strain + 1)
    rotations = cartesian_rotations(phonopy_cell(atoms), symprec)
    return fit_elastic_tensor(signed, clamped, relaxed, residual_stress=residual, rotations=rotations)


def stress(atoms: Atoms, calculator: BaseCalculator) -> NDArray[np.float64]:
    """Stress (3, 3), eV/Å³, positive when the crystal pulls inwards.

    Raises
    ------
    CalculatorError
        The calculator gives none, or it is not finite.
    """
    atoms.calc = calculator
    try:
        with translate_calculator_errors(atoms):
            value = np.asarray(atoms.get_stress(voigt=False), dtype=np.float64)
    except CalculatorError as error:
        if isinstance(error.__cause__, (PropertyNotImplementedError, NotImplementedError)):
            raise CalculatorError(
                f"{type(calculator).__name__} gives no stress, which elastic constants need. Use a calculator with "
                "stress, or give the elastic constants (option stiffness_gpa)."
            ) from error
        raise
    finally:
        atoms.calc = None
    if value.shape != (3, 3) or not np.isfinite(value).all():
        raise CalculatorError(f"{type(calculator).__name__} gave a stress that is not finite: {value.tolist()}.")
    return value
