"""The host's contract tests, applied to this plugin."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from screen_cli.testing import CalculatorContract, CommandContract, PropertyContract


class TestMorse(CalculatorContract):
    name = "morse"
    elements = ("Cu",)


class TestBandwidth(PropertyContract):
    name = "bandwidth"

    def records(self):
        return {"harmonic": SimpleNamespace(frequencies=np.array([[0.0, 2.0], [1.0, 7.5]]))}


class TestMorseTable(CommandContract):
    name = "morse-table"
