"""Whether the force field of an environment computes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from ase.build import bulk

from screen_cli.calculators.environments.virtual import find_environment
from screen_cli.calculators.registered import serve
from screen_cli.errors import CalculatorError


def check_environment(name: str, options: Mapping[str, object]) -> str:
    """Make the calculator of an environment and compute a crystal with it.

    Parameters
    ----------
    name : str
        Of the calculator and its environment.
    options : mapping
        Of the calculator.

    Returns
    -------
    str
        What was computed, in a phrase.

    Raises
    ------
    ScreenError
        The calculator cannot be made, for lack of weights as a rule.
    ModelEnvironmentError
        The environment does not work.
    CalculatorError
        Its forces are no numbers.
    """
    start = time.perf_counter()
    calculator = serve(name, options, find_environment(name), None)
    try:
        loaded = time.perf_counter() - start
        atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        known = calculator.supported_elements
        if known is not None and not {"Na", "Cl"} <= set(known):
            atoms = bulk("Cu", cubic=True) if "Cu" in known else bulk(known[0], "fcc", 4.0, cubic=True)
        atoms.rattle(0.03, seed=1)
        atoms.calc = calculator
        start = time.perf_counter()
        forces = atoms.get_forces()
        seconds = time.perf_counter() - start
    finally:
        calculator.close()
    if not np.isfinite(forces).all():
        raise CalculatorError(f"forces of '{name}' on {atoms.get_chemical_formula()} are not finite.")
    return (
        f"forces of {atoms.get_chemical_formula()} up to {np.abs(forces).max():.3f} eV/Å in {seconds:.2f} s, "
        f"loaded in {loaded:.1f} s"
    )
