"""Errors of the force field: one base class, leaves that also are the builtin a caller expects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "CheckpointVersionError",
    "ConfigError",
    "DataError",
    "EmptyInputError",
    "MissingExtraError",
    "ModelNotFoundError",
    "NonFiniteError",
    "OverlappingAtomsError",
    "SdnnffError",
    "TrainingError",
    "UnknownElementError",
    "nearest_hint",
]


class SdnnffError(Exception):
    """Base of every error raised on purpose by sdnnff-calc."""


class ConfigError(SdnnffError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""


class UnknownElementError(SdnnffError, ValueError):
    """A structure holds an element on which the model was not trained."""


class OverlappingAtomsError(SdnnffError, ValueError):
    """Two atoms are closer than any bond."""


class EmptyInputError(SdnnffError, ValueError):
    """An empty structure or an empty list of structures was given."""


class DataError(SdnnffError, ValueError):
    """A data file or a labelled structure is broken."""


class CheckpointError(SdnnffError, OSError):
    """A checkpoint is corrupt or is not a checkpoint of this package."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint was written in a format this version does not know."""


class ModelNotFoundError(SdnnffError, FileNotFoundError):
    """No model of that path or name exists."""


class NonFiniteError(SdnnffError, ArithmeticError):
    """A result holds NaN or infinity."""


class TrainingError(SdnnffError, RuntimeError):
    """Training cannot go on."""


class MissingExtraError(SdnnffError, ImportError):
    """An optional dependency is not installed."""


def nearest_hint(name: str, choices: Iterable[str]) -> str:
    """Say the choices and, when one is close, which was probably meant.

    Parameters
    ----------
    name : str
        What was given.
    choices : iterable of str
        What is allowed.

    Returns
    -------
    str
        ``"Did you mean 'x'? Choices: a, b, x."``
    """
    allowed = sorted(choices)
    close = difflib.get_close_matches(name, allowed, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}Choices: {', '.join(allowed)}."
