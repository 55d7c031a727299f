"""A benchmark as a run directory: settings from the protocol, crystals from the list, everything else as in any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from screen_cli.bench.protocol import Protocol, merge_tables, protocol_tables
from screen_cli.config import RunSettings, settings_from_dict
from screen_cli.errors import ConfigError
from screen_cli.run.driver import resolve
from screen_cli.settings_file import Plain, apply_override, settings_to_dict
from screen_cli.store.run_directory import RunDirectory

SOURCE = "benchmark"


def campaign_settings(
    protocol: Protocol,
    calculator: str,
    calculator_options: Mapping[str, object],
    structures: Sequence[str],
    *,
    only: Sequence[str] = (),
    meshes: Mapping[str, Sequence[int]] | None = None,
    engine: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
) -> RunSettings:
    """Give the settings of a benchmark run.

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
        As :func:`screen_cli.bench.protocol.protocol_tables` and :func:`screen_cli.run.driver.resolve`.
    """
    merged = merge_tables(
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
    tables: dict[str, object] = {**merged, "title": f"κ benchmark of {calculator}, protocol {protocol}"}
    for override in overrides:
        apply_override(tables, override)
    return resolve(settings_from_dict(tables, "benchmark"))


def open_campaign(root: Path, settings: RunSettings, *, must_exist: bool = False) -> RunDirectory:
    """Make or reopen the run directory; another choice of crystals is no other run.

    Parameters
    ----------
    root : Path
    settings : RunSettings
    must_exist : bool
        Open what is there, to score it, and change nothing.

    Raises
    ------
    ConfigError
        The directory was made with another protocol or calculator, or must exist and does not.
    """
    if not (root / "manifest.json").exists():
        if must_exist:
            raise ConfigError(f"{root} holds no run to score. Leave --score-only out to compute it.")
        return RunDirectory.create(root, settings)
    run = RunDirectory.open(root)
    before, after = (settings_to_dict(item) for item in (run.settings, settings))
    same_but_source = _without_source(before) == _without_source(after)
    if must_exist and same_but_source:
        return run
    return RunDirectory.create(root, settings, accept_changes=same_but_source)


def _without_source(tables: Mapping[str, Plain]) -> dict[str, Plain]:
    """Give the settings that shape results."""
    return {key: value for key, value in tables.items() if key not in ("source", "engine", "title")}
