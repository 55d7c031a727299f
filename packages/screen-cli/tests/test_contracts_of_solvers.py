"""The contracts of solvers, applied to those that are installed."""

from __future__ import annotations

import pytest

from screen_cli.plugins.manager import installed_plugins
from screen_cli.testing import ConductivitySolverContract, ForceConstantSolverContract


class TestStandard(ConductivitySolverContract):
    name = "standard"


@pytest.mark.skipif("wigner" not in installed_plugins().names("conductivity_solvers"), reason="phon-wigner is missing")
class TestWigner(ConductivitySolverContract):
    name = "wigner"


class TestSymfc(ForceConstantSolverContract):
    name = "symfc"
