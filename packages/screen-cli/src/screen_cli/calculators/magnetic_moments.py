"""Magnetic moments that a calculator begins with, by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from screen_cli.calculators.model_errors import supported_elements
from screen_cli.errors import ConfigError

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


class WithMagneticMoments(Calculator):
    """A calculator that is given atoms with moments: DFT codes then compute with spin, force fields hardly ever look.

    All atoms of an element begin alike, in the primitive cell as in its supercells, so the order is ferromagnetic.

    Parameters
    ----------
    calculator : ase.calculators.calculator.BaseCalculator
    moments : mapping of str to float
        Element, μ_B; the others begin with none.

    Raises
    ------
    ConfigError
        No element has such a symbol, or a moment is not finite.
    """

    implemented_properties: list[str] = []  # noqa: RUF012 (ASE declares it so; every instance has its own)

    def __init__(self, calculator: BaseCalculator, moments: Mapping[str, float]) -> None:
        super().__init__()
        for symbol, moment in moments.items():
            if symbol not in atomic_numbers or not math.isfinite(moment):
                raise ConfigError(
                    f"calculator.magnetic_moments has {symbol} = {moment:g}, expected elements and μ_B, e.g. "
                    "{ Fe = 2.5 }."
                )
        self.of = calculator
        self.implemented_properties = list(calculator.implemented_properties)
        known = supported_elements(calculator)
        self.supported_elements = None if known is None else sorted(known)
        self._by_number = np.zeros(len(atomic_numbers))
        for symbol, moment in moments.items():
            self._by_number[atomic_numbers[symbol]] = moment
        predict = getattr(calculator, "predict", None)
        if callable(predict):  # ASE's own have none
            self.predict = lambda structures: predict([self._begun(atoms) for atoms in structures])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute one structure that begins with the moments."""
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        magnetic = self._begun(self.atoms)
        for name in properties:
            self.of.get_property(name, magnetic)
        self.results = dict(self.of.results)

    def reset(self) -> None:
        """Forget atoms and results, those of the calculator too."""
        super().reset()
        if callable(forget := getattr(self.of, "reset", None)):
            forget()

    def _begun(self, atoms: Atoms) -> Atoms:
        """Copy atoms, with the moments."""
        copy: Atoms = atoms.copy()
        copy.set_initial_magnetic_moments(self._by_number[atoms.numbers])
        return copy
