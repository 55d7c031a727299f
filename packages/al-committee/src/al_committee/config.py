"""Configuration of a loop: frozen records read from TOML, every fault named with its line.

:mod:`al_committee.settings_file` does the reading and checking; ``al-committee template`` and the reference page are
generated from the descriptions here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from al_committee.settings_file import (
    Plain,
    commented_file,
    make_settings,
    read_settings_file,
    reference_page,
    reference_table,
    setting,
    settings_record,
    settings_to_dict,
)

__all__ = [
    "SAFE_CHANGES",
    "LabelSettings",
    "LoopConfig",
    "PoolSettings",
    "RestSettings",
    "SelectionSettings",
    "StopSettings",
    "SupercellKind",
    "SupercellSettings",
    "TrainingSettings",
    "config_differences",
    "config_from_dict",
    "read_config",
    "settings_reference",
    "template",
]


@settings_record
class PoolSettings:
    """Where crystals come from and what is held out. The source is read once, into the run's own index."""

    source: str = setting(
        "",
        'A file that ASE reads (relative to the config file), "module:attr" of a function that yields (id, Atoms) or '
        "(id, Atoms, metadata), or, under screen-cli, a registered source of structures.",
    )
    options: dict[str, object] = setting({}, "Keywords of that function or source.")
    most_crystals: int = setting(0, "Crystals read at most; 0: all.", ge=0)
    test_structures: int = setting(
        4, "Crystals set aside before anything else and labelled once: the fixed test set.", ge=0
    )
    held_out_share: float = setting(
        0.0,
        "Share of the compounds held out by a hash of their reduced formula, all polymorphs alike; the test set is "
        "drawn from them. 0: the test set alone is held out, drawn at random.",
        ge=0,
        lt=1,
    )
    held_out_formulas: str = setting("", "File of further formulas to hold out, separated by space or line.")
    start_labels: int = setting(8, "Supercells labelled in round 0.", ge=1)
    start_method: Literal["representative", "random", "elements"] = setting(
        "representative",
        "Choice of those: principal components and k-means (the paper recommends it), at random (as the paper did), or "
        "at random, but first crystals that together hold every element.",
    )


@settings_record
class SupercellKind:
    """One kind of supercell: displaced, and strained or sheared or not."""

    name: str = setting("displaced", "Written into each label as info['kind'].", min_length=1)
    count: int = setting(1, "Supercells of this kind per crystal.", ge=1, le=10_000)
    displacement: float = setting(0.03, "Length by which every atom is moved, in a random direction, Å.", gt=0, le=1)
    volume: float = setting(0.0, "Largest change of the logarithm of the volume, either way.", ge=0, le=0.5)
    shear: float = setting(0.0, "Largest random strain, either way.", ge=0, le=0.2)


@settings_record
class SupercellSettings:
    """How supercells are made from a crystal."""

    n_supercells: int = setting(4, "Displaced supercells per crystal, where no kinds are given.", ge=1, le=10_000)
    displacement: float = setting(0.03, "Length of each atom's displacement, where no kinds are given, Å.", gt=0, le=1)
    kinds: list[SupercellKind] = setting(
        [], "Kinds of supercells, each a table [[supercells.kinds]]: name, count, displacement, volume, shear."
    )
    min_length: float = setting(8.0, "The cell is repeated until each lattice vector is this long, Å; 0: not.", ge=0)
    n_atoms: int = setting(
        0, "Instead: repeat along the shortest axis up to about this many atoms; 0: by min_length.", ge=0
    )
    max_atoms: int = setting(128, "Supercells that would be larger are repeated less.", ge=1)
    pairs: bool = setting(False, "Make odd supercells of a kind the mirror image (−u) of the even one before.")
    seed: int = setting(0, "Seed of the random directions.", ge=0, le=2**63 - 1)

    def __post_init__(self) -> None:
        names = [kind.name for kind in self.kinds]
        if len(names) != len(set(names)):
            raise ValueError("two kinds of supercells have one name; name each differently.")

    @property
    def all_kinds(self) -> tuple[SupercellKind, ...]:
        """The kinds, in order; one plain kind where none is given."""
        plain = SupercellKind(name="displaced", count=self.n_supercells, displacement=self.displacement)
        return tuple(self.kinds) or (plain,)

    @property
    def n_per_crystal(self) -> int:
        """Supercells of each crystal."""
        return sum(kind.count for kind in self.all_kinds)


