"""From names in a configuration to objects: pool, labeller, trainer, cache; for the command line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from al_committee.config import LoopConfig
from al_committee.errors import ConfigError, FactoryError
from al_committee.interruption import StopWatch
from al_committee.labels.cache import LabelCache, default_cache_folder
from al_committee.labels.calculator_labeller import CalculatorLabeller, Labeller
from al_committee.labels.dft_formats import make_dft_format
from al_committee.labels.file_exchange import FileExchangeLabeller
from al_committee.labels.teacher import TeacherSettings
from al_committee.labels.worker_labeller import WorkerLabeller
from al_committee.loop.loop import ActiveLearningLoop
from al_committee.loop.run_directory import RunDirectory
from al_committee.progress import Progress
from al_committee.protocols import Trainer
from al_committee.registry import load_attribute
from al_committee.selection.descriptors import DESCRIPTORS
from al_committee.selection.pool import Crystal, Pool, read_crystals
from al_committee.selection.selection import COSTS, STRATEGIES

__all__ = ["build_calculator", "build_labeller", "build_loop", "build_pool", "build_trainer", "check_names"]


def check_names(config: LoopConfig) -> None:
    """Import or look up everything a configuration names, before anything is made or computed.

    Raises
    ------
    FactoryError, UnknownNameError, ConfigError
        For the first name that leads nowhere.
    """
    STRATEGIES.get(config.selection.strategy)
    COSTS.get(config.selection.cost)
    DESCRIPTORS.get(config.selection.descriptor)
    if config.labels.kind in ("vasp", "espresso"):
        make_dft_format(config.labels.kind, config.labels.options)
    else:
        load_attribute(config.labels.factory)
    load_attribute(config.training.trainer)


def build_pool(run: RunDirectory) -> Pool:
    """Make the pool from ``[pool]`` and ``[supercells]``."""
    settings = run.config.pool
    source = settings.source
    if ":" in source and not Path(source).exists():
        made = _call(source, settings.options, "pool.source")
        return Pool(_as_crystals(made, source), run.config.supercells)
    return Pool(read_crystals(run.base / source), run.config.supercells)


def _as_crystals(made: Any, source: str) -> Iterator[Crystal]:
    """Crystals from what a source function yields: (id, Atoms), (id, Atoms, metadata) or Crystal."""
    for item in made:
        if isinstance(item, Crystal):
            yield item
        elif isinstance(item, tuple) and len(item) >= 2:
            yield Crystal(str(item[0]), item[1])
        else:
            raise ConfigError(f"{source} yields {type(item).__name__}, expected (id, Atoms).")


def _call(reference: str, options: Mapping[str, Any], where: str) -> Any:
    """Call a factory, turning its failure into a readable error."""
    factory = load_attribute(reference)
    try:
        return factory(**options)
    except Exception as error:
        raise FactoryError(
            f"{where} = {reference!r} with options {dict(options)} fails: {type(error).__name__}: {error}"
        ) from error


def build_calculator(reference: str, options: Mapping[str, Any]) -> Any:
    """Make an ASE calculator from ``module:attr`` (module-level, so that workers can unpickle it)."""
    return _call(reference, options, "labels.factory")


@functools.cache
def _module_version(reference: str) -> str:
    """Version of the distribution that holds a module, or an empty string."""
    top = reference.partition(":")[0].partition(".")[0]
    for name in packages_distributions().get(top, ()):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


def build_labeller(run: RunDirectory) -> Labeller:
    """Make the source of labels from ``[labels]``."""
    labels = run.config.labels
    if labels.kind in ("vasp", "espresso"):
        dft = make_dft_format(labels.kind, labels.options)
        return FileExchangeLabeller(run.path / labels.folder, dft, stale_hours=labels.stale_hours)
    settings = {
        "factory": labels.factory,
        "options": dict(labels.options),
        "version": labels.version,
        "package": _module_version(labels.factory),
    }
    if labels.kind == "workers":
        load_attribute(labels.factory)  # a misspelt name should fail here, not in every worker
        teacher = TeacherSettings(labels.factory, dict(labels.options), threads=labels.threads)
        return WorkerLabeller(teacher, settings, n_workers=labels.n_workers, timeout_s=labels.timeout_s)
    return CalculatorLabeller(build_calculator(labels.factory, labels.options), settings)


def build_cache(run: RunDirectory, labeller: Labeller) -> LabelCache:
    """Open the store of labels."""
    named = run.config.labels.cache
    return LabelCache(run.base / named if named else default_cache_folder(), labeller.settings)


def build_trainer(reference: str, options: Mapping[str, Any]) -> Trainer:
    """Make the learner: an object with ``train`` and ``committee``, or a class or function that gives one."""
    found = load_attribute(reference)
    is_trainer = hasattr(found, "train") and hasattr(found, "committee") and not inspect.isclass(found)
    trainer = found if is_trainer else _call(reference, options, "training.trainer")
    for method in ("train", "committee"):
        if not callable(getattr(trainer, method, None)):
            raise FactoryError(f"training.trainer = {reference!r} has no method {method}; see protocols.Trainer.")
    result: Trainer = trainer
    return result


def build_loop(
    run: RunDirectory, stop: StopWatch | None = None, progress: Progress | None = None
) -> ActiveLearningLoop:
    """Make everything a run directory's configuration names."""
    from al_committee.loop.report import write_report

    labeller = build_labeller(run)
    return ActiveLearningLoop(
        run,
        build_pool(run),
        labeller,
        build_trainer(run.config.training.trainer, run.config.training.options),
        build_cache(run, labeller),
        stop=stop,
        write_report=write_report,
        progress=progress,
    )
