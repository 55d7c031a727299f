"""Configuration of a loop: frozen dataclasses read from TOML; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from al_committee.errors import ConfigError, suggest_names
from al_committee.selection.pool import SupercellSettings
from al_committee.selection.selection import SelectionSettings

__all__ = [
    "LabelSettings",
    "LoopConfig",
    "PoolSettings",
    "StopSettings",
    "TrainingSettings",
    "config_differences",
    "config_from_dict",
    "read_config",
]


@dataclass(frozen=True)
class PoolSettings:
    """Where crystals come from and what is held out.

    Parameters
    ----------
    source
        A file that ASE reads (relative to the config file), or ``module:attr`` of a function that yields
        ``(id, Atoms)``.
    options
        Keywords of that function.
    test_structures
        Crystals set aside before anything else: never in the pool, labelled once, the fixed test set.
    start_labels
        Supercells labelled in round 0.
    start_method
        ``representative`` (principal components and k-means, as the paper recommends), ``random`` (as the
        paper did) or ``elements`` (random, but first crystals that together hold every element).
    """

    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    test_structures: int = 4
    start_labels: int = 8
    start_method: str = "representative"


@dataclass(frozen=True)
class LabelSettings:
    """The source of labels.

    Parameters
    ----------
    kind
        ``calculator`` (in this process), ``workers`` (in worker processes), ``vasp`` or ``espresso`` (file
        exchange).
    factory
        ``module:attr`` that makes the ASE calculator, for the first two kinds.
    options
        Keywords of the factory; for ``vasp`` the parameters of ASE's Vasp calculator; for ``espresso``
        ``input_data``, ``pseudopotentials``, ``kpts``.
    version
        Anything that tells otherwise equal settings apart (a code version, a functional's patch).
    cache
        Folder of labels, shared by all runs; empty for ``$AL_COMMITTEE_LABELS`` or the user's data folder.
    n_workers
        Worker processes.
    timeout_s
        Limit per label in worker processes, s; 0 for none.
    threads
        Threads per worker process.
    folder
        For file exchange, relative to the run directory.
    stale_hours
        For file exchange: unfinished outputs untouched for this long count as failed; 0 waits for ever.
    collect_share
        For file exchange: go on with the round once this share of its labels is in; late ones join the next
        round.
    max_failed_share
        Stop the loop when more of the attempted labels have failed.
    min_attempts
        Attempts before that limit is applied.
    """

    kind: str = "calculator"
    factory: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    cache: str = ""
    n_workers: int = 2
    timeout_s: float = 0.0
    threads: int = 1
    folder: str = "exchange"
    stale_hours: float = 0.0
    collect_share: float = 1.0
    max_failed_share: float = 0.3
    min_attempts: int = 5


@dataclass(frozen=True)
class TrainingSettings:
    """The learner.

    Parameters
    ----------
    trainer
        ``module:attr`` of a trainer (:class:`al_committee.protocols.Trainer`) or of a class or function that
        makes one.
    options
        Keywords for making it.
    n_members
        Size of the committee (the paper: 5).
    warm_start
        Start each round from the last round's models; otherwise from scratch.
    validation_share
        Of the labels; a label stays on its side in all rounds, but one that alone holds an element is trained on.
    keep_partial
        Leave an interrupted training's files in place, for trainers that resume from them. The loop's course
        is then only as reproducible as that trainer's resumption.
    """

    trainer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    n_members: int = 5
    warm_start: bool = True
    validation_share: float = 0.1
    keep_partial: bool = False


@dataclass(frozen=True)
class StopSettings:
    """When to stop and publish.

    Parameters
    ----------
    max_rounds
        Active-learning rounds after round 0.
    max_labels
        Labels attempted in all rounds, test set not counted; 0 for no limit.
    constant_rounds
        Stop when the number recommended has been near constant over this many rounds; 0 switches it off.
    constant_tolerance
        Near constant: changes of at most this share of the pool's structures.
    below_threshold
        Stop when nothing is recommended any more.
    """

    max_rounds: int = 7
    max_labels: int = 0
    constant_rounds: int = 2
    constant_tolerance: float = 0.02
    below_threshold: bool = True


@dataclass(frozen=True)
class LoopConfig:
    """A whole loop.

    Parameters
    ----------
    seed
        Of every random choice; two runs of one config take the same course.
    pool, supercells, selection, labels, training, stop
        The sections.
    """

    seed: int = 0
    pool: PoolSettings = field(default_factory=PoolSettings)
    supercells: SupercellSettings = field(default_factory=SupercellSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    stop: StopSettings = field(default_factory=StopSettings)

    def to_dict(self) -> dict[str, Any]:
        """Resolved configuration, JSON-like, defaults included."""
        return dataclasses.asdict(self)


START_METHODS = ("representative", "random", "elements")
SAFE_CHANGES = (
    "stop.",
    "selection.budget",
    "labels.n_workers",
    "labels.timeout_s",
    "labels.threads",
    "labels.stale_hours",
    "labels.collect_share",
    "labels.max_failed_share",
    "labels.min_attempts",
)
"""Keys that may change on ``resume --accept-changes``: they steer what comes, not what was done."""


def read_config(path: Path) -> LoopConfig:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        Missing file, invalid TOML, unknown key, wrong type, impossible value.
    """
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    return config_from_dict(raw, str(path))


def config_from_dict(raw: Mapping[str, Any], source: str = "config") -> LoopConfig:
    """Build the configuration from nested mappings.

    Raises
    ------
    ConfigError
        Unknown key, wrong type, impossible value.
    """
    config: LoopConfig = _build(LoopConfig, raw, source, "")
    _check_values(config, source)
    return config


def _build(kind: Any, raw: Mapping[str, Any], source: str, prefix: str) -> Any:
    """Build one dataclass; sections are dataclasses themselves."""
    hints = get_type_hints(kind)
    values = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if key not in hints:
            what = "section or key" if not prefix else f"key of [{prefix[:-1]}]"
            raise ConfigError(f"{source}: {suggest_names(what, key, hints)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: {name} is {value!r}, expected a table [{name}].")
            values[key] = _build(hint, value, source, f"{name}.")
        else:
            values[key] = _converted(value, hint, name, source)
    return kind(**values)


def _converted(value: Any, hint: Any, name: str, source: str) -> Any:
    """Check a value's type; integers pass for floats, nothing else is bent."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = get_origin(hint) or hint
    if get_args(hint) and expected is not None and not isinstance(expected, type):
        return value
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        wanted = getattr(expected, "__name__", str(expected))
        raise ConfigError(f"{source}: {name} is {value!r}, expected {wanted}.")
    return value


def _check_values(config: LoopConfig, source: str) -> None:
    """Refuse impossible values, each with its reason."""
    rules = [
        (bool(config.pool.source), "pool.source is empty; name a file or module:attr"),
        (bool(config.training.trainer), "training.trainer is empty; name a trainer as module:attr"),
        (
            config.pool.start_labels >= 1,
            "pool.start_labels must be at least 1: the first committee needs labels",
        ),
        (
            config.pool.start_method in START_METHODS,
            suggest_names("pool.start_method", config.pool.start_method, START_METHODS),
        ),
        (
            config.labels.kind in ("calculator", "workers", "vasp", "espresso"),
            suggest_names("labels.kind", config.labels.kind, ("calculator", "workers", "vasp", "espresso")),
        ),
        (
            config.labels.kind not in ("calculator", "workers") or bool(config.labels.factory),
            f"labels.kind = {config.labels.kind!r} needs labels.factory = 'module:attr'",
        ),
        (config.training.n_members >= 2, "training.n_members must be at least 2: one model cannot disagree"),
        (0 <= config.training.validation_share < 1, "training.validation_share must lie in [0, 1)"),
        (0 < config.labels.collect_share <= 1, "labels.collect_share must lie in (0, 1]"),
        (0 <= config.labels.max_failed_share <= 1, "labels.max_failed_share must lie in [0, 1]"),
        (config.selection.budget > 0, "selection.budget must be positive"),
        (0 < config.selection.percentile <= 100, "selection.percentile must lie in (0, 100]"),
        (config.stop.max_rounds >= 0, "stop.max_rounds must not be negative"),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(f"{source}: {message}.")


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Compare two nested configurations.

    Returns
    -------
    dict
        ``"section.key"`` to ``(old, new)``.
    """
    found: dict[str, Any] = {}
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.update(config_differences(before, after, f"{prefix}{key}."))
        elif before != after:
            found[f"{prefix}{key}"] = (before, after)
    return found
