"""The stages at temperatures: what is unstable at 0 K goes on, and every way to fail is a state with a reason."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warm_crystals import WarmSalt, warm_salt

from screen_cli import compute
from screen_cli.config import settings_from_dict
from screen_cli.errors import ConfigError
from screen_cli.report import Report
from screen_cli.report.tables.columns import quantity_of, short_name
from screen_cli.run.crystal import run_structure
from screen_cli.run.driver import execute, resolve
from screen_cli.run.pipeline import stages_for
from screen_cli.solvers.registered import make_conductivity_solver
from screen_cli.solvers.self_consistent.third_order import fit_third_order
from screen_cli.stages.conductivity import compute_conductivity
from screen_cli.stages.stage import Stops
from screen_cli.store.run_directory import RunDirectory

SMALL = {
    "relax": {"enabled": False},
    "displace": {"dim": [2, 2, 2]},
    "harmonic": {"phase_space": False, "mesh": [5, 5, 5], "band_points": 5, "dos_points": 11},
    "conductivity": {"mesh": [3, 3, 3], "solver": "standard", "boundary_mfp": 0.1},
}
WARM = {"enabled": True, "temperatures": [300], "error_thz": 0.2, "n_pairs": 10}


def computed(calculator=None, **renormalise):
    tables = {**SMALL, "renormalise": {**WARM, **renormalise}}
    return compute(warm_salt(), calculator or WarmSalt(), progress=False, **tables)


@pytest.fixture(scope="module")
def warm():
    return computed(temperatures=[300, 600])


def test_a_crystal_that_warmth_holds_together_gets_its_conductivity(warm):
    row = warm.row
    assert row["stable"] is False
    assert row["passed_gate"] is False
    assert "kappa_total_w_mk" not in row
    for kelvin in (300, 600):
        assert row[f"renormalise_{kelvin}k_state"] == "converged"
        assert row[f"harmonic_{kelvin}k_stable"] is True
        assert row[f"gate_{kelvin}k_passed_gate"] is True
        assert row[f"conductivity_{kelvin}k_kappa_temperature_k"] == kelvin
        assert row[f"conductivity_{kelvin}k_kappa_total_w_mk"] > 0
        assert warm.records[f"harmonic_{kelvin}k"].temperatures == pytest.approx([kelvin])
    assert warm.reason == ""
    assert row["harmonic_600k_max_frequency_thz"] > row["harmonic_300k_max_frequency_thz"] > 0


def test_third_order_is_that_of_the_potential(warm):
    record = warm.records["renormalise_300k"]
    scale = np.abs(record.fc3).max()
    assert 0.5 < scale / 1.0 < 4.0  # c = 1 eV/Å³ for one bond; an atom has several of them in a small supercell
    assert record.fc3_error < 0.3
    harmonic = computed(WarmSalt(a=2.0, b=0.0, c=1.0), select="all").records
    reference = harmonic["force_constants"]
    again = harmonic["renormalise_300k"]
    assert again.fc2 == pytest.approx(reference.fc2, abs=0.02)
    error = np.linalg.norm(again.fc3 - reference.fc3) / np.linalg.norm(reference.fc3)
    assert error < 0.02
    assert again.curvature_min_thz < again.commensurate_min_thz


def test_stable_crystals_are_not_selected():
    result = computed(WarmSalt(a=2.0, b=0.0))
    assert result.row["renormalise_selected"] is False
    assert result.row["renormalise_reason"] == "stable at 0 K"
    assert "renormalise_300k_state" not in result.row
    assert result.row["kappa_total_w_mk"] > 0
    assert result.reason == ""


def test_expressions_select():
    result = computed(select="n_params_fc2 > 1e6")
    assert result.row["renormalise_reason"] == "not (n_params_fc2 > 1e6)"
    assert "unstable" in result.reason
    with pytest.raises(ConfigError):
        computed(temperatures=[])


@pytest.mark.parametrize(
    ("calculator", "renormalise", "state"),
    [
        (WarmSalt(b=0.0), {}, "unstable"),
        (WarmSalt(), {"melting_share": 0.03}, "melts"),
        (WarmSalt(), {"max_iterations": 1}, "not_converged"),
        (WarmSalt(), {"max_supercells": 4, "n_pairs": 2}, "not_converged"),
    ],
)
def test_every_way_to_fail_is_a_state_with_a_reason(calculator, renormalise, state):
    result = computed(calculator, **renormalise)
    row = result.row
    assert row["renormalise_300k_state"] == state
    assert row["renormalise_300k_trusted"] is False
    assert "300 K" in row["renormalise_300k_reason"]
    assert "harmonic_300k_stable" not in row
    assert result.records["renormalise_300k"].fc2.shape == (2, 16, 3, 3)


class Exploding(WarmSalt):
    """Forces of a force field that leaves what it knows beyond a displacement."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if np.abs(self.results["forces"]).max() > 1.0:
            self.results["forces"] = self.results["forces"] * np.nan


