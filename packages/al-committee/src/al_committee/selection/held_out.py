"""Which compounds are held out: by a hash of their reduced formula, before anything is chosen or trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ase import Atoms
from ase.formula import Formula

from al_committee.errors import ConfigError

__all__ = ["HeldOut", "reduced_formula"]


def reduced_formula(atoms: Atoms) -> str:
    """Give the reduced formula, elements in alphabetical order: one name for all polymorphs and arrangements."""
    return _reduced(Formula.from_list(sorted(atoms.get_chemical_symbols())))


def _reduced(formula: Formula) -> str:
    """Reduced formula in alphabetical order."""
    counts = formula.reduce()[0].count()
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in sorted(counts.items()))


class HeldOut:
    """Tells whether a crystal is held out.

    Parameters
    ----------
    share : float
        Of all compounds, 0 to 1; a compound is on the same side on every machine and in every run.
    formulas : iterable of str
        Further compounds, as formulas.

    Raises
    ------
    ConfigError
        For what is no formula.
    """

    def __init__(self, share: float, formulas: Iterable[str] = ()) -> None:
        self.share = share
        self.formulas = set()
        for text in formulas:
            try:
                self.formulas.add(_reduced(Formula(text, strict=True)))
            except ValueError:
                raise ConfigError(f"{text!r} among the held-out formulas is no chemical formula.") from None

    def __call__(self, atoms: Atoms) -> bool:
        """Whether this crystal is held out."""
        formula = reduced_formula(atoms)
        number = int.from_bytes(hashlib.sha256(formula.encode()).digest()[:8], "big")
        return formula in self.formulas or number < self.share * 2**64
