"""The two protocols of the benchmark, as settings of the ordinary pipeline.

``exact`` is the published one (Póta et al., arXiv:2408.00755): two-stage relaxation with FIRE, finite differences of
0.03 Å solved traditionally, relaxation times and coherences at 300 K with isotopes, no Born charges. Elastic constants,
Grüneisen parameters and thermal expansion come from the same force constants; where they fail, κ counts all the same.

``fast`` fits fc3 to random ± pairs in the same supercell, as many as the rank guard asks for, and sums the scattering
by matrix products. fc2 stays with finite differences in its own supercell: displacing all atoms would shift frequencies
by the fourth order (MgO: fc2 by 0.7 %, κ by 3 %), and 216 atoms for 512 cost 3 % of κ (NaCl). The q mesh is that of the
reference: linewidths of single modes scatter by some ten per cent from mesh to mesh, so that interpolating them from a
coarser one costs more SRME (NaCl: 0.17) than good models differ by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from screen_cli.bench.materials import OTHER_Q_SPACING
from screen_cli.errors import MissingExtraError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins

Protocol = Literal["exact", "fast"]
TEMPERATURE = 300.0

Tables = Mapping[str, Mapping[str, object]]
"""Settings: keys by table."""

_COMMON: Tables = {
    "read": {"symprec": 1e-5},
    "relax": {
        "fmax": 1e-4,
        "max_steps": 300,
        "two_stage": True,
        "optimiser": "fire",
        "accept_unconverged": True,
    },
    "displace": {"distance": 0.03},
    "harmonic": {"gamma_tolerance_thz": 0.01, "tolerance_thz": 0.0, "phase_space": False},
    "gate": {"require_stable": True},
    "properties": {"names": ["expansion"]},
    "conductivity": {
        "solver": "wigner",
        "method": "rta",
        "q_spacing": OTHER_Q_SPACING,
        "temperatures": [TEMPERATURE],
        "isotope": True,
        "boundary_mfp": 1e6,
    },
}
_OWN: Mapping[Protocol, Tables] = {
    "exact": {
        "forces": {"subtract_residual": False},
        "force_constants": {"solver": "finite-difference", "holdout": 0.0},
    },
    "fast": {
        "displace": {"paired": True, "margin": 1.1, "min_pairs": 5, "n_supercells_fc2": 0},
        "force_constants": {"solver": "symfc"},
        "conductivity": {"options": {"scattering": "products"}},
    },
}


def protocol_tables(protocol: Protocol, registry: PluginRegistry | None = None) -> dict[str, dict[str, object]]:
    """Give the settings of a protocol as nested tables, without source, calculator and engine.

    Raises
    ------
    MissingExtraError
        No transport solver with coherences of the name the protocol needs is installed.
    """
    registry = registry or installed_plugins()
    if "wigner" not in registry.names("conductivity_solvers"):
        raise MissingExtraError(
            "the benchmark needs the transport solver 'wigner' (populations and coherences). Install it: "
            "pip install phon-wigner."
        )
    return merge_tables(_COMMON, _OWN[protocol])


def merge_tables(*layers: Tables) -> dict[str, dict[str, object]]:
    """Merge tables of settings; later layers win, key by key."""
    merged: dict[str, dict[str, object]] = {}
    for layer in layers:
        for table, values in layer.items():
            merged[table] = {**merged.get(table, {}), **values}
    return merged
