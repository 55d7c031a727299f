"""σ^A, the soft mode and its child, the fourth order: properties of crystals that are unstable, or nearly so."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from warm_crystals import WarmSalt, warm_salt

from screen_cli import compute
from screen_cli.config import settings_from_dict
from screen_cli.crystal.standard_cell import space_group_symbol
from screen_cli.errors import ConfigError
from screen_cli.physics.anharmonic.isotropy import order_parameters, representation
from screen_cli.properties.warm.known_phases import KnownPhase
from screen_cli.properties.warm.records import Loop, SoftMode
from screen_cli.run.driver import execute, resolve
from screen_cli.run.merge import merge_runs
from screen_cli.run.pipeline import stages_for
from screen_cli.sources.children import iterate_children
from screen_cli.store.run_directory import RunDirectory

SMALL = {
    "relax": {"enabled": False},
    "displace": {"dim": [2, 2, 2]},
    "harmonic": {"phase_space": False, "mesh": [4, 4, 4], "band_points": 5, "dos_points": 11},
    "conductivity": {"mesh": [3, 3, 3], "solver": "standard", "boundary_mfp": 0.1},
}


def computed(calculator, names, options=None, **tables):
    properties = {"names": names, "options": options or {}}
    return compute(warm_salt(), calculator, progress=False, **{**SMALL, **tables, "properties": properties})


# -- σ^A -------------------------------------------------------------------------------------------


def test_anharmonicity_rises_with_temperature_and_is_nothing_for_a_harmonic_crystal():
    options = {"anharmonicity": {"temperatures": [100, 300, 900]}}
    row = computed(WarmSalt(a=1.0, b=5.0, c=1.0), ["anharmonicity"], options).row
    values = [row[f"sigma_a_{kelvin}k"] for kelvin in (100, 300, 900)]
    assert values[0] < values[1] < values[2]
    assert 0 < row["sigma_a_300k_error"] < 0.3 * values[1]
    harmonic = computed(WarmSalt(a=1.0, b=0.0, c=0.0), ["anharmonicity"], conductivity={"enabled": False}).row
    assert harmonic["sigma_a_300k"] < 1e-6


def test_the_gate_knows_the_anharmonicity():
    for expression, passes in (("sigma_a_300k > 0.001", True), ("sigma_a_300k > 0.999", False)):
        for before in (False, True):
            gate = {"expression": expression, "before_third_order": before}
            row = computed(WarmSalt(a=1.0, b=5.0), ["anharmonicity"], gate=gate).row
            assert row["passed_gate"] is passes
            assert ("kappa_total_w_mk" in row) is passes


def test_properties_before_the_gate_stand_before_it():
    tables = {"properties": {"names": ["rattler", "anharmonicity"]}, "conductivity": {"solver": "standard"}}
    for before in (False, True):
        names = [
            stage.name for stage in stages_for(settings_from_dict({**tables, "gate": {"before_third_order": before}}))
        ]
        assert names.index("property_anharmonicity") < names.index("gate") < names.index("property_rattler")


def test_anharmonicity_refuses_half_a_kelvin():
    with pytest.raises(ConfigError, match="whole kelvins"):
        computed(WarmSalt(a=1.0), ["anharmonicity"], {"anharmonicity": {"temperatures": [0.5]}})


# -- the soft mode ---------------------------------------------------------------------------------


TWO_CELLS = {"displace": {"dim": [2, 2, 2]}, "conductivity": {"enabled": False}, "harmonic": SMALL["harmonic"]}
"""Body-centred copper of the effective-medium potential shears along its N points."""


def copper(options=None):
    properties = {"names": ["soft_mode"], "options": {"soft_mode": options or {}}}
    return compute(bulk("Cu", "bcc", a=2.87), "emt", progress=False, **TWO_CELLS, properties=properties)


@pytest.fixture(scope="module")
def soft_copper():
    """What is computed of it without options."""
    return copper()


def test_the_soft_mode_leads_to_a_child_of_lower_symmetry_and_energy(soft_copper):
    result = soft_copper
    row, record = result.row, result.property_record("soft_mode")
    assert row["soft_mode"] is True
    assert row["soft_mode_thz"] < -0.5
    assert sorted(row["soft_mode_qpoint"].split()) in (["0", "0", "1/2"], ["0", "1/2", "1/2"])
    assert "parent_id" not in row  # it came from no other crystal
    assert row["soft_mode_depth_mev"] > 1
    assert row["child_energy_gain_mev"] >= row["soft_mode_depth_mev"]
    assert row["child_space_group"] != 229
    assert row["child_symbol"] == space_group_symbol(row["child_space_group"])
    assert "child_name" not in row  # nobody has seen body-centred copper distort
    assert "known_children" not in row
    assert isinstance(record, SoftMode)
    assert len(record.child) == row["child_n_atoms"]
    assert record.energies.shape == (row["soft_mode_directions"], len(record.amplitudes))
    energies = record.energies
    assert np.abs(energies[:, 0]).max() == 0
    curvature = energies[:, 1]
    assert curvature == pytest.approx([curvature[0]] * len(curvature), rel=0.05)  # one frequency, many directions


def test_more_modes_are_tried_where_they_are_asked_for(soft_copper):
    one, three = soft_copper.row, copper({"n_modes": 3}).row
    assert three["soft_mode_thz"] == pytest.approx(one["soft_mode_thz"])
    assert three["soft_mode_directions"] >= one["soft_mode_directions"]
    assert three["soft_mode_depth_mev"] >= one["soft_mode_depth_mev"] * (1 - 1e-9)
    with pytest.raises(ConfigError, match="n_modes = 0"):
        copper({"n_modes": 0})


def test_a_child_that_literature_knows_is_called_by_its_name(soft_copper, monkeypatch):
    from screen_cli.properties.warm import known_phases

    found = soft_copper.row["child_space_group"]
    rows = [KnownPhase("Cu", 229, number, f"phase {number}", "10.1000/made-up") for number in (found, 194)]
    monkeypatch.setattr(known_phases, "all_phases", lambda: tuple(rows))
    row = copper().row
    assert (row["child_name"], row["child_doi"]) == (f"phase {found}", "10.1000/made-up")
    assert row["known_children"] == f"{row['child_symbol']} ({found}), phase {found}; P6_3/mmc (194), phase 194"
    monkeypatch.setattr(known_phases, "all_phases", lambda: tuple(rows[1:]))
    row = copper().row
    assert "child_name" not in row  # another phase than the known one
    assert row["known_children"] == "P6_3/mmc (194), phase 194"


def test_stable_crystals_have_no_soft_mode():
    row = computed(WarmSalt(a=2.0, b=0.0), ["soft_mode"]).row
    assert row["soft_mode"] is False
    assert "child_id" not in row
    assert row["kappa_total_w_mk"] > 0


def test_a_well_without_a_bottom_is_said():
    row = copper({"amplitudes": [0.0, 0.05], "max_steps": 1}).row
    assert row["child_reason"]
    assert "child_id" not in row
    assert "falls nowhere" in copper({"amplitudes": [0.0, 0.9]}).row["child_reason"]
    with pytest.raises(ConfigError, match="ascend"):
        copper({"amplitudes": [0.1]})


def test_children_are_screened_on(tmp_path):
    from ase.io import write

    write(tmp_path / "copper.cif", bulk("Cu", "bcc", a=2.87))
    tables = {
        **TWO_CELLS,
        "source": {"name": "files", "options": {"paths": [str(tmp_path / "copper.cif")]}},
        "calculator": {"name": "emt"},
        "engine": {"name": "serial"},
        "properties": {"names": ["soft_mode"]},
        "force_constants": {"third_order": False},
    }
    parents = RunDirectory.create(tmp_path / "parents", resolve(settings_from_dict(tables)))
    assert execute(parents).counts == {"done": 1}
    (child,) = iterate_children(run=str(parents.root))
    (parent,) = parents.store.structure_ids()
    assert child.metadata["parent_id"] == parent
    assert child.metadata["parent_formula"] == "Cu"
    source = {"name": "children", "options": {"run": str(parents.root)}}
    run = RunDirectory.create(tmp_path / "run", resolve(settings_from_dict({**tables, "source": source})))
    execute(run)
    assert run.store.read_structure(child.id)["metadata"]["parent_id"] == parent
    (row,) = run.rows()
    assert (row["parent_id"], row["parent_formula"], row["parent_space_group"]) == (parent, "Cu", 229)
    family = merge_runs([parents.root, run.root], tmp_path / "family")
    assert family.counts == {"done": 2}
    rows = {row["id"]: row for row in RunDirectory.open(tmp_path / "family").rows()}
    assert rows[parent]["child_id"] == child.id
    assert rows[child.id]["parent_id"] == parent
    other = resolve(settings_from_dict({**tables, "source": source, "displace": {"dim": [3, 3, 3]}}))
    RunDirectory.create(tmp_path / "other", other)
    with pytest.raises(ConfigError, match="displace.dim"):
        merge_runs([parents.root, tmp_path / "other"], tmp_path / "mixed")
    with pytest.raises(ConfigError, match="parents"):
        list(iterate_children(run=str(tmp_path / "nowhere")))
    empty = RunDirectory.create(tmp_path / "empty", resolve(settings_from_dict({**tables, "properties": {}})))
    empty.index().close()
    with pytest.raises(ConfigError, match="soft_mode"):
        list(iterate_children(run=str(empty.root)))


# -- order parameters ------------------------------------------------------------------------------


def cubic_matrices(tilt):
    """The 48 operations of a cube on a vector (or on an axis of rotation), turned by an orthogonal matrix."""
    import itertools

    matrices = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([-1, 1], repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            matrices.append(tilt @ matrix @ tilt.T)
    return np.array(matrices)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_vector_in_a_cube_has_three_order_parameters(seed):
    tilt = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    found = order_parameters(cubic_matrices(tilt)) @ tilt
    shapes = sorted(tuple(np.sort(np.abs(direction)).round(3)) for direction in found)
    half, third = round(np.sqrt(0.5), 3), round(np.sqrt(1 / 3), 3)
    assert shapes == [(0, 0, 1), (0, half, half), (third, third, third)]


def test_representation_of_one_mode_is_a_sign():
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]], cell=[4, 4, 4], pbc=True)
    vector = np.array([[1, 0, 0, -1, 0, 0]]).T / np.sqrt(2)
    matrices = representation(vector, np.array([[0, 1], [1, 0]]), np.array([np.eye(3), np.eye(3)]))
    assert sorted(matrices[:, 0, 0].round(6)) == [-1, 1]
    assert order_parameters(matrices).tolist() == [[1.0]]
    assert len(atoms) == 2


# -- fourth order ----------------------------------------------------------------------------------


def test_the_loop_stiffens_as_the_self_consistent_search_does_where_it_is_small():
    calculator = WarmSalt(a=3.0, b=4.0, c=0.0)
    options = {"loop": {"cutoff": 3.6, "temperatures": [300]}}
    renormalise = {"enabled": True, "select": "all", "third_order": False, "error_thz": 0.02, "max_supercells": 2000}
    result = computed(calculator, ["loop"], options, renormalise=renormalise, conductivity={"enabled": False})
    row, record = result.row, result.property_record("loop")
    assert isinstance(record, Loop)
    bare, loop = record.bare_frequencies[0], record.frequencies[0]
    warm = result.records["renormalise_300k"].commensurate_frequencies
    assert row["loop_300k_min_thz"] > row["loop_300k_bare_min_thz"] > 0
    shift = (warm - bare).mean()
    assert shift > 0.02
    assert (loop - bare).mean() == pytest.approx(shift, rel=0.2)


def test_the_loop_refuses_a_cutoff_below_the_bonds():
    with pytest.raises(Exception, match="within 1"):
        computed(WarmSalt(a=3.0), ["loop"], {"loop": {"cutoff": 1.0}}, conductivity={"enabled": False})
