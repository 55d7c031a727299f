"""Names for strategies, scores, costs and descriptors, extensible by plugins.

A name is looked up among the built-ins, then among the entry points of the group ``al_committee.<kind>``
(loaded only when asked for), and ``module:attr`` always works::

    [project.entry-points."al_committee.strategies"]
    my-strategy = "my_package.selection:my_strategy"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from al_committee.errors import ConfigError, FactoryError, UnknownNameError, suggest_names

__all__ = ["Registry", "load_attribute"]

T = TypeVar("T")


def load_attribute(reference: str) -> Any:
    """Import what a ``module:attr`` reference names.

    Parameters
    ----------
    reference
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
        value: Any = importlib.import_module(module_name)
    except Exception as error:
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
    return value


class Registry(Generic[T]):
    """Objects of one kind by name.

    Parameters
    ----------
    kind
        Singular noun for messages, such as ``strategy``.
    group
        Entry-point group that plugins use.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under a name.

        Raises
        ------
        ConfigError
            When the name is taken by another object.
        """

        def add(value: T) -> T:
            if name in self._known and self._known[name] is not value:
                raise ConfigError(f"{self.kind} {name!r} is registered twice; choose another name.")
            self._known[name] = value
            return value

        return add

    def names(self) -> Iterator[str]:
        """Give built-in and plugin names, sorted."""
        found = set(self._known) | {entry.name for entry in entry_points(group=self.group)}
        yield from sorted(found)

    def get(self, name: str) -> T:
        """Find an object by name or by ``module:attr``.

        Raises
        ------
        UnknownNameError
            When nothing has this name; lists the choices.
        FactoryError
            When the plugin or reference behind it cannot be imported.
        """
        if name in self._known:
            return self._known[name]
        if ":" in name:
            value: T = load_attribute(name)
            return value
        matches = list(entry_points(group=self.group, name=name))
        if len(matches) > 1:
            owners = ", ".join(str(match.dist.name if match.dist else match.value) for match in matches)
            raise ConfigError(f"{self.kind} {name!r} is offered by {owners}; uninstall all but one.")
        if matches:
            try:
                plugin: T = matches[0].load()
            except Exception as error:
                raise FactoryError(
                    f"{self.kind} {name!r} ({matches[0].value}) fails to load: {type(error).__name__}: {error}"
                ) from error
            return plugin
        raise UnknownNameError(suggest_names(self.kind, name, self.names()))
