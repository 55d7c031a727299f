"""sdnnff-calc: the elemental spatial-density neural-network force field, as an ASE calculator.

>>> from sdnnff_calc import SDNNFF
>>> atoms.calc = SDNNFF("model.pt")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sdnnff_calc.errors import SdnnffError

if TYPE_CHECKING:
    from sdnnff_calc.calculator import SDNNFF
    from sdnnff_calc.checkpoint import load_model, save_model

__all__ = ["SDNNFF", "SdnnffError", "__version__", "load_model", "save_model"]

__version__ = version("sdnnff-calc")

_HOMES = {"SDNNFF": "calculator", "load_model": "checkpoint", "save_model": "checkpoint"}


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for (the host's start-up stays light)."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"sdnnff_calc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sdnnff_calc' has no attribute '{name}'")
