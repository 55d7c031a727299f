"""A gate's recall and precision from a random share: exact when all is drawn, unbiased and covered when not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from screen_cli.analysis.gate_audit import CONFIDENCE, audit_gate, share_of
from screen_cli.analysis.groups import group_by
from screen_cli.cli import main
from screen_cli.config import GateSettings, RunSettings, settings_from_dict
from screen_cli.errors import FilterError
from screen_cli.stages.gate import Gate, decide, is_drawn
from screen_cli.stages.stage import Inputs
from screen_cli.store.run_directory import RunDirectory

TARGET = "kappa < 1"


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 40), (3, 7), (40, 40), (17, 500)])
def test_intervals_are_those_of_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    found = share_of(hits, n)
    assert [found.value, found.low, found.high] == pytest.approx([hits / n, expected.low, expected.high], abs=1e-12)


def screened(n, share, seed):
    """Screen made-up crystals with the gate msd >= 0.076; return the rows and the true recall and precision."""
    rng = np.random.default_rng(seed)
    msd = rng.lognormal(np.log(0.05), 0.6, n)
    kappa = np.exp(-1.2 * np.log(msd / 0.06) + rng.normal(0, 0.7, n))
    open_gate, low = msd >= 0.076, kappa < 1
    rows = []
    for number in range(n):
        audited = not open_gate[number] and is_drawn(f"{seed}-{number}", share)
        passed = bool(open_gate[number] or audited)
        row = {"id": number, "stable": 1, "passed_gate": passed, "gate_audited": audited, "msd": msd[number]}
        rows.append(row | {"kappa": kappa[number] if passed else None})
    return rows, (open_gate & low).sum() / low.sum(), (open_gate & low).sum() / open_gate.sum()


def test_with_everything_drawn_the_numbers_are_exact():
    rows, recall, precision = screened(2000, 1.0, 1)
    result = audit_gate(rows, TARGET)
    assert result.recall.value == pytest.approx(recall)
    assert result.recall.low == result.recall.high == result.recall.value
    assert result.precision.value == pytest.approx(precision)
    assert result.n_audited == result.n_held_back


def test_intervals_cover_the_truth_and_estimates_are_unbiased():
    inside, errors = 0, []
    for seed in range(60):
        rows, recall, _ = screened(600, 0.2, seed)
        estimate = audit_gate(rows, TARGET).recall
        inside += estimate.low <= recall <= estimate.high
        errors.append(estimate.value - recall)
    assert inside >= 52  # 95 % of 60 is 57; 52 or fewer has a probability below 1 %
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(60) + 0.01


def test_another_gate_is_tried_with_the_weights_of_the_first():
    rows, *_ = screened(20_000, 0.25, 3)
    complete, *_ = screened(20_000, 1.0, 3)
    tried = audit_gate(rows, TARGET, expression="msd >= 0.05")
    truth = audit_gate(complete, TARGET, expression="msd >= 0.05")
    assert tried.recall.value == pytest.approx(truth.recall.value, abs=0.02)
    assert tried.precision.value == pytest.approx(truth.precision.value, abs=0.02)


def test_unstable_and_unfinished_crystals_do_not_count():
    rows = [
        {"stable": 1, "passed_gate": 1, "gate_audited": 0, "kappa": 0.5},
        {"stable": 1, "passed_gate": 1, "gate_audited": 0, "kappa": None},
        {"stable": 1, "passed_gate": 0, "gate_audited": 0, "kappa": None},
        {"stable": 0, "passed_gate": 0, "gate_audited": 0, "kappa": None},
        {"stable": None, "passed_gate": None, "kappa": None},
    ]
    result = audit_gate(rows, TARGET, seconds_per_crystal=10.0)
    assert (result.n_passed, result.n_passed_hits, result.n_held_back, result.n_unknown) == (1, 1, 1, 1)
    assert result.recall.value is None, "nothing was drawn, so nothing is known"
    assert result.seconds_saved == 10.0
    with pytest.raises(FilterError, match="Did you mean 'kappa'"):
        audit_gate(rows, "kapa < 1")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_draw_has_its_share_and_is_the_same_each_time(share):
    drawn = [is_drawn(f"id-{number}", share) for number in range(4000)]
    assert np.mean(drawn) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000))
    assert drawn == [is_drawn(f"id-{number}", share) for number in range(4000)]
    other = [is_drawn(f"id-{number}", share, seed=1) for number in range(4000)]
    assert (drawn != other) == (0 < share < 1)


class Crystal:
    """All that the gate looks at."""

    def __init__(self, name):
        self.id, self.metadata = name, {}


def through_the_gate(scalars, name="x", **gate):
    return decide(GateSettings(**gate), scalars, name).to_storage().data


def test_the_gate_stage_never_draws_unstable_crystals_and_marks_the_drawn():
    unstable = {"stable": False, "min_frequency_thz": -1.0, "max_msd": 0.01}
    held = {"stable": True, "max_msd": 0.01}
    gate = {"expression": "max_msd >= 0.076", "audit_share": 1.0}
    assert through_the_gate(unstable, **gate)["passed_gate"] is False
    assert through_the_gate(held, **gate) == {
        "passed_gate": True,
        "gate_audited": True,
        "gate_reason": "gated: not (max_msd >= 0.076)",
    }
    assert through_the_gate(held, **{**gate, "audit_share": 0.0})["passed_gate"] is False
    assert through_the_gate({"stable": True, "max_msd": 0.1}, **gate)["gate_audited"] is False


def test_the_target_does_not_change_the_key_of_the_gate():
    def key(**gate):
        settings = RunSettings(gate=GateSettings(**gate))
        return Gate().depends(
            Inputs(structure=Crystal("x"), settings=settings, force_field=None, records={}, scalars={})
        )

    assert key(audit_target="a < 1") == key(audit_target="a < 2")
    assert key(audit_share=0.1) != key(audit_share=0.2)


def test_command(tmp_path, capsys):
    tables = {"gate": {"expression": "msd >= 0.076", "audit_share": 0.3, "audit_target": TARGET}}
    run = RunDirectory.create(tmp_path / "run", settings_from_dict(tables))
    rows, recall, precision = screened(800, 0.3, 5)
    index = run.index()
    index.add_structures([{"id": str(row["id"]), "formula": "x"} for row in rows])
    for row in rows:
        scalars = {key: value for key, value in row.items() if key != "id" and value is not None}
        times = {"conductivity": (36.0, 1)} if row["passed_gate"] else {}
        index.update(str(row["id"]), "done" if row["passed_gate"] else "skipped", scalars=scalars, stage_times=times)
    index.close()
    assert main(["gate", str(run.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"]["value"] == pytest.approx(precision)
    assert found["recall"]["low"] <= recall <= found["recall"]["high"]
    assert found["seconds_saved"] == pytest.approx(36.0 * (found["n_held_back"] - found["n_audited"]))
    assert main(["gate", str(run.root), "--try", "msd >= 0.01"]) == 0
    assert "recall    100.0 %" in capsys.readouterr().out


def test_groups_count_what_is_known_of_each_prototype():
    rows = [
        {"prototype": "rocksalt", "state": "done", "stable": 1, "kappa_total_w_mk": 0.5},
        {"prototype": "rocksalt", "state": "done", "stable": True, "kappa_total_w_mk": 5.0},
        {"prototype": "rocksalt", "state": "skipped", "stable": 0},
        {"prototype": "rocksalt", "state": "skipped", "stable": None},
        {"prototype": "rocksalt", "state": "filtered", "stable": None},
        {"prototype": "zincblende", "state": "failed"},
        {"prototype": None, "state": "done", "stable": 1},
    ]
    zincblende, rocksalt, other = group_by(rows, "prototype")
    assert (rocksalt.name, rocksalt.n, rocksalt.n_judged, rocksalt.n_stable) == ("rocksalt", 4, 3, 2)
    assert (rocksalt.n_kappa, rocksalt.n_low) == (2, 1)
    assert rocksalt.stable.value == pytest.approx(2 / 3)
    assert rocksalt.paper == pytest.approx(145 / 518)
    assert (zincblende.n_judged, zincblende.stable.value) == (0, None)
    assert (other.name, other.n, other.paper) == ("", 1, None)
    assert [
        group.name for group in group_by([{"space_group": n, "state": "done"} for n in (225, 62, 216)], "space_group")
    ] == [
        "62",
        "216",
        "225",
    ]


def test_stable_shares_of_a_run_by_space_group(made_up_run, capsys):
    assert main(["status", str(made_up_run.root), "--by", "space_group", "--json"]) == 0
    groups = {group["name"]: group for group in json.loads(capsys.readouterr().out)}
    rows = [row for row in made_up_run.rows() if row["state"] != "filtered"]
    assert sum(group["n"] for group in groups.values()) == len(rows)
    assert sum(group["n_stable"] for group in groups.values()) == sum(bool(row.get("stable")) for row in rows)
    assert set(groups) <= {"", "216", "221", "225", "227"}
    assert main(["status", str(made_up_run.root), "--by", "space_group"]) == 0
    assert "225" in capsys.readouterr().out
    assert main(["status", str(made_up_run.root), "--by", "spacegroup"]) == 2
    assert "space_group" in capsys.readouterr().err