@settings_record
class RestSettings:
    """Relaxation of the pool's crystals by the committee's mean before they are displaced."""

    enabled: bool = setting(False, "Label at rest where the committee believes it, from round 1 on.")
    max_steps: int = setting(30, "Steps of the optimiser; a crystal not at rest by then is left as it was.", ge=1)
    fmax: float = setting(0.02, "At rest: largest force, and stress times volume per atom, eV/Å and eV.", gt=0)
    max_step: float = setting(0.1, "Longest step of an atom, Å.", gt=0, le=1)
    max_volume_change: float = setting(0.5, "A crystal whose volume changes by more than this share is lost.", gt=0)
    max_deviation: float = setting(
        0.0, "Disagreement at rest above this (eV/Å) means that the committee does not believe it; 0: not asked.", ge=0
    )
    symprec: float = setting(1e-3, "Distance tolerance for the symmetry that is kept, Å.", gt=0, le=0.5)


@settings_record
class SelectionSettings:
    """How labels are chosen."""

    strategy: str = setting(
        "worst-first",
        "worst-first (the paper's rule, largest ε first), diverse (then farthest points among the recommended), "
        'fill-budget (largest ε first, also below the threshold), random (the baseline), or "module:attr".',
    )
    threshold: float = setting(0.05, "Recommend a crystal above this score, eV/Å (the paper: 0.05).", ge=0)
    percentile: float = setting(100.0, "100 scores a supercell by its worst atom (the paper).", gt=0, le=100)
    budget: float = setting(20.0, "Cost that one round may spend; with the default cost, labels.", gt=0)
    cost: str = setting("labels", 'labels (1 each), atoms, atoms-cubed (DFT\'s scaling), or "module:attr".')
    upper_bound: float = setting(0.0, "Set crystals aside whose score exceeds this, eV/Å; 0: off.", ge=0)
    per_structure: int = setting(1, "Supercells of one crystal taken in a round (the paper: 1).", ge=1)
    descriptor: str = setting("radial", 'radial, composition or "module:attr", for diverse and the start set.')
    batch_atoms: int = setting(2048, "Atoms that the committee is asked about together.", ge=1)


@settings_record
class LabelSettings:
    """The source of labels."""

    kind: Literal["workers", "calculator", "vasp", "espresso"] = setting(
        "workers",
        "workers (processes of this or another environment), calculator (in this process), vasp or espresso (files).",
    )
    factory: str = setting(
        "",
        'For the first two: "module:attr" that makes an ASE calculator or an object with predict(structures), or, '
        "under screen-cli, a registered calculator.",
    )
    options: dict[str, object] = setting(
        {},
        "Keywords of the factory; vasp: parameters of ASE's Vasp; espresso: input_data, pseudopotentials, kpts.",
    )
    version: str = setting("", "Anything that tells otherwise equal settings apart.")
    python: str = setting("", "Interpreter of the environment that the workers run in; empty: this one.")
    path: list[str] = setting([], "Folders where the factory's module lies, relative to the config file.")
    cache: str = setting("", "Folder of labels of all runs; empty: $AL_COMMITTEE_LABELS or the user's data folder.")
    n_workers: int = setting(1, "Worker processes.", ge=1, le=1024)
    batch: int = setting(1, "Structures per call, for sources with predict(structures).", ge=1)
    timeout_s: float = setting(0.0, "Limit per label in worker processes, s; 0: none.", ge=0)
    start_timeout_s: float = setting(600.0, "Limit for the start of a worker, s.", gt=0)
    threads: int = setting(1, "Threads per worker process.", ge=1)
    folder: str = setting("exchange", "Of file exchange, relative to the run directory.")
    stale_hours: float = setting(
        0.0, "File exchange: an unfinished output untouched for this long has failed; 0: wait for ever.", ge=0
    )
    collect_share: float = setting(
        1.0, "File exchange: go on once this share of a round's labels is in; late ones join the next.", gt=0, le=1
    )
    max_failed_share: float = setting(0.3, "Stop when more of the attempted labels have failed.", ge=0, le=1)
    min_attempts: int = setting(5, "Attempts before that limit is applied.", ge=1)


@settings_record
class TrainingSettings:
    """The learner."""

    trainer: str = setting(
        "",
        '"module:attr" of a trainer or of what makes one, or, under screen-cli, a registered trainer.',
    )
    options: dict[str, object] = setting({}, "Keywords for making it.")
    n_members: int = setting(5, "Size of the committee (the paper: 5); one model cannot disagree.", ge=2, le=1000)
    warm_start: bool = setting(True, "Start each round from the last round's models; otherwise from scratch.")
    validation_share: float = setting(
        0.1,
        "Of the labels; a label stays on its side in all rounds, but one that alone holds an element is trained on.",
        ge=0,
        lt=1,
    )
    largest_force: float = setting(0.0, "Labels with a larger force are not trained on, eV/Å; 0: all are.", ge=0)
    keep_partial: bool = setting(
        False,
        "Leave an interrupted training's files in place, for trainers that resume from them; the loop's course is then "
        "only as reproducible as that.",
    )


