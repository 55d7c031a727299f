"""Settings of a run that ends with thermal expansion, from the arguments of ``screen-cli expansion``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from screen_cli.config import RunSettings, settings_from_dict
from screen_cli.run.driver import resolve
from screen_cli.settings_file import apply_override

ROUTES = ("expansion", "expansion_strain", "quasi_harmonic")


def expansion_settings(
    calculator: str,
    calculator_options: Mapping[str, object],
    structures: Sequence[str],
    *,
    routes: Sequence[str] = ROUTES[:2],
    mesh: Sequence[int] = (),
    property_options: Mapping[str, Mapping[str, object]] | None = None,
    engine: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
) -> RunSettings:
    """Give the settings of a run that ends with thermal expansion.

    Parameters
    ----------
    calculator : str
        Registered name or ``ase:package.module.Class``.
    calculator_options : mapping
    structures : sequence of str
        Files and folders.
    routes : sequence of {"expansion", "expansion_strain", "quasi_harmonic"}
    mesh : sequence of int
        q mesh of every route; empty: from a length.
    property_options : mapping, optional
        Further options by property.
    engine : mapping, optional
        Keys of the table ``engine``.
    overrides : sequence of str
        ``table.key=value``, the last word.

    Raises
    ------
    ConfigError, UnknownNameError
        As :func:`screen_cli.run.driver.resolve`.
    """
    options = {name: dict(values) for name, values in (property_options or {}).items()}
    if len(mesh):
        for name in routes:
            options.setdefault(name, {})["mesh"] = [int(number) for number in mesh]
    tables: dict[str, object] = {
        "title": f"Thermal expansion with {calculator}",
        "source": {
            "name": "files",
            "options": {"paths": [str(Path(item).expanduser().resolve()) for item in structures]},
        },
        "calculator": {"name": calculator, "options": dict(calculator_options)},
        "force_constants": {"third_order": "expansion" in routes},
        "harmonic": {"phase_space": False},
        "conductivity": {"enabled": False},
        "properties": {"names": list(routes), "options": {name: value for name, value in options.items() if value}},
        "engine": {"name": "serial", **(engine or {})},
    }
    for override in overrides:
        apply_override(tables, override)
    return resolve(settings_from_dict(tables, "expansion"))
