"""κ ± σ through the pipeline: a committee of scaled EMT potentials, whose members' results are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from screen_cli.cli import main
from screen_cli.store.run_directory import RunDirectory

MEMBERS = """
from ase.calculators.emt import EMT
from ase.calculators.mixing import LinearCombinationCalculator

def scaled(factor):
    return lambda: LinearCombinationCalculator([EMT()], [factor])

plain, stiff, soft = scaled(1.0), scaled(1.21), scaled(0.81)
"""
FACTORS = np.array([1.0, 1.21, 0.81])


@pytest.fixture
def run(fast_config, tmp_path, monkeypatch, capsys):
    """Return a function that screens aluminium and gives the row and the run directory."""
    (tmp_path / "scaled_emt.py").write_text(MEMBERS)
    monkeypatch.syspath_prepend(tmp_path)

    def screen(name, *overrides):
        config = fast_config("Al")
        arguments = ["run", str(config), "--quiet", "--run-dir", str(tmp_path / name)]
        for override in ("relax.enabled=false", *overrides):
            arguments += ["--set", override]
        assert main(arguments) == 0
        capsys.readouterr()
        assert main(["show", str(tmp_path / name), "--format", "json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        directory = RunDirectory.open(tmp_path / name)
        return {**directory.rows()[0], **row}, directory

    return screen


def committee(*members, properties=()):
    listed = ", ".join(f'"scaled_emt:{member}"' for member in members)
    return (
        'calculator.name="committee"',
        f"calculator.options={{members = [{listed}]}}",
        f"properties.names=[{', '.join(repr(name) for name in properties)}]",
    )


def record(run, row, stage):
    return run.store.read(row["id"], stage, json.loads(row["keys"])[stage])


def test_every_member_gets_the_kappa_of_its_own_run(run):
    row, directory = run(
        "all", *committee("plain", "stiff", "soft", properties=("kappa_interval", "frequency_interval"))
    )
    assert row["state"] == "done", row["reason"]
    members = record(directory, row, "property_kappa_interval").arrays["kappa_total_members_w_mk"]
    alone, _ = run("stiff", 'calculator.name="ase:scaled_emt.stiff"')
    assert members[1] == pytest.approx(alone["kappa_total_w_mk"], rel=1e-6)
    assert row["kappa_total_sigma_w_mk"] == pytest.approx(np.std(members, ddof=1))
    assert row["kappa_interval_factor"] == pytest.approx(np.exp(np.std(np.log(members), ddof=1)))
    assert (row["n_kappa_members"], row["kappa_interval_warning"]) == (3, "")
    # the fit of force constants is linear in the forces: every frequency goes with the root of the factor
    lowest = record(directory, row, "property_frequency_interval").arrays["min_frequency_members_thz"]
    frequencies = record(directory, row, "harmonic").arrays["frequencies"]
    weights = record(directory, row, "harmonic").arrays["weights"]
    spread = np.sqrt(FACTORS / FACTORS.mean()).std(ddof=1)
    rms = np.sqrt(np.average((frequencies**2).mean(axis=1), weights=weights))
    assert row["frequency_sigma_thz"] == pytest.approx(spread * rms, rel=1e-4)
    assert len(lowest) == 3
    assert row["stable_share"] == 1.0
    # ε of Eq. 3 for scaled copies is the spread of the factors times the force
    forces = record(directory, row, "forces").arrays
    expected = (FACTORS / FACTORS.mean())[:, None, None, None] * forces["forces"]
    np.testing.assert_allclose(forces["forces_committee"], expected, atol=1e-9)
    largest = np.linalg.norm(forces["forces"], axis=-1).max()
    assert row["force_deviation_max"] == pytest.approx(FACTORS.std() / FACTORS.mean() * largest, rel=1e-3)


def test_the_bundled_committee_gives_intervals_without_options(run):
    row, directory = run(
        "bundled",
        'calculator.name="sdnnff-committee"',
        'properties.names=["frequency_interval"]',
        "conductivity.enabled=false",
        "force_constants.third_order=false",
    )
    assert row["state"] == "done", row["reason"]
    assert record(directory, row, "forces").arrays["forces_committee"].shape[0] == 5
    assert row["force_deviation_max"] > 0.0
    assert row["frequency_sigma_thz"] > 0.0


def test_clones_have_no_spread_and_the_deviation_gates(run):
    harmonic_only = ("conductivity.enabled=false", "force_constants.third_order=false")
    same, _ = run("clones", *committee("plain", "plain", properties=("frequency_interval",)), *harmonic_only)
    assert same["frequency_sigma_thz"] == 0.0
    assert same["force_deviation_max"] == 0.0
    gated, _ = run("gated", *committee("stiff", "soft"), 'gate.expression="force_deviation_max < 1e-3"')
    assert gated["state"] == "skipped"
    assert "force_deviation_max" in gated["reason"]


def test_a_single_force_field_has_no_interval(run):
    row, _ = run(
        "single",
        'calculator.name="ase:scaled_emt.plain"',
        'properties.names=["frequency_interval"]',
        "conductivity.enabled=false",
        "force_constants.third_order=false",
    )
    assert row["state"] == "failed"
    assert 'calculator.name = "committee"' in row["reason"]
