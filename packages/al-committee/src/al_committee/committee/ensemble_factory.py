"""Making a committee from members, or from model files and one factory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from al_committee.committee.calculator import CommitteeCalculator, Member
from al_committee.committee.references import load_attribute
from al_committee.errors import ConfigError

__all__ = ["make_committee"]


def make_committee(
    members: Sequence[Member | str] | None = None,
    *,
    models: Sequence[str] | None = None,
    factory: str = "",
    argument: str = "model",
    options: Mapping[str, object] | None = None,
    calibration_scale: float | None = None,
) -> CommitteeCalculator:
    """Make a committee.

    Parameters
    ----------
    members : sequence of object, optional
        ASE calculators, or ``module:attr`` strings that make them without arguments.
    models : sequence of str, optional
        Model files or names, one per member, given to `factory`.
    factory : str
        ``module:attr`` of a calculator class or function.
    argument : str
        Keyword under which `factory` takes a model.
    options : mapping of str to object, optional
        Further keywords of `factory`, the same for all members.
    calibration_scale : float, optional
        From ``al-committee calibrate``: makes ε an error bar.

    Raises
    ------
    ConfigError
        When neither or both of `members` and `models` are given, or `models` without `factory`.
    """
    if models is not None and members is None:
        if not factory:
            raise ConfigError("models need factory='module:attr', the calculator that loads one of them.")
        make = load_attribute(factory)
        made = [cast("Member", make(**{argument: model}, **dict(options or {}))) for model in models]
    elif members is not None and models is None:
        made = [cast("Member", load_attribute(member)()) if isinstance(member, str) else member for member in members]
    else:
        raise ConfigError("give either members=[calculators] or models=[files] with factory='module:attr'.")
    return CommitteeCalculator(made, calibration_scale=calibration_scale)
