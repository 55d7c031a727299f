"""The numbers of the report: funnel, gate, packing, references, periodic table."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.errors import FilterError
from screen_cli.report.descriptors import descriptor_of, embed_in_plane, read_descriptors
from screen_cli.report.figures.specification import table_position
from screen_cli.report.funnel import count_funnel, fate, group_reasons
from screen_cli.report.gate import PAPER_PASSED, PAPER_PRECISION, PAPER_RECALL, coherence_ratios, fit_power_law
from screen_cli.report.page.details import band_view, conductivity_view, mode_view, structure_view
from screen_cli.report.page.packing import differences, pack, significant, unpack
from screen_cli.report.reference import read_reference

ROWS = [
    {"id": "a1", "provider_id": "x-1", "formula": "NaCl", "space_group": 225, "kappa_total_w_mk": 5.0, "max_msd": 0.07},
    {"id": "b2", "provider_id": "x-2", "formula": "NaCl", "space_group": 221, "kappa_total_w_mk": 2.0, "max_msd": 0.09},
    {"id": "c3", "provider_id": "x-3", "formula": "MgO", "space_group": 225, "kappa_total_w_mk": 40.0, "max_msd": 0.01},
]


# -- funnel ----------------------------------------------------------------------------------------

row = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["filtered", "pending", "running", "done", "failed", "skipped"]),
        "stage": st.sampled_from(["", "relax", "gate", "conductivity"]),
        "reason": st.sampled_from(["", "unstable: lowest frequency -1.5 THz", "CalculatorError: exploded"]),
        "stable": st.sampled_from([None, 0, 1]),
        "kappa_total_w_mk": st.sampled_from([None, 0.5, 1.0, 30.0]),
    }
)


@given(st.lists(row, max_size=40))
def test_steps_and_losses_of_the_funnel_add_up(rows):
    steps = count_funnel(rows)
    assert steps[0].count == len(rows)
    for before, after in itertools.pairwise(steps):
        assert before.count - sum(loss.count for loss in after.losses) == after.count
    assert steps[-1].count == sum(fate(one) == "low" for one in rows)


def test_fates():
    assert fate({"state": "filtered"}) == "filtered"
    assert fate({"state": "failed", "stable": None}) == "failed_early"
    assert fate({"state": "failed", "stable": 1, "kappa_total_w_mk": None}) == "failed_late"
    assert fate({"state": "skipped", "stable": 0}) == "unstable"
    assert fate({"state": "skipped", "stable": 1, "kappa_total_w_mk": None}) == "gated"
    assert fate({"state": "done", "stable": 1, "kappa_total_w_mk": 1.0}) == "high"
    assert fate({"state": "done", "stable": 1, "kappa_total_w_mk": 0.99}) == "low"


def test_reasons_that_differ_in_numbers_are_one_with_their_range():
    reasons = ["unstable: lowest frequency -1.20 THz", "unstable: lowest frequency -0.03 THz", "no symmetry at 0.01 Å"]
    rows = [{"state": "skipped", "stage": "gate", "reason": reason} for reason in reasons]
    assert group_reasons(rows) == [
        ("skipped", "gate", "unstable: lowest frequency -1.2 to -0.03 THz", 2),
        ("skipped", "gate", "no symmetry at 0.01 Å", 1),
    ]


# -- gate ------------------------------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_power_law_is_recovered(slope, factor):
    x = np.array([0.01, 0.02, 0.05, 0.11, 0.3])
    line = fit_power_law(x, factor * x**slope)
    assert line is not None
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.at(0.076) == pytest.approx(factor * 0.076**slope, rel=1e-9)
    assert line.slope_error < 1e-6


def test_no_line_through_too_little():
    assert fit_power_law(np.array([0.1, 0.2, 0.3]), np.ones(3)) is None
    assert fit_power_law(np.full(9, 0.1), np.ones(9)) is None


def test_error_of_the_slope_is_that_of_the_scatter():
    random = np.random.default_rng(0)
    x = np.exp(random.normal(size=400))
    slopes = [fit_power_law(x, x**-1.5 * np.exp(random.normal(0, 0.3, 400))) for _ in range(200)]
    assert np.std([line.slope for line in slopes]) == pytest.approx(
        np.mean([line.slope_error for line in slopes]), rel=0.15
    )


def test_gate_constants_are_those_of_the_paper():
    # [SD]: 9,306 past the gate, 8,873 of them among the 13,461 of 25,901 below 1 W/mK
    assert pytest.approx(8873 / 9306, abs=1e-3) == PAPER_PRECISION
    assert pytest.approx(8873 / 13461, abs=1e-3) == PAPER_RECALL
    assert PAPER_PASSED == 9306 / 25901


def test_mean_ratio_of_coherences_by_class():
    found = coherence_ratios(np.array([0.5, 0.5, 5.0, 50.0]), np.array([1.0, 2.0, 0.5, 0.5]))
    assert [(ratio, count) for _, ratio, count in found] == [(3.0, 2), (0.1, 1), (0.01, 1)]
    assert len(coherence_ratios(np.array([5.0]), np.array([0.5]))) == 1


# -- packing ---------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_packing_loses_nothing(value):
    assert unpack(pack(value)) == value


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.floats(1e-3, 1.0))
def test_differences_return_to_the_curve(values, step):
    back = np.cumsum(differences(np.array(values), step)) * step
    np.testing.assert_allclose(back, values, atol=0.5000001 * step)


def test_significant_digits():
    assert significant(1.23456789, 4) == 1.235
    assert significant(float("nan")) is None
    assert significant(True) is True
    assert significant("text") == "text"
    assert repr(significant(225.0)) == "225"


# -- curves of one crystal -------------------------------------------------------------------------


def test_structure_view_is_the_conventional_cell():
    from ase.spacegroup import crystal

    from screen_cli.crystal.standard_cell import standardise

    for group, positions in (
        (225, [(0, 0, 0), (0.5, 0.5, 0.5)]),
        (227, [(0, 0, 0)]),
        (229, [(0, 0, 0)]),
        (221, [(0, 0, 0)]),
    ):
        symbols = ["Na", "Cl"][: len(positions)]
        atoms = crystal(symbols, positions, spacegroup=group, cellpar=[5.6] * 3 + [90] * 3)
        view = structure_view(standardise(atoms), group)
        conventional = standardise(atoms, to_primitive=False)
        np.testing.assert_allclose(view.cell, conventional.cell.array, atol=1e-4)
        assert sorted(view.numbers) == sorted(conventional.numbers.tolist())
        there = {tuple(np.round(place % 1, 3) % 1) for place in conventional.get_scaled_positions()}
        assert len({tuple(np.round(np.array(place) % 1, 3) % 1) for place in view.positions} & there) in (len(there), 0)


def test_bands_modes_and_kappa_survive_packing(made_up_run):
    row = next(one for one in made_up_run.rows("kappa_total_w_mk > 0"))
    keys = json.loads(row["keys"])
    harmonic, conductivity = (
        made_up_run.store.read(row["id"], name, keys[name]) for name in ("harmonic", "conductivity")
    )
    bands = band_view(harmonic)
    top = harmonic.arrays["band_frequencies"].max()
    lowest = np.cumsum(bands.branches[0]) * bands.step
    where = [int(np.argmin(abs(harmonic.arrays["band_distances"] - x))) for x in bands.distances[1:20]]
    np.testing.assert_allclose(lowest[1:20], harmonic.arrays["band_frequencies"][where, 0], atol=0.004 * top)
    assert bands.starts == [0, 26, 52, 78, 104, 130, 156]
    assert [label for _, label in bands.ticks][1] == r"$\mathrm{X}$|$\mathrm{U}$" or len(bands.ticks) == 7
    assert conductivity_view(conductivity).total[2] == pytest.approx(row["kappa_total_w_mk"], rel=1e-3)
    modes = mode_view(conductivity)
    assert modes.kelvin == 300
    lifetimes = 1 / (4 * np.pi * conductivity.arrays["gamma"][2])
    assert np.isin(np.array(modes.lifetimes), np.rint(100 * np.log10(lifetimes)).astype(int)).all()
    assert max(modes.sizes) == 100
    assert len(modes.frequencies) == min(400, modes.n_modes)


# -- references and descriptors --------------------------------------------------------------------


def test_reference_by_formula_in_any_order_and_space_group(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("formula,space_group,kappa\nClNa,225,6.0\nNaCl,221,1.5\nKBr,225,3\n")
    reference = read_reference(path, ROWS)
    assert reference.matched_by == "formula"
    assert reference.n_unmatched == 1
    np.testing.assert_array_equal(reference.columns["kappa_total_w_mk"], [6.0, 1.5, np.nan])


def test_reference_as_json(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"MgO": {"kappa": 50.0, "max_msd": 0.012}}))
    assert read_reference(path, ROWS).columns["max_msd"][2] == 0.012
    path.write_text(json.dumps([{"id": "c3", "kappa_total_w_mk": 51.0}]))
    assert read_reference(path, ROWS).matched_by == "id"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formula,color\nNaCl,red\n", "shares no numeric column"),
        ("formula,kappa\nKBr,1\n", "names none of the run's crystals"),
        ("formula,kappa\nNaCl,1\nNaCl,2\n", "two entries for NaCl"),
    ],
)
def test_bad_references_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(FilterError, match=message):
        read_reference(path, ROWS)


def test_unreadable_references(tmp_path):
    with pytest.raises(FilterError, match="cannot read the reference"):
        read_reference(tmp_path / "absent.csv", ROWS)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(FilterError, match="no valid JSON"):
        read_reference(tmp_path / "bad.json", ROWS)


def test_descriptors_from_files(tmp_path):
    np.savez(tmp_path / "d.npz", ids=np.array(["a1", "c3"]), vectors=np.eye(2))
    found = read_descriptors(tmp_path / "d.npz", ROWS)
    assert found[1] is None
    np.testing.assert_array_equal(found[2], [0, 1])
    (tmp_path / "d.csv").write_text("MgO,1,2,3\n")
    np.testing.assert_array_equal(read_descriptors(tmp_path / "d.csv", ROWS)[2], [1, 2, 3])
    (tmp_path / "d.csv").write_text("MgO,1,2,3\nNaCl,1\n")
    with pytest.raises(FilterError, match="differ in length"):
        read_descriptors(tmp_path / "d.csv", ROWS)
    (tmp_path / "d.csv").write_text("KBr,1,2,3\n")
    with pytest.raises(FilterError, match="names no crystal"):
        read_descriptors(tmp_path / "d.csv", ROWS)


def test_descriptor_of_a_crystal_is_the_mean_over_its_atoms():
    from ase.build import bulk

    from screen_cli.errors import ConfigError
    from screen_cli.properties.descriptor import descriptor
    from screen_cli.stages.relax import Relaxed

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    relax = Relaxed(
        cell=atoms.cell.array,
        positions=atoms.positions,
        numbers=atoms.numbers.astype(np.int64),
        volume=atoms.cell.volume,
        volume_change=0.0,
        space_group=225,
        n_relax_steps=0,
        relax_converged=True,
        fell_back_to_symmetric=False,
        fmax_final=0.0,
        a=5.6,
        b=5.6,
        c=5.6,
    )

    class Seeing:
        def descriptors(self, atoms):
            return np.array([[float(number), 1.0] for number in atoms.numbers])

    made = descriptor({"relax": relax}, calculator=Seeing())
    np.testing.assert_allclose(descriptor_of(made.to_storage()), [14.0, 1.0])
    with pytest.raises(ConfigError, match="--descriptors FILE"):
        descriptor({"relax": relax}, calculator=object())


def test_map_keeps_groups_together():
    pytest.importorskip("sklearn")
    random = np.random.default_rng(1)
    vectors = np.concatenate([random.normal(0, 0.1, (20, 12)), random.normal(5, 0.1, (20, 12))])
    plane = embed_in_plane(vectors)
    assert plane.min() >= 0
    assert plane.max() <= 1
    groups = plane[:20], plane[20:]
    gap = np.linalg.norm(groups[0].mean(axis=0) - groups[1].mean(axis=0))
    assert gap > 2 * max(np.linalg.norm(group - group.mean(axis=0), axis=1).mean() for group in groups)
    np.testing.assert_array_equal(plane, embed_in_plane(vectors))


def test_periodic_table():
    places = [table_position(number) for number in range(1, 119)]
    assert len(set(places)) == 118
    known = {
        1: (1, 1),
        2: (1, 18),
        5: (2, 13),
        13: (3, 13),
        21: (4, 3),
        36: (4, 18),
        55: (6, 1),
        57: (8, 3),
        72: (6, 4),
        86: (6, 18),
    }
    assert {number: table_position(number) for number in known} == known
    with pytest.raises(ValueError, match="no element"):
        table_position(119)


def test_thinned_bands_keep_the_tip_of_an_avoided_crossing():
    """A page that skipped the point of closest approach would show a larger gap."""
    from screen_cli.report.page.details import _telling_points

    x = np.linspace(-1, 1, 401)
    for centre in (-0.613, 0.0, 0.402):
        root = np.hypot(x - centre, 0.003)
        points = _telling_points(np.stack([5 - root, 5 + root], axis=1))
        assert len(points) <= 26
        assert (points[0], points[-1]) == (0, 400)
        assert int(np.argmin(root)) in points
    assert _telling_points(np.zeros((7, 2))) == list(range(7))