def test_a_force_field_that_explodes_is_a_state_too():
    row = computed(Exploding()).row
    assert row["renormalise_300k_state"] == "force_field"
    assert "thermal displacements" in row["renormalise_300k_reason"]


class Committee(WarmSalt):
    """Two members whose forces differ by a twentieth."""

    implemented_properties = (*WarmSalt.implemented_properties, "forces_committee", "force_deviation")

    def calculate(self, *given, **options):
        super().calculate(*given, **options)
        forces = self.results["forces"]
        self.results["forces_committee"] = np.array([0.95 * forces, 1.05 * forces])
        self.results["force_deviation"] = 0.05 * np.abs(forces)


def test_a_committee_that_disagrees_about_samples_for_fc3_is_a_state_and_fc2_is_kept(monkeypatch):
    def stricter(search, *given):
        search.options = replace(search.options, largest_disagreement=0.01)
        return fit_third_order(search, *given)

    monkeypatch.setattr("screen_cli.stages.warm.renormalise.fit_third_order", stricter)
    result = computed(Committee(e=3.0), third_order_error=1e-3)
    row, record = result.row, result.records["renormalise_300k"]
    assert row["renormalise_300k_state"] == "force_field"
    assert row["renormalise_300k_trusted"] is False
    assert re.fullmatch(r"on further samples for fc3, .* 5% .*\(limit 1%\).*, at 300 K", row["renormalise_300k_reason"])
    assert record.fc3 is None
    assert record.commensurate_min_thz > 0  # of the search, not of 0 K
    assert "harmonic_300k_stable" not in row


def test_conductivity_three_ways():
    tables = {**SMALL, "renormalise": {**WARM, "select": "all", "compare": True}}
    result = compute(warm_salt(), WarmSalt(a=2.0, b=20.0, c=3.0, e=30.0), progress=False, **tables)
    row, warm, cold = result.row, result.records["renormalise_300k"], result.records["force_constants"]
    assert row["kappa_total_w_mk"] > 0
    assert np.abs(warm.fc2).max() > 1.05 * np.abs(cold.fc2).max()
    solver = make_conductivity_solver("standard", {})
    for name, fc3 in (("conductivity_300k", warm.fc3), ("conductivity_300k_fc3_0k", cold.fc3)):
        again = compute_conductivity(result.displaced, replace(warm, fc3=fc3), result.settings.conductivity, solver)
        assert row[f"{name}_kappa_total_w_mk"] == pytest.approx(again.kappa_total_w_mk, rel=1e-9)
    both, mixed = (row[f"conductivity_300k{part}_kappa_total_w_mk"] for part in ("", "_fc3_0k"))
    assert abs(both / mixed - 1) > 0.05


@pytest.mark.parametrize("tables", [{"gate": {"before_third_order": True}}, {"renormalise": {"dim": [1, 1, 1]}}])
def test_a_comparison_without_fc3_of_0_k_is_refused_before_anything_runs(tables):
    merged = {"renormalise": {**WARM, "compare": True, **tables.get("renormalise", {})}, "gate": tables.get("gate", {})}
    with pytest.raises(ConfigError, match="fc3 of 0 K"):
        stages_for(settings_from_dict({"conductivity": {"solver": "standard"}, **merged}))