@settings_record
class StopSettings:
    """When to stop and publish."""

    max_rounds: int = setting(7, "Active-learning rounds after round 0.", ge=0)
    max_labels: int = setting(0, "Labels attempted in all rounds, test set not counted; 0: no limit.", ge=0)
    max_hours: float = setting(0.0, "Hours that scoring, labels and training took in all; 0: no limit.", ge=0)
    constant_rounds: int = setting(
        2, "Stop when the number recommended is near constant over this many rounds; 0: off.", ge=0
    )
    constant_tolerance: float = setting(
        0.02, "Near constant: changes of at most this share of the pool's crystals.", ge=0, le=1
    )
    below_threshold: bool = setting(True, "Stop when nothing is recommended any more.")


@settings_record
class LoopConfig:
    """A whole loop."""

    seed: int = setting(0, "Of every random choice; two runs of one config take the same course.", ge=0, le=2**63 - 1)
    pool: PoolSettings = setting(PoolSettings, "Where crystals come from and what is held out.")
    supercells: SupercellSettings = setting(SupercellSettings, "How supercells are made from a crystal.")
    rest: RestSettings = setting(RestSettings, "Relaxation by the committee's mean.")
    selection: SelectionSettings = setting(SelectionSettings, "How labels are chosen.")
    labels: LabelSettings = setting(LabelSettings, "The source of labels.")
    training: TrainingSettings = setting(TrainingSettings, "The learner.")
    stop: StopSettings = setting(StopSettings, "When to stop and publish.")

    def __post_init__(self) -> None:
        missing = [name for name in ("pool.source", "training.trainer") if not self._value(name)]
        if self.labels.kind in ("workers", "calculator") and not self.labels.factory:
            missing.append(f"labels.factory (labels.kind = '{self.labels.kind}')")
        if missing:
            raise ValueError(f"{', '.join(missing)} missing: name a file or 'module:attr'.")

    def _value(self, dotted: str) -> object:
        """Value of a key of a section."""
        section, _, key = dotted.partition(".")
        return getattr(getattr(self, section), key)

    def to_dict(self) -> dict[str, Plain]:
        """Give the resolved configuration, JSON-like, defaults included."""
        return settings_to_dict(self)


SAFE_CHANGES = (
    "stop.",
    "selection.budget",
    "selection.batch_atoms",
    "labels.n_workers",
    "labels.batch",
    "labels.python",
    "labels.path",
    "labels.timeout_s",
    "labels.start_timeout_s",
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
        Missing file, invalid TOML, and every unknown key, wrong type and impossible value at once, with lines.
    """
    file = read_settings_file(path)
    return make_settings(LoopConfig, file.tables, file)


def config_from_dict(raw: Mapping[str, object], source: str = "config") -> LoopConfig:
    """Build the configuration from nested mappings.

    Raises
    ------
    ConfigError
        Unknown key, wrong type, impossible value.
    """
    return make_settings(LoopConfig, raw, source)


def template() -> str:
    """Write a commented TOML file with every key."""
    heading = ["A loop of al-committee. Remove the # where the value is not the default."]
    return commented_file(LoopConfig, heading)


def settings_reference() -> str:
    """Write the reference page of all settings."""
    opening = [
        "Every key of a loop's TOML file, made from `al_committee.config`; `al-committee template` prints the file.",
        "An unknown key, a wrong type or an impossible value is an error that names the line, all faults at once.",
        "`seed`, at the top of the file, is the seed of every random choice.",
    ]
    page = reference_page(LoopConfig, "al-committee: settings", opening)
    return page + "\n".join(["", "### [[supercells.kinds]]", "", *reference_table(SupercellKind)]) + "\n"


def config_differences(
    old: Mapping[str, object], new: Mapping[str, object], prefix: str = ""
) -> dict[str, tuple[object, object]]:
    """Compare two nested configurations.

    Returns
    -------
    dict
        ``"section.key"`` to ``(old, new)``.
    """
    found: dict[str, tuple[object, object]] = {}
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.update(config_differences(before, after, f"{prefix}{key}."))
        elif before != after:
            found[f"{prefix}{key}"] = (before, after)
    return found
