"""From names in a configuration to objects: pool, labeller, trainer, cache.

``module:attr`` is imported; any other name belongs to the host (screen-cli) that runs the command, which hands over
what it knows as :class:`HostNames`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from ase import Atoms

from al_committee.committee.protocols import Trainer
from al_committee.committee.references import load_attribute
from al_committee.config import LoopConfig
from al_committee.errors import ConfigError, FactoryError, RunStateError, UnknownNameError, suggest_names
from al_committee.labels.cache import LabelCache, default_cache_folder
from al_committee.labels.calculator_labeller import CalculatorLabeller, Labeller
from al_committee.labels.dft_formats import make_dft_format
from al_committee.labels.file_exchange import FileExchangeLabeller
from al_committee.labels.workers.teacher import TeacherSettings
from al_committee.labels.workers.teacher_program import call_factory, identify
from al_committee.labels.workers.worker_labeller import WorkerLabeller
from al_committee.loop.campaign import ActiveLearningLoop, LoopParts
from al_committee.loop.interruption import StopWatch
from al_committee.loop.pages.round_page import write_report
from al_committee.loop.progress import NoProgress, Progress
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.crystal_index import Crystal, CrystalIndex
from al_committee.selection.descriptors import DESCRIPTORS
from al_committee.selection.held_out import HeldOut
from al_committee.selection.pool import Pool, read_crystals
from al_committee.selection.rules import COSTS, STRATEGIES

__all__ = ["HostNames", "build_labeller", "build_loop", "build_pool", "build_trainer", "check_names", "pinned_cache"]


Choice = TypeVar("Choice")


class HostNames(Protocol):
    """What a host knows by name; each method raises one of this package's errors for an unknown one."""

    def trainer(self, name: str, options: Mapping[str, object]) -> Trainer:
        """Make a registered trainer."""
        ...

    def calculator(self, name: str) -> tuple[str, Mapping[str, object]]:
        """Give the ``module:attr`` that makes a registered calculator in any process, and its first keywords."""
        ...

    def crystals(self, name: str, options: Mapping[str, object]) -> Iterable[tuple[str, Atoms, str]]:
        """Yield (id, cell, group) from a registered source of structures."""
        ...


def check_names(config: LoopConfig, base: Path, names: HostNames | None = None) -> None:
    """Import or look up everything a configuration names, before anything is made or computed.

    Raises
    ------
    FactoryError, UnknownNameError, ConfigError
        For the first name that leads nowhere.
    """
    for kind, choices, name in (
        ("strategy", STRATEGIES, config.selection.strategy),
        ("cost", COSTS, config.selection.cost),
        ("descriptor", DESCRIPTORS, config.selection.descriptor),
    ):
        _known(kind, choices, name)
    if config.labels.kind in ("vasp", "espresso"):
        make_dft_format(config.labels.kind, config.labels.options)
    elif config.labels.kind == "calculator" or not (config.labels.python or config.labels.path):
        load_attribute(_factory(config, names)[0])  # a misspelt name should fail here, not in every worker
    if ":" in config.training.trainer:
        load_attribute(config.training.trainer)
    else:
        build_trainer(config, names)
    source = config.pool.source
    if ":" in source and not (base / source).exists():
        load_attribute(source)
    elif names is None and not (base / source).exists():
        raise ConfigError(f"pool.source: {base / source} does not exist. Paths are relative to the config file.")


def _known(kind: str, choices: Mapping[str, Choice], name: str) -> Choice:
    """Give a built-in by name, or ``module:attr``."""
    if name in choices:
        return choices[name]
    if ":" in name:
        return cast("Choice", load_attribute(name))
    raise UnknownNameError(suggest_names(kind, name, choices))


def _no_host(what: str, name: str) -> UnknownNameError:
    """Say that a name needs a host."""
    return UnknownNameError(
        f"{what} = {name!r} is no 'module:attr'. Registered names are known to screen-cli: run 'screen-cli al …', or "
        "write 'module:attr'."
    )


def build_pool(run: RunDirectory, names: HostNames | None = None, progress: Progress | None = None) -> Pool:
    """Open the run's index of crystals; the first time, read it from ``[pool]``."""
    path = run.path / "pool.sqlite"
    if not path.exists():
        settings = run.config.pool
        with (progress or NoProgress()).step("reading the pool", settings.most_crystals or None) as advance:
            crystals = _limited(_crystals(run, names), settings.most_crystals)
            CrystalIndex.build(crystals, path, held_out=_held_out(run), advance=advance)
    return Pool(CrystalIndex.open(path), run.config.supercells)


def _held_out(run: RunDirectory) -> HeldOut:
    """Give what is held out by formula."""
    settings = run.config.pool
    formulas: list[str] = []
    if settings.held_out_formulas:
        path = run.base / settings.held_out_formulas
        try:
            formulas = path.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"pool.held_out_formulas: {path} cannot be read: {error}.") from error
    return HeldOut(settings.held_out_share, formulas)


def _limited(crystals: Iterable[Crystal], most: int) -> Iterator[Crystal]:
    """So many crystals at most."""
    for count, crystal in enumerate(crystals):
        if most and count >= most:
            return
        yield crystal


def _crystals(run: RunDirectory, names: HostNames | None) -> Iterator[Crystal]:
    """Crystals of the source that the configuration names, one after the other."""
    settings = run.config.pool
    source = settings.source
    if (run.base / source).exists():
        yield from read_crystals(run.base / source)
    elif ":" in source:
        try:
            for item in call_factory(source, settings.options):  # type: ignore[attr-defined]
                yield _as_crystal(item, source)
        except (ConfigError, FactoryError):
            raise
        except (Exception, SystemExit) as error:
            raise FactoryError(f"pool.source = {source!r} fails: {type(error).__name__}: {error}") from error
    elif names is not None:
        for name, atoms, group in names.crystals(source, settings.options):
            yield Crystal(name, atoms, group)
    else:
        raise ConfigError(f"structures file {run.base / source} does not exist. Paths are relative to the config file.")