def test_another_supercell():
    row = computed(dim=[1, 1, 1], third_order=False, max_supercells=4000).row
    assert row["renormalise_displace_n_atoms_supercell"] == 2
    assert row["renormalise_300k_state"] == "converged"


def test_a_run_keeps_and_finds_the_branches(tmp_path):
    from ase.io import write

    write(tmp_path / "salt.cif", warm_salt())
    tables = {
        **SMALL,
        "source": {"name": "files", "options": {"paths": [str(tmp_path / "salt.cif")]}},
        "calculator": {"name": "ase:warm_crystals.WarmSalt"},
        "engine": {"name": "serial"},
        "renormalise": {**WARM, "temperatures": [300, 0], "compare": True},
    }
    run = RunDirectory.create(tmp_path / "run", resolve(settings_from_dict(tables)))
    assert execute(run).counts == {"done": 1}
    with contextlib.closing(run.index(read_only=True)) as index:
        (row,) = index.rows()
    assert row["renormalise_300k_state"] == "converged"
    assert row["conductivity_300k_kappa_total_w_mk"] > 0
    assert row["gate_reason"].startswith("unstable")
    assert run_structure(str(run.root), row["id"]).computed == []
    frequencies, kappa = Report(run).figures[-2:]
    assert frequencies.x_values.tolist() == [0, 300, 0]
    assert frequencies.y_values[0] == row["min_frequency_thz"] < 0
    assert frequencies.y_values[1] == row["renormalise_300k_commensurate_min_thz"] > 0
    assert frequencies.colourings[0].values[:2] == ["harmonic", "converged"]
    assert kappa.x_values.tolist() == [row["conductivity_300k_kappa_total_w_mk"]]
    assert kappa.y_values.tolist() == [row["conductivity_300k_fc3_0k_kappa_total_w_mk"]]
    run.remove_index()
    assert execute(run).n_processed == 0


# -- branches --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signpost:
    """As much of a stage as its place and its verdict."""

    name: str
    branch: str
    stops: str = ""
    prefixes_columns: bool = field(default=False)

    def reason_to_stop(self, data):
        return self.stops


branches = st.sampled_from(["", "warm", "warm/300k", "warm/600k"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(branches, st.booleans()), min_size=1, max_size=12))
def test_what_stops_a_branch_stops_no_other(drawn):
    stages = [Signpost(str(i), branch, "no" if stops else "") for i, (branch, stops) in enumerate(drawn)]
    stops, ran = Stops(stages), []
    for stage in stages:
        if not stops.passes_by(stage):
            ran.append(stage)
            stops.look(stage, {})
    stopped = {stage.branch: stage for stage in reversed(ran) if stage.stops}
    for stage in stages:
        before = [item for item in ran if item.stops and stages.index(item) < stages.index(stage)]
        assert (stage in ran) == (not any(springs_from(stage.branch, item.branch) for item in before))
    ends = {stage.branch for stage in stages if stage.branch != "warm"} | {""}
    if ends == {""} and any(stage.branch == "warm" for stage in stages):
        ends.add("warm")
    free = [end for end in ends if not any(springs_from(end, branch) for branch in stopped)]
    assert (stops.verdict() == ("", "")) == bool(free)


def springs_from(branch, other):
    """Whether a branch is another or grows from it; the trunk stops nothing but itself."""
    return branch == other or (other == "warm" and branch.startswith("warm/"))


def test_the_pipeline_is_as_it_was_when_nothing_is_renormalised():
    names = [stage.name for stage in stages_for(settings_from_dict({"conductivity": {"solver": "standard"}}))]
    assert names == ["relax", "displace", "forces", "force_constants", "harmonic", "gate", "conductivity"]


def test_columns_at_a_temperature_have_units_and_short_names():
    quantity = quantity_of("harmonic_300k_max_msd")
    assert quantity.full_name({}) == "harmonic_300k_max_msd_angstrom2"
    assert quantity.meaning.endswith("at 300 K")
    assert short_name("harmonic_300k_max_msd_angstrom2") == "harmonic_300k_max_msd"
    for name in ("conductivity_300k_kappa_total_w_mk", "conductivity_300k_fc3_0k_kappa_total_w_mk"):
        assert short_name(quantity_of(name).full_name({})) == name
