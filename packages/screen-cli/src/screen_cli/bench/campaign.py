"""A benchmark as a run directory: settings from the protocol, crystals from the list, everything else as in any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from screen_cli.bench.protocol import Protocol, merge_tables, protocol_tables
from screen_cli.config import apply_override, settings_from_dict, settings_to_dict
from screen_cli.driver import resolve
from screen_cli.run_directory import RunDirectory
from screen_cli.settings import RunSettings

SOURCE = "benchmark"


def campaign_settings(
    protocol: Protocol,
    calculator: str,
    calculator_options: Mapping[str, Any],
    structures: Sequence[str],
    *,
    only: Sequence[str] = (),
    meshes: Mapping[str, Sequence[int]] | None = None,
    engine: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> RunSettings:
    """Settings of a benchmark run.

    Parameters
    ----------
    protocol : {"exact", "fast"}
    calculator : str
        Registered name or ``ase:package.module.Class``.
    calculator_options : mapping
    structures : sequence of str
        Files and folders (:mod:`screen_cli.bench.materials`).
    only : sequence of str
        Ids, names or prototypes.
    meshes : mapping of str to sequence of int, optional
        q meshes of the reference, by id.
    engine : mapping, optional
        Keys of the table ``engine``.
    overrides : sequence of str
        ``table.key=value``, the last word.

    Raises
    ------
    MissingExtraError, ConfigError, UnknownNameError
        As :func:`screen_cli.bench.protocol.protocol_tables` and :func:`screen_cli.driver.resolve`.
    """
    tables = merge_tables(
        {
            "source": {
                "name": SOURCE,
                "options": {
                    "structures": [str(Path(item).expanduser().resolve()) for item in structures],
                    "only": sorted(only),
                    "meshes": {key: list(value) for key, value in sorted((meshes or {}).items())},
                },
            },
            "calculator": {"name": calculator, "options": dict(calculator_options)},
            "engine": dict(engine or {}),
        },
        protocol_tables(protocol),
    )
    tables["title"] = f"κ benchmark of {calculator}, protocol {protocol}"
    for override in overrides:
        apply_override(tables, override)
    return resolve(settings_from_dict(tables, "benchmark"))


def open_campaign(root: Path, settings: RunSettings) -> RunDirectory:
    """Make or reopen the run directory; another choice of crystals is no other run.

    Raises
    ------
    ConfigError
        The directory was made with another protocol or calculator.
    """
    only_source_differs = False
    if (root / "manifest.json").exists():
        before, after = (settings_to_dict(item) for item in (RunDirectory.open(root).settings, settings))
        only_source_differs = before.pop("source") != after.pop("source") and _without_free(before) == _without_free(
            after
        )
    return RunDirectory.create(root, settings, accept_changes=only_source_differs)


def _without_free(tables: dict[str, Any]) -> dict[str, Any]:
    """Settings that shape results."""
    return {key: value for key, value in tables.items() if key not in ("engine", "title")}
