"""The force field of a run: made once in a process, and described once."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from screen_cli.calculators.magnetic_moments import WithMagneticMoments
from screen_cli.calculators.registered import calculator_identity, make_calculator
from screen_cli.config import CalculatorSettings
from screen_cli.engines.messages import starting
from screen_cli.store.record import Json

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


@runtime_checkable
class Resettable(Protocol):
    """A calculator that remembers atoms, and can forget them."""

    def reset(self) -> None:
        """Forget atoms and results."""


@runtime_checkable
class Served(Protocol):
    """A calculator in a process of its own."""

    @property
    def process_id(self) -> int:
        """Process, or 0 while there is none."""


_served: list[Served] = []
"""The calculator that :func:`_calculator` keeps, where another process does its work."""


def model_processes() -> list[int]:
    """Give the processes that compute for this one."""
    return [process for calculator in _served if (process := calculator.process_id)]


@dataclass(frozen=True)
class RegisteredForceField:
    """A calculator by its registered name (:class:`screen_cli.stages.stage.ForceField`).

    Parameters
    ----------
    settings : CalculatorSettings
    """

    settings: CalculatorSettings

    @property
    def calculator(self) -> BaseCalculator:
        """The calculator, as if it were new; model files load once per process."""
        return _as_new(_calculator(*self._told()))

    def identity(self) -> Json:
        """Name, options with files replaced by their checksums, versions."""
        return _identity(*self._told())

    def _told(self) -> tuple[str, str, str, str]:
        """Name, options as JSON, environment, moments as JSON."""
        own = self.settings
        options, moments = (json.dumps(table, sort_keys=True) for table in (own.options, own.magnetic_moments))
        return own.name, options, own.environment, moments


@dataclass(frozen=True)
class GivenForceField:
    """A calculator that the caller made; its results are never stored under a key.

    Parameters
    ----------
    given : ase.calculators.calculator.BaseCalculator
    """

    given: BaseCalculator

    @property
    def calculator(self) -> BaseCalculator:
        """The calculator, as if it were new."""
        return _as_new(self.given)

    def identity(self) -> Json:
        """Name its class: nothing more is known of it."""
        return type(self.given).__name__


def _as_new(calculator: BaseCalculator) -> BaseCalculator:
    """Forget earlier atoms: a neighbour list that is kept sums in another order, and a resumed run would differ."""
    if isinstance(calculator, Resettable):  # ASE's mixtures of calculators are not
        calculator.reset()
    return calculator


@functools.lru_cache(maxsize=1)
def _calculator(name: str, options: str, environment: str, moments: str) -> BaseCalculator:
    """Make a calculator once per process."""
    with starting(f"the calculator '{name}'"):
        calculator = make_calculator(name, json.loads(options), environment=environment)
    _served[:] = [calculator] if isinstance(calculator, Served) else []
    by_element: dict[str, float] = json.loads(moments)
    return WithMagneticMoments(calculator, by_element) if by_element else calculator


@functools.lru_cache(maxsize=1)
def _identity(name: str, options: str, environment: str, moments: str) -> Json:
    """Identify a calculator once per process."""
    identity = calculator_identity(name, json.loads(options), environment=environment)
    by_element: dict[str, float] = json.loads(moments)
    return {**identity, "magnetic_moments": dict(by_element)} if by_element else identity
