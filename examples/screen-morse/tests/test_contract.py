"""The host's contract tests, applied to this plugin."""

from __future__ import annotations

import numpy as np

from screen_cli import Harmonic
from screen_cli.testing import CalculatorContract, CommandContract, PropertyContract


class TestMorse(CalculatorContract):
    name = "morse"
    elements = ("Cu",)


class TestBandwidth(PropertyContract):
    name = "bandwidth"

    def records(self):
        harmonic = object.__new__(Harmonic)  # all that the property reads of it
        object.__setattr__(harmonic, "frequencies", np.array([[0.0, 2.0], [1.0, 7.5]]))
        return {"harmonic": harmonic}


class TestMorseTable(CommandContract):
    name = "morse-table"
