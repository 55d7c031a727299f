"""Errors of al-committee: one base class, leaves that also inherit the builtin a caller expects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CommitteeError",
    "CommitteeMemberError",
    "ConfigChangedError",
    "ConfigError",
    "FactoryError",
    "LabelFailedError",
    "LabelMismatchError",
    "LabelSourceError",
    "MissingExtraError",
    "RunLockedError",
    "RunStateError",
    "StructureError",
    "TooManyFailedLabelsError",
    "TrainerError",
    "UnknownNameError",
    "suggest_names",
]


class CommitteeError(Exception):
    """Base class of every error that al-committee raises on purpose."""


class CommitteeMemberError(CommitteeError, ValueError):
    """A member of the committee gave something unusable: NaN, another shape, other units, other elements."""


class ConfigError(CommitteeError, ValueError):
    """The configuration holds an unknown key, a wrong type or an impossible value."""


class ConfigChangedError(CommitteeError, ValueError):
    """The configuration differs from the one this run directory was made with."""


class FactoryError(CommitteeError, ImportError):
    """A ``module:attr`` reference cannot be imported or called."""


class LabelFailedError(CommitteeError, RuntimeError):
    """A label could not be computed or read: the source of labels failed, or its output is unfinished."""


class LabelMismatchError(CommitteeError, ValueError):
    """A label does not belong to the structure it was asked for: other cell, other atoms, NaN."""


class LabelSourceError(CommitteeError, RuntimeError):
    """The source of labels itself does not work: it cannot be started, or fails before its first label."""


class MissingExtraError(CommitteeError, ImportError):
    """An optional dependency is needed and absent."""


class RunLockedError(CommitteeError, RuntimeError):
    """Another driver works on this run directory."""


class RunStateError(CommitteeError, RuntimeError):
    """The run directory is not in a state that allows what was asked."""


class StructureError(CommitteeError, ValueError):
    """A structure cannot be used: NaN in its positions, no atoms, a damaged file."""


class TooManyFailedLabelsError(CommitteeError, RuntimeError):
    """The share of failed labels passed its limit: the source of labels is broken, not one structure."""


class TrainerError(CommitteeError, RuntimeError):
    """The trainer broke its protocol: no model, a missing file, a wrong number of members."""


class UnknownNameError(CommitteeError, KeyError):
    """A name that is not registered; the message lists the choices and the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def suggest_names(kind: str, name: str, choices: Iterable[str]) -> str:
    """Say that `name` is no known `kind`, list the choices and propose the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known) if known else "none is registered"
    return f"unknown {kind} {name!r}.{hint} Choices: {listed}."


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant, or list them all."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Choices: {', '.join(choices) or 'none'}."
