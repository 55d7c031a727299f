"""Errors of the screening host: one base class, leaves that also are the builtin a caller expects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScreenError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(ScreenError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class StructureError(ScreenError, ValueError):
    """A structure cannot be used: unreadable, partial occupancy, overlapping atoms, no volume."""


class SourceError(ScreenError, RuntimeError):
    """A provider of crystals fails for good; what it gave before is kept."""


class CalculatorError(ScreenError, RuntimeError):
    """A calculator failed: unknown element, NaN or exploding forces, missing property."""


class UnsupportedElementError(CalculatorError):
    """The calculator does not know an element of the structure."""


class MissingExtraError(ScreenError, ImportError):
    """A plugin's optional dependency is not installed."""


class SymmetryLostError(ScreenError, RuntimeError):
    """The space group changed during relaxation."""


class UnderdeterminedFitError(ScreenError, ValueError):
    """Fewer independent force equations than free force-constant parameters."""


class PhysicsError(ScreenError, ArithmeticError):
    """A result is NaN, infinite or otherwise impossible; it is never written."""


class RecordError(ScreenError, TypeError):
    """A value or array of a record is missing, or of another type, dtype or shape."""


class PluginError(ScreenError):
    """A plugin cannot be loaded, used, or found."""


class ModelEnvironmentError(PluginError):
    """The environment of a force field cannot be made or used, or its server does not start."""


class UnknownNameError(PluginError, KeyError):
    """No plugin or option of that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DuplicateNameError(PluginError):
    """Two plugins registered one name."""


class StoreError(ScreenError, OSError):
    """The run directory cannot be used: unwritable, full, corrupt, or of another configuration."""


class NoRunError(StoreError):
    """There is no run directory, or it holds the run of another version."""


class RunLockedError(StoreError):
    """Another driver works on the run directory."""


class FilterError(ScreenError, ValueError):
    """A filter or gate expression cannot be parsed or names an unknown column."""


class UnknownColumnError(FilterError):
    """An expression names a column that there is not.

    Attributes
    ----------
    column : str
        Its name.
    """

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message, column)
        self.column = column

    def __str__(self) -> str:
        return str(self.args[0])


class MissingValueError(FilterError):
    """A row has no value in a column that an expression needs."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unknown name: list the choices and the nearest one."""
    choices = sorted(known)
    hint, listed = nearest_hint(name, choices), f"Known: {', '.join(choices) or 'none'}."
    return UnknownNameError(f"unknown {kind} '{name}'. {hint if hint == listed else f'{hint} {listed}'}")


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant, or list them all."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(choices) or 'none'}."


def printable(text: str) -> str:
    """Text for a terminal: what could steer it (control characters, marks of writing direction) becomes ``\\x1b``."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
