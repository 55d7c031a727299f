"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.hookspecs import hookimpl
from screen_cli.plugin_records import PropertyPlugin


@hookimpl
def screen_properties() -> Iterator[PropertyPlugin]:
    """Register the properties of :mod:`screen_cli.properties`."""
    yield PropertyPlugin(
        name="rattler",
        summary="The element that moves most, and how much more than the rest",
        needs=("relax", "harmonic"),
        columns=(
            ("rattler_element", "element with the largest mean square displacement at the first temperature"),
            ("rattler_ratio", "its mean square displacement over the mean of all atoms"),
        ),
        factory="screen_cli.properties:rattler",
    )
