"""Content keys: they change with every setting that matters, with none that does not, and with no module path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.config import RunSettings, settings_from_dict
from screen_cli.crystal.born import BornTensors
from screen_cli.crystal.structure import Structure
from screen_cli.plugins.records import PropertyPlugin
from screen_cli.run.pipeline import stages_for
from screen_cli.stages.stage import Inputs, plugin_identity
from screen_cli.store.keys import content_key

CRYSTAL = Structure.from_atoms(bulk("Al", a=4.0), provider="test", provider_id="Al")
BASE: dict[str, Any] = {
    "properties": {"names": ["rattler", "elastic"]},
    "conductivity": {"solver": "standard"},
    "force_constants": {"options": {"cutoff": 4.0}},
}
MATTERS: dict[str, dict[str, tuple[Any, str]]] = {  # table: key: (another value, first stage that depends on it)
    "calculator": {
        "name": ("lj", "relax"),
        "options": ({"asap_cutoff": True}, "relax"),
        "magnetic_moments": ({"Al": 0.5}, "relax"),
    },
    "read": {"symprec": (1e-2, "relax")},
    "relax": {
        "enabled": (False, "relax"),
        "fmax": (1e-3, "relax"),
        "max_steps": (7, "relax"),
        "keep_symmetry": (False, "relax"),
        "relax_cell": (False, "relax"),
        "two_stage": (True, "relax"),
        "optimiser": ("fire", "relax"),
        "accept_unconverged": (True, "relax"),
        "max_volume_change": (0.1, "relax"),
        "max_force": (10.0, "relax"),
    },
    "displace": {
        "distance": (0.01, "displace"),
        "n_supercells": (20, "displace"),
        "paired": (False, "displace"),
        "margin": (2.0, "displace"),
        "min_pairs": (7, "displace"),
        "supercell_length": (8.0, "displace"),
        "max_atoms": (150, "displace"),
        "dim": ([2, 2, 2], "displace"),
        "dim_fc2": ([3, 3, 3], "displace"),
        "n_supercells_fc2": (0, "displace"),
        "seed": (1, "displace"),
        "pattern": ("crystal", "displace"),
    },
    "forces": {"max_force": (1.0, "forces"), "subtract_residual": (False, "forces")},
    "force_constants": {
        "solver": ("hiphive", "displace"),
        "options": ({"cutoff": 5.0}, "displace"),
        "holdout": (0.5, "force_constants"),
        "warn_residual": (0.5, "force_constants"),
        "warn_residual_even": (0.5, "force_constants"),
        "warn_fc3_error": (0.5, "force_constants"),
        "keep": (False, "force_constants"),
    },
    "harmonic": {
        "mesh": ([5, 5, 5], "harmonic"),
        "mesh_length": (30.0, "harmonic"),
        "temperatures": ([100.0], "harmonic"),
        "gamma_tolerance_thz": (0.1, "harmonic"),
        "tolerance_thz": (0.1, "harmonic"),
        "band_points": (11, "harmonic"),
        "dos_points": (51, "harmonic"),
        "phase_space": (False, "harmonic"),
        "phase_space_mesh": ([3, 3, 3], "harmonic"),
    },
    "gate": {
        "require_stable": (False, "gate"),
        "expression": ("max_msd > 0", "gate"),
        "audit_share": (0.5, "gate"),
        "audit_seed": (3, "gate"),
    },
    "conductivity": {
        "solver": ("wigner", "conductivity"),
        "method": ("lbte", "conductivity"),
        "mesh": ([5, 5, 5], "conductivity"),
        "q_spacing": (0.3, "conductivity"),
        "ladder": ([0.5], "conductivity"),
        "ladder_tolerance": (0.1, "conductivity"),
        "refine_where": ("kappa_total_w_mk < 1", "conductivity"),
        "temperatures": ([100.0], "conductivity"),
        "isotope": (False, "conductivity"),
        "boundary_mfp": (1.0, "conductivity"),
        "keep_modes": (False, "conductivity"),
        "options": ({"a": 1}, "conductivity"),
    },
    "nac": {"method": ("wang", "harmonic")},
    "properties": {"options": ({"rattler": {"a": 1}}, "property_rattler")},
}
NO_MATTER: dict[str, dict[str, Any]] = {
    "source": {"name": "demo", "options": {"a": 1}},
    "read": {
        "min_distance": 0.1,
        "max_atoms": 3,
        "max_atoms_given": 999,
        "max_megabytes": 7.0,
        "seconds_per_file": 7.0,
    },
    "filter": {"max_atoms": 3, "expression": "n_atoms < 3", "elements": ["Al"]},
    "forces": {"batch_size": 1},
    "gate": {"audit_target": "kappa_total_w_mk < 3"},
    "renormalise": {  # nothing, as long as it is off (test_renormalise: once it is on)
        "temperatures": [77],
        "select": "all",
        "dim": [2, 2, 2],
        "third_order": False,
        "n_pairs": 30,
        "max_iterations": 3,
        "max_supercells": 50,
        "damping": 0.3,
        "error_thz": 0.2,
        "third_order_error": 0.1,
        "classical": True,
        "melting_share": 0.1,
        "max_disagreement": 0.1,
        "compare": True,
        "cell": "thermal",
        "seed": 3,
    },
    "engine": {"name": "serial", "workers": 3, "task_time_limit": 5.0, "options": {"a": 1}},
}
OTHER_STAGES = {  # these change which stages there are
    ("force_constants", "third_order"),
    ("conductivity", "enabled"),
    ("gate", "before_third_order"),
    ("gate", "after_relaxation"),
    ("renormalise", "enabled"),
    ("properties", "names"),
}
BORN = BornTensors(2 * np.eye(3), np.zeros((2, 3, 3)))
OF_FILES = {
    ("nac", "born"),  # enters as the text of the crystal's file
    ("calculator", "environment"),  # enters as what is installed there
}


class NamedForceField:
    """A force field that is its settings."""

    def __init__(self, run_settings: RunSettings) -> None:
        self._settings = run_settings.calculator

    def identity(self) -> list[Any]:
        return [self._settings.name, self._settings.options, dict(self._settings.magnetic_moments)]


def keys_of(
    tables: dict[str, dict[str, Any]], born: BornTensors | None = BORN
) -> tuple[dict[str, str], dict[str, Any]]:
    """Keys of a crystal's records, and the stages."""
    merged = {name: {**BASE.get(name, {}), **tables.get(name, {})} for name in BASE.keys() | tables.keys()}
    run_settings = settings_from_dict(merged)
    stages = {stage.name: stage for stage in stages_for(run_settings)}
    keys: dict[str, str] = {}
    for stage in stages.values():
        inputs = Inputs(
            structure=CRYSTAL,
            settings=run_settings,
            force_field=NamedForceField(run_settings),  # type: ignore[arg-type]
            records={},
            scalars={},
            born=born,
        )
        parents = [keys[name] for name in stage.needs]
        keys[stage.name] = content_key(CRYSTAL.id, stage.name, stage.version, stage.depends(inputs), parents)
    return keys, stages


