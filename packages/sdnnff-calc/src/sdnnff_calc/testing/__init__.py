"""For tests of this package and of what builds on it: small models, toy labels, and strategies that draw crystals.

:mod:`sdnnff_calc.testing.strategies` needs hypothesis.
"""

from sdnnff_calc.testing.models import SMALL_CONFIGS, label_with_emt, toy_model

__all__ = ["SMALL_CONFIGS", "label_with_emt", "toy_model"]
