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
