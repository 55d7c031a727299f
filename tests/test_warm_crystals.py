"""Anharmonicity of crystals whose value is published, with the bundled weights."""

from __future__ import annotations

import pytest
from ase.build import bulk

from screen_cli import compute


def test_silicon_is_as_anharmonic_as_published():
    """σ^A of Si at 300 K is about 0.15 (F. Knoop et al., doi:10.1103/PhysRevMaterials.4.083809)."""
    result = compute(
        bulk("Si", a=5.43),
        "sdnnff",
        progress=False,
        conductivity=False,
        displace={"dim": [2, 2, 2]},
        force_constants={"third_order": False},
        harmonic={"phase_space": False},
        properties=["anharmonicity"],
    )
    assert result.row["sigma_a_300k"] == pytest.approx(0.15, abs=0.04)
    assert result.row["sigma_a_300k_error"] < 0.02


def test_germanium_telluride_falls_to_the_phase_that_is_known():
    """Cubic GeTe distorts along [111] to R3m (T. Chattopadhyay et al., doi:10.1088/0022-3719/20/10/012)."""
    result = compute(
        bulk("GeTe", "rocksalt", a=6.0),
        "sdnnff",
        progress=False,
        conductivity=False,
        displace={"dim": [2, 2, 2]},
        force_constants={"third_order": False},
        harmonic={"phase_space": False},
        properties=["soft_mode"],
    )
    row = result.row
    assert row["soft_mode_qpoint"] == "0 0 0"
    assert (row["child_space_group"], row["child_symbol"]) == (160, "R3m")
    assert row["child_name"].startswith("rhombohedral")
    assert row["child_doi"] == "10.1088/0022-3719/20/10/012"
    assert row["known_children"].startswith("R3m (160), rhombohedral")
    assert row["child_energy_gain_mev"] > 0
