"""The descriptor of a crystal: one vector, the mean over the atoms of what its force field sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator

from screen_cli.errors import ConfigError
from screen_cli.stages.relax import Relaxed
from screen_cli.store.record import Record


def descriptor(records: Mapping[str, Any], *, calculator: BaseCalculator) -> Record:
    """Average the force field's descriptors over the atoms of the relaxed crystal.

    Parameters
    ----------
    records : mapping of str to typed record
        ``relax``.
    calculator : ase.calculators.calculator.BaseCalculator
        With a method ``descriptors(atoms)`` that returns (n_atoms, n_features), as sdnnff's and SevenNet's, or
        ``get_descriptors(atoms)`` as MACE's; a committee passes its first member's on.

    Returns
    -------
    Record
        data: ``n_features``; arrays: ``descriptor`` float64 (n_features,), in the calculator's units.

    Raises
    ------
    ConfigError
        The run's calculator gives no descriptors.
    """
    describe = getattr(calculator, "descriptors", None) or getattr(calculator, "get_descriptors", None)
    if describe is None:
        raise ConfigError(
            "property 'descriptor' needs a calculator that gives descriptors, such as sdnnff, sevennet or mace; "
            f"{type(calculator).__name__} does not. Leave it out of properties.names, and give the report "
            "--descriptors FILE."
        )
    relaxed: Relaxed = records["relax"]
    vector = np.asarray(describe(relaxed.atoms), dtype=np.float64).mean(axis=0)
    return Record({"n_features": len(vector)}, {"descriptor": vector})