def behind(first: Iterable[str], stages: dict[str, Any]) -> set[str]:
    """Stages that read, through others, one of these; and these."""
    found = set(first)
    for stage in stages.values():
        if found & set(stage.needs):
            found.add(stage.name)
    return found


REFERENCE, STAGES = keys_of({})
USES_FORCE_FIELD = {"relax", "forces", "property_elastic"}
every_change = st.sampled_from([(table, key) for table, keys in MATTERS.items() for key in keys])
no_change = st.sampled_from([(table, key) for table, keys in NO_MATTER.items() for key in keys])


@settings(max_examples=120, deadline=None)
@given(changes=st.sets(every_change, min_size=1, max_size=4))
def test_keys_change_from_the_first_stage_that_depends_on_a_setting(changes: set[tuple[str, str]]) -> None:
    tables: dict[str, dict[str, Any]] = {}
    first: set[str] = set()
    for table, key in changes:
        value, stage = MATTERS[table][key]
        tables.setdefault(table, {})[key] = value
        first |= USES_FORCE_FIELD if table == "calculator" else {stage}
        first |= {"harmonic", "conductivity"} if table == "nac" else set()
    keys, stages = keys_of(tables)
    changed = {name for name in keys if keys[name] != REFERENCE[name]}
    assert changed == behind(first, stages)


@settings(max_examples=60, deadline=None)
@given(changes=st.sets(no_change, min_size=1))
def test_keys_do_not_change_with_what_changes_no_result(changes: set[tuple[str, str]]) -> None:
    tables: dict[str, dict[str, Any]] = {}
    for table, key in changes:
        tables.setdefault(table, {})[key] = NO_MATTER[table][key]
    assert keys_of(tables)[0] == REFERENCE


def test_every_setting_is_known_to_matter_or_not() -> None:
    """A new setting is put into a table above by whoever adds it; one that is forgotten is named here."""
    known = {(table, key) for tables in (MATTERS, NO_MATTER) for table, keys in tables.items() for key in keys}
    of_a_source = {"source", "filter", "engine"}  # whole tables that no stage sees
    missing = {
        (table.name, key.name)
        for table in dataclasses.fields(RunSettings)
        if dataclasses.is_dataclass(getattr(RunSettings(), table.name)) and table.name not in of_a_source
        for key in dataclasses.fields(getattr(RunSettings(), table.name))
    } - known
    assert missing == OTHER_STAGES | OF_FILES


def test_the_scheme_does_not_matter_without_born_charges() -> None:
    assert keys_of({"nac": {"method": "wang"}}, born=None)[0] == keys_of({}, born=None)[0]
    assert keys_of({}, born=replace(BORN, dielectric=2 * BORN.dielectric))[0]["harmonic"] != REFERENCE["harmonic"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100), margin=st.floats(1, 5), pairs=st.integers(1, 20))
def test_finite_differences_do_not_depend_on_how_others_are_drawn(seed: int, margin: float, pairs: int) -> None:
    solver = {"solver": "finite-difference", "options": {}}
    one = keys_of({"force_constants": solver})[0]
    drawn = {"seed": seed, "margin": margin, "min_pairs": pairs}
    assert keys_of({"force_constants": solver, "displace": drawn})[0] == one


@settings(max_examples=60, deadline=None)
@given(
    one=st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)),
    other=st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)),
    factories=st.tuples(st.text(max_size=9), st.text(max_size=9)),
)
def test_a_plugin_is_its_name_distribution_and_version_wherever_its_code_lies(
    one: tuple[str, str, str], other: tuple[str, str, str], factories: tuple[str, str]
) -> None:
    def identity(parts: tuple[str, str, str], factory: str) -> Any:
        name, distribution, version = parts
        plugin = PropertyPlugin(name=name, summary="", factory=factory, distribution=distribution, version=version)
        return plugin_identity(plugin)

    assert identity(one, factories[0]) == identity(one, factories[1])
    assert (identity(one, factories[0]) == identity(other, factories[0])) == (one == other)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(parts=st.dictionaries(st.text(max_size=4), json_values, max_size=5), seed=st.randoms(use_true_random=False))
def test_keys_do_not_depend_on_the_order_of_a_table(parts: dict[str, Any], seed: Any) -> None:
    names = list(parts)
    seed.shuffle(names)
    assert content_key("x", parts) == content_key("x", {name: parts[name] for name in names})
    assert content_key("x", parts) != content_key("y", parts)
