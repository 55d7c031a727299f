"""``module:attr`` references, the one way to name Python objects in a configuration."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from al_committee.errors import FactoryError, suggest_names

__all__ = ["load_attribute"]


def load_attribute(reference: str) -> Callable[..., object]:
    """Import what a ``module:attr`` reference names.

    Parameters
    ----------
    reference : str
        For example ``ase.calculators.emt:EMT``.

    Raises
    ------
    FactoryError
        When the reference has another form, the import fails, or the attribute is missing.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise FactoryError(f"{reference!r} is no factory reference. Write it as 'module:attr'.")
    try:
        value: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise FactoryError(
            f"module {module_name!r} of {reference!r} cannot be imported ({type(error).__name__}: {error}). "
            "Install it in this environment, or put its folder on PYTHONPATH."
        ) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise FactoryError(
                suggest_names(f"attribute of {module_name}", part, (n for n in dir(value) if n[0] != "_"))
            )
        value = getattr(value, part)
    return cast("Callable[..., object]", value)
