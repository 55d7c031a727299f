"""The descriptor of a crystal: one vector, the mean over the atoms of what its force field sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.stages.relax import Relaxed
from screen_cli.store.record import TypedRecord, array, column, record_from


@dataclass(frozen=True, kw_only=True, eq=False)
class Descriptor(TypedRecord):
    """What a force field sees of a crystal.

    Parameters
    ----------
    descriptor : ndarray
        float64 (n_features,), in the calculator's units.
    """

    descriptor: NDArray[np.float64] = array(np.float64, "n_features")

    @column
    def n_features(self) -> int:
        """Length of the vector."""
        return len(self.descriptor)


def descriptor(records: Mapping[str, object], *, calculator: BaseCalculator) -> Descriptor:
    """Average the force field's descriptors over the atoms of the relaxed crystal.

    Parameters
    ----------
    records : mapping of str to typed record
        ``relax``.
    calculator : ase.calculators.calculator.BaseCalculator
        With a method ``descriptors(atoms)`` that returns (n_atoms, n_features), as sdnnff's and SevenNet's, or
        ``get_descriptors(atoms)`` as MACE's; a committee passes its first member's on.

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
    relaxed = record_from(records, "relax", Relaxed)
    vector = np.asarray(describe(relaxed.atoms), dtype=np.float64).mean(axis=0)
    return Descriptor(descriptor=vector)
