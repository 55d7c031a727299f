"""sdnnff-calc: the elemental spatial-density neural-network force field, as an ASE calculator.

>>> from sdnnff_calc import SDNNFF
>>> atoms.calc = SDNNFF("model.pt")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import version

from sdnnff_calc.calculator import SDNNFF
from sdnnff_calc.checkpoint import load_model, save_model
from sdnnff_calc.errors import SdnnffError

__all__ = ["SDNNFF", "SdnnffError", "__version__", "load_model", "save_model"]

__version__ = version("sdnnff-calc")
