"""Calculators by name, here or in environments of their own, and what they raise."""

from screen_cli.calculators.registered import foreign, make_calculator

__all__ = ["foreign", "make_calculator"]