def _as_crystal(item: object, source: str) -> Crystal:
    """Give a crystal from what a source function yields: (id, Atoms), (id, Atoms, metadata) or Crystal."""
    if isinstance(item, Crystal):
        return item
    if isinstance(item, tuple) and len(item) >= 2 and isinstance(item[1], Atoms):
        metadata = item[2] if len(item) > 2 and isinstance(item[2], Mapping) else item[1].info
        return Crystal(str(item[0]), item[1], str(metadata.get("group") or metadata.get("prototype") or ""))
    raise ConfigError(f"{source} yields {type(item).__name__}, expected (id, Atoms).")


def _factory(config: LoopConfig, names: HostNames | None) -> tuple[str, dict[str, object]]:
    """``module:attr`` and keywords of what makes the labels."""
    labels = config.labels
    of_host = names is not None and labels.factory.startswith("ase:")  # screen-cli's way to name ASE's own
    if ":" in labels.factory and not of_host:
        return labels.factory, dict(labels.options)
    if names is None:
        raise _no_host("labels.factory", labels.factory)
    reference, first = names.calculator(labels.factory)
    return reference, {**first, "options": dict(labels.options)}


def build_labeller(run: RunDirectory, names: HostNames | None = None) -> Labeller:
    """Make the source of labels from ``[labels]``."""
    labels = run.config.labels
    if labels.kind in ("vasp", "espresso"):
        dft = make_dft_format(labels.kind, labels.options)
        return FileExchangeLabeller(run.path / labels.folder, dft, stale_hours=labels.stale_hours)
    reference, options = _factory(run.config, names)
    settings = {"factory": reference, "options": _with_file_hashes(options), "version": labels.version}
    if labels.kind == "workers":
        teacher = TeacherSettings(
            reference,
            options,
            python=str(run.base / labels.python) if labels.python else "",
            path=[str(run.base / folder) for folder in labels.path],
            threads=labels.threads,
            start_timeout_s=labels.start_timeout_s,
        )
        return WorkerLabeller(
            teacher, settings, n_workers=labels.n_workers, batch=labels.batch, timeout_s=labels.timeout_s
        )
    calculator = _call(reference, options, "labels.factory")
    identity = identify(calculator, reference)
    return CalculatorLabeller(calculator, {**settings, "identity": identity}, batch=labels.batch)


def _with_file_hashes(value: object) -> object:
    """Options with every file in them replaced by its hash: labels follow a file's content, not its place."""
    if isinstance(value, Mapping):
        return {key: _with_file_hashes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_file_hashes(item) for item in value]
    if isinstance(value, str) and value and Path(value).is_file():
        with open(value, "rb") as handle:
            return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"
    return value


def _call(reference: str, options: Mapping[str, object], where: str) -> Any:
    """Call a factory, turning its failure into a readable error."""
    factory = load_attribute(reference)
    try:
        return factory(**options)
    except (Exception, SystemExit) as error:
        raise FactoryError(
            f"{where} = {reference!r} with options {dict(options)} fails: {type(error).__name__}: {error}"
        ) from error


def _cache_folder(run: RunDirectory) -> Path:
    """Where labels are kept."""
    named = run.config.labels.cache
    return run.base / named if named else default_cache_folder()


def pinned_cache(run: RunDirectory) -> LabelCache:
    """Open the store of labels that a run has used, without its source of labels.

    Raises
    ------
    RunStateError
        When the run has not asked for labels yet.
    """
    settings = run.manifest.get("label_settings")
    if settings is None:
        raise RunStateError(f"{run.path} has no labels yet: run it first.")
    return LabelCache(_cache_folder(run), cast("Mapping[str, object]", settings))


def build_trainer(config: LoopConfig, names: HostNames | None = None) -> Trainer:
    """Make the learner: an object with ``train`` and ``committee``, or a class or function that gives one."""
    reference, options = config.training.trainer, config.training.options
    if ":" in reference:
        found: Any = load_attribute(reference)
        is_trainer = hasattr(found, "train") and hasattr(found, "committee") and not inspect.isclass(found)
        trainer: Trainer = found if is_trainer else _call(reference, options, "training.trainer")
    elif names is not None:
        trainer = names.trainer(reference, options)
    else:
        raise _no_host("training.trainer", reference)
    for method in ("train", "committee"):
        if not callable(getattr(trainer, method, None)):
            raise FactoryError(f"training.trainer = {reference!r} has no method {method}; see protocols.Trainer.")
    return trainer


def build_loop(
    run: RunDirectory,
    stop: StopWatch | None = None,
    progress: Progress | None = None,
    names: HostNames | None = None,
) -> ActiveLearningLoop:
    """Make everything a run directory's configuration names."""
    chosen = run.config.selection
    pool = build_pool(run, names, progress)
    trainer = build_trainer(run.config, names)
    labeller = build_labeller(run, names)
    parts = LoopParts(
        pool,
        labeller,
        trainer,
        LabelCache(_cache_folder(run), labeller.settings),
        strategy=_known("strategy", STRATEGIES, chosen.strategy),
        cost=_known("cost", COSTS, chosen.cost),
        descriptor=_known("descriptor", DESCRIPTORS, chosen.descriptor),
    )
    return ActiveLearningLoop(run, parts, stop=stop, write_report=write_report, progress=progress)
