"""Hypothesis strategies that draw the data of a loop: cells, structures, forces of committees, scored pools, settings.

Needs hypothesis (``pip install 'al-committee[test]'``).
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from al_committee.config import LoopConfig, SupercellKind, config_from_dict
from al_committee.selection.rules import ScoredSupercell

__all__ = [
    "cells",
    "committee_forces",
    "loop_configs",
    "rotations",
    "scored_pools",
    "structures",
    "supercell_kinds",
]

SYMBOLS = ("H", "C", "O", "Na", "Cl", "Ti", "Fe", "Cu", "Ag", "Pb")


@st.composite
def committee_forces(
    draw: st.DrawFn, min_models: int = 1, max_models: int = 6, max_atoms: int = 7
) -> NDArray[np.float64]:
    """Draw the forces of a committee, shape ``(n_models, n_atoms, 3)``, eV/Å, up to 100 in size."""
    shape = (draw(st.integers(min_models, max_models)), draw(st.integers(1, max_atoms)), 3)
    value = st.floats(-100, 100, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)
    return draw(hnp.arrays(np.float64, shape, elements=value))


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw a proper rotation, shape ``(3, 3)``."""
    vector = draw(hnp.arrays(np.float64, 3, elements=st.floats(-3, 3)))
    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


@st.composite
def cells(draw: st.DrawFn) -> NDArray[np.float64]:
    """Lattice vectors of any system, shape ``(3, 3)``, Å: edges of 2 to 12, angles of 50 to 130 degrees."""
    from ase.geometry import cellpar_to_cell

    edge, angle = st.floats(2, 12), st.floats(55, 115)
    system = draw(st.sampled_from(("cubic", "hexagonal", "orthorhombic", "triclinic")))
    a = draw(edge)
    if system == "cubic":
        parameters = [a, a, a, 90, 90, 90]
    elif system == "hexagonal":
        parameters = [a, a, draw(edge), 90, 90, 120]
    elif system == "orthorhombic":
        parameters = [a, draw(edge), draw(edge), 90, 90, 90]
    else:
        alpha, beta = draw(angle), draw(angle)
        parameters = [a, draw(edge), draw(edge), alpha, beta, draw(st.floats(60, min(110, 340 - alpha - beta)))]
        if alpha + parameters[5] <= beta + 5 or beta + parameters[5] <= alpha + 5 or alpha + beta <= parameters[5] + 5:
            parameters[3:] = [90, 90, 90]
    return np.asarray(cellpar_to_cell(parameters))


@st.composite
def structures(draw: st.DrawFn, max_atoms: int = 6, periodic: bool | None = None) -> Atoms:
    """Structures with any periodicity; some with magnetic moments or charges."""
    n_atoms = draw(st.integers(1, max_atoms))
    pbc = draw(st.tuples(*[st.booleans()] * 3)) if periodic is None else (periodic,) * 3
    fractions = draw(hnp.arrays(np.float64, (n_atoms, 3), elements=st.floats(-1, 2).map(lambda x: round(x, 9))))
    atoms = Atoms(
        draw(st.lists(st.sampled_from(SYMBOLS), min_size=n_atoms, max_size=n_atoms)),
        scaled_positions=fractions,
        cell=draw(cells()),
        pbc=pbc,
    )
    values = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=n_atoms, max_size=n_atoms)
    if draw(st.booleans()):
        atoms.set_initial_magnetic_moments(draw(values))
    if draw(st.booleans()):
        atoms.set_initial_charges(draw(values))
    return atoms


@st.composite
def scored_pools(draw: st.DrawFn, max_structures: int = 8) -> list[ScoredSupercell]:
    """Scores of a pool, some supercells of one content, some with unseen elements."""
    pool = []
    for structure in range(draw(st.integers(1, max_structures))):
        unseen = draw(st.sampled_from((False, False, False, True)))
        for index in range(draw(st.integers(1, 3))):
            key = draw(st.sampled_from((f"{structure}-{index}", f"{structure}-{index}", "shared")))
            score = 0.0 if unseen else draw(st.floats(0, 2))
            unknown = ("Xe",) if unseen else ()
            n_atoms = draw(st.integers(1, 200))
            pool.append(ScoredSupercell(f"S{structure}", index, key, score, n_atoms, unseen, unknown))
    return pool


@st.composite
def supercell_kinds(draw: st.DrawFn) -> SupercellKind:
    """Kinds of supercells."""
    return SupercellKind(
        name=draw(st.text("abc ", min_size=1, max_size=4)),
        count=draw(st.integers(1, 3)),
        displacement=draw(st.floats(1e-3, 0.2)),
        volume=draw(st.sampled_from((0.0, 0.05, 0.15))),
        shear=draw(st.sampled_from((0.0, 0.02, 0.1))),
    )


@st.composite
def loop_configs(draw: st.DrawFn) -> LoopConfig:
    """Draw valid configurations of a loop."""
    tables = {
        "seed": draw(st.integers(0, 2**31)),
        "pool": {"source": "x.extxyz", "test_structures": draw(st.integers(0, 9))},
        "supercells": {"min_length": draw(st.floats(0, 30)), "pairs": draw(st.booleans())},
        "selection": {
            "threshold": draw(st.floats(0, 1)),
            "budget": draw(st.floats(0.5, 1e4)),
            "percentile": draw(st.floats(1, 100)),
            "strategy": draw(st.sampled_from(("worst-first", "diverse", "fill-budget", "random"))),
        },
        "labels": {"factory": "a:b", "options": {"x": draw(st.integers())}, "timeout_s": draw(st.floats(0, 1e5))},
        "training": {"trainer": "a:b", "n_members": draw(st.integers(2, 9))},
        "stop": {"max_rounds": draw(st.integers(0, 99)), "below_threshold": draw(st.booleans())},
    }
    return config_from_dict(tables)
