"""The benchmark's parts: materials, references, distances, bootstrap."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json

import h5py
import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from screen_cli.bench.accuracy import fast_error
from screen_cli.bench.comparison import bootstrap_interval, compare_results
from screen_cli.bench.materials import iterate_materials
from screen_cli.bench.reference import pick_reference, read_references
from screen_cli.bench.results import BenchCalculator, BenchResult, read_result, write_result
from screen_cli.bench.score import (
    MaterialScore,
    frequency_error_percent,
    frequency_slope,
    score_run,
    spectrum_distance_thz,
    summarise,
)
from screen_cli.config import RunSettings
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError
from screen_cli.store.run_directory import RunDirectory

BINARIES = (("NaCl", "rocksalt", 5.64), ("ZnS", "zincblende", 5.41))


def crystal(formula="NaCl", prototype="rocksalt", a=5.64, **info):
    atoms = bulk(formula, prototype, a=a, cubic=True)
    atoms.info = info
    return atoms


def row(material_id="mp-1", factor=1.0, n_qpoints=4, **extra):
    modes = factor * np.arange(1.0, 1 + 6 * n_qpoints).reshape(n_qpoints, 6)
    weights = np.arange(1, n_qpoints + 1)
    return {
        "mp_id": material_id,
        "name": "NaCl",
        "temperatures": [300.0],
        "kappa_TOT_ave": [modes.sum() / weights.sum()],
        "mode_kappa_TOT_ave": [modes.tolist()],
        "weights": weights.tolist(),
        "qpoints": (np.arange(n_qpoints)[:, None] * np.ones(3) / 19).tolist(),
        "frequencies": np.sort(np.random.default_rng(0).random((n_qpoints, 6)), axis=1).tolist(),
        "q_mesh": [19, 19, 19],
        **extra,
    }


def table(path, rows):
    columns = {key for item in rows for key in item}
    text = json.dumps({key: {str(i): item.get(key) for i, item in enumerate(rows)} for key in columns})
    path.write_bytes(gzip.compress(text.encode()))
    return path


# -- materials -------------------------------------------------------------------------------------


def test_protocol_of_the_prototypes(tmp_path):
    wurtzite = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
    write(tmp_path / "s.extxyz", [crystal(*item, mp_id=f"mp-{item[0]}") for item in BINARIES] + [wurtzite])
    nacl, zns, zno = iterate_materials(str(tmp_path / "s.extxyz"))
    assert [item.metadata["prototype"] for item in (nacl, zns, zno)] == ["rocksalt", "zincblende", "wurtzite"]
    for item in (nacl, zns):
        assert item.settings["displace"] == {"dim": [2, 2, 2], "dim_fc2": [4, 4, 4]}
        assert item.settings["conductivity"] == {"mesh": [19, 19, 19]}
    assert zno.settings["displace"] == {"dim": [3, 3, 2], "dim_fc2": [5, 5, 3]}
    assert zno.settings["harmonic"] == {"mesh": [19, 19, 15]}
    assert zno.provider_id == "s-2"


def test_the_header_of_a_frame_has_the_word(tmp_path):
    info = {"mp_id": "mp-7", "q_mesh": np.array([3, 3, 3]), "fc3_supercell": 2 * np.eye(3, dtype=int)}
    write(tmp_path / "s.extxyz", crystal(**info, fc2_supercell=3 * np.eye(3, dtype=int)))
    (item,) = iterate_materials(str(tmp_path / "s.extxyz"), meshes={"mp-7": [5, 5, 5]})
    assert item.settings["displace"] == {"dim": [2, 2, 2], "dim_fc2": [3, 3, 3]}
    assert item.settings["conductivity"] == {"mesh": [3, 3, 3]}


def test_folders_are_prototypes_and_meshes_come_from_the_reference(tmp_path):
    for formula, prototype, a in BINARIES:
        (tmp_path / f"my-{prototype}").mkdir()
        write(tmp_path / f"my-{prototype}" / f"{formula}.cif", crystal(formula, prototype, a))
    (tmp_path / "my-perovskite").mkdir()
    perovskite = crystal("NaCl", "cesiumchloride", 3.4)
    write(tmp_path / "my-perovskite" / "CsCl.vasp", perovskite)
    items = {item.provider_id: item for item in iterate_materials(str(tmp_path), meshes={"CsCl": (7, 7, 7)})}
    assert {key: item.metadata["prototype"] for key, item in items.items()} == {
        "NaCl": "my-rocksalt",
        "ZnS": "my-zincblende",
        "CsCl": "my-perovskite",
    }
    assert items["CsCl"].settings == {"harmonic": {"mesh": [7, 7, 7]}, "conductivity": {"mesh": [7, 7, 7]}}


def test_duplicates_and_bad_frames_are_told_one_by_one(tmp_path):
    primitive = bulk("KCl", "rocksalt", a=6.3)
    primitive.info = {"mp_id": "mp-4", "fc3_supercell": 2 * np.eye(3, dtype=int)}
    frames = [
        crystal(mp_id="mp-1"),
        crystal("ZnS", "zincblende", 5.41, mp_id="mp-1"),
        crystal(mp_id="mp-3"),
        primitive,
        crystal("LiF", a=4.0, mp_id="mp-5", fc3_supercell=np.ones((3, 3), dtype=int)),
    ]
    write(tmp_path / "s.extxyz", frames)
    good, *bad = iterate_materials(str(tmp_path / "s.extxyz"))
    assert good.provider_id == "mp-1"
    assert all(isinstance(item, RejectedStructure) for item in bad)
    for item, phrase in zip(
        bad, ("came before", "same crystal as mp-1", "cells of 2 atoms", "not diagonal"), strict=True
    ):
        assert phrase in item.reason


def test_choice_by_name_id_or_prototype(tmp_path):
    write(tmp_path / "s.extxyz", [crystal(*item, name=item[0], mp_id=f"mp-{item[0]}") for item in BINARIES])
    for label in ("ZnS", "mp-ZnS", "zincblende"):
        (item,) = iterate_materials(str(tmp_path / "s.extxyz"), only=[label])
        assert item.provider_id == "mp-ZnS"
    with pytest.raises(ConfigError, match="called Zns"):
        list(iterate_materials(str(tmp_path / "s.extxyz"), only=["Zns"]))


# -- references ------------------------------------------------------------------------------------


def test_table_with_bad_rows(tmp_path):
    rows = [
        row(),
        row(factor=2.0),
        row("mp-2", temperatures=[100.0]),
        row("mp-3", weights=[1, 2]),
        row("mp-4", mode_kappa_TOT_ave=None),
        row("mp-5", kappa_TOT_ave=[-1.0]),
    ]
    references, problems = read_references(table(tmp_path / "r.json.gz", rows), 300.0)
    assert list(references) == ["mp-1"]
    assert references["mp-1"].kappa == pytest.approx(30.0)
    assert references["mp-1"].mesh == (19, 19, 19)
    assert len(problems) == 5
    for sentence, phrase in zip(
        problems, ("twice", "no 300 K", "expected (2, 6)", "mode_kappa_TOT", "-1.0"), strict=True
    ):
        assert phrase in sentence


def test_column_names_of_matbench_discovery(tmp_path):
    renamed = {"mp_id": "material_id", "kappa_TOT_ave": "kappa_tot_avg", "mode_kappa_TOT_ave": "mode_kappa_tot_avg"}
    renamed |= {"weights": "mode_weights", "qpoints": "q_points", "frequencies": "ph_freqs"}
    original = row()
    path = table(tmp_path / "r.json.gz", [{renamed.get(key, key): value for key, value in original.items()}])
    references, problems = read_references(path, 300.0)
    assert not problems
    np.testing.assert_allclose(references["mp-1"].modes, original["mode_kappa_TOT_ave"][0])


def test_results_of_phono3py(tmp_path):
    modes = np.random.default_rng(1).random((2, 4, 6, 6))
    pairs = np.random.default_rng(2).random((2, 4, 6, 6, 6))
    pairs = pairs + pairs.transpose(0, 1, 3, 2, 4)
    capacity = np.random.default_rng(3).random((2, 4, 6))
    common = {
        "temperature": [200.0, 300.0],
        "weight": [1, 2, 3, 4],
        "qpoint": np.zeros((4, 3)),
        "frequency": np.ones((4, 6)),
        "mesh": [3, 3, 3],
        "heat_capacity": capacity,
    }
    for folder, arrays in (
        ("plain", {"mode_kappa": modes}),
        ("wigner", {"mode_kappa": modes, "mode_kappa_C": 2 * modes}),
        ("version3", {"mode_kappa_P_RTA": modes, "mode_kappa_C": pairs}),
    ):
        (tmp_path / folder).mkdir()
        with h5py.File(tmp_path / folder / "kappa-m333.hdf5", "w") as file:
            for name, values in {**common, **arrays}.items():
                file[name] = values
    references, problems = read_references(tmp_path, 300.0)
    assert not problems
    plain = modes[1, ..., :3].mean(axis=-1)
    np.testing.assert_allclose(references["plain"].modes, plain)
    assert not references["plain"].coherences
    np.testing.assert_allclose(references["wigner"].modes, 3 * plain)
    # shares of a pair add up to the pair: the sum over modes keeps the sum over pairs
    total = references["version3"].modes.sum() - plain.sum()
    assert total == pytest.approx(pairs[1, ..., :3].mean(axis=-1).sum())
    single, _ = read_references(tmp_path / "plain" / "kappa-m333.hdf5", 300.0)
    assert pick_reference(single, "plain", "") is not None


def test_references_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_references(tmp_path / "no.json.gz", 300.0)
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(ConfigError, match="no JSON table"):
        read_references(tmp_path / "text.json", 300.0)
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="no column of ids"):
        read_references(tmp_path / "other.json", 300.0)
    with pytest.raises(ConfigError, match="no usable reference"):
        read_references(table(tmp_path / "r.json.gz", [row(temperatures=[10.0])]), 300.0)


# -- numbers ---------------------------------------------------------------------------------------


def test_distances_of_a_shifted_spectrum():
    reference = np.linspace(1.0, 5.0, 24).reshape(4, 6)
    weights = np.array([1, 2, 3, 4])
    assert spectrum_distance_thz(reference + 0.3, weights, reference, weights) == pytest.approx(0.3)
    assert frequency_error_percent(reference + 0.3, reference, weights) == pytest.approx(100 * 0.3 / 4.0)
    # the frequency error weighs q points: an error at one point counts by its weight
    one = reference + 0.3 * (np.arange(4) == 3)[:, None]
    assert frequency_error_percent(one, reference, weights) == pytest.approx(100 * 0.3 * np.sqrt(0.4) / 4.0)
    # other q points are no obstacle to the spectrum
    assert spectrum_distance_thz(reference[::-1], weights[::-1], reference, weights) == pytest.approx(0.0, abs=1e-12)


def test_slope_of_a_soft_model():
    reference = np.random.default_rng(2).uniform(0.0, 8.0, (5, 6))
    weights = np.array([1, 6, 12, 8, 3])
    assert frequency_slope(0.9 * reference, reference, weights) == pytest.approx(0.9)
    bent = reference.copy()
    bent[0] = 0.0  # of one point out of thirty
    assert frequency_slope(bent, reference, weights) > 0.9


def test_failures_count_two_and_the_unscored_not_at_all():
    scores = [
        MaterialScore("a", "a", "x", verdict="scored", srd=0.1, sre=0.1, srme=0.3, imaginary=False),
        MaterialScore("b", "b", "x", verdict="failed", srd=-2.0, sre=2.0, srme=2.0, imaginary=True),
        MaterialScore("c", "c", "x", verdict="not scored"),
        MaterialScore("d", "d", "x"),
    ]
    summary = summarise(scores)
    assert (summary.n_materials, summary.n_failed) == (2, 1)
    assert summary.srme == pytest.approx(1.15)
    assert summary.srme_scored == pytest.approx(0.3)
    assert summary.imaginary_rate == pytest.approx(0.5)
    assert summarise(scores[2:]) is None


@pytest.mark.parametrize(
    ("reason", "broken"),
    [
        ("SymmetryLostError: the space group changed from 225 to 166 in relaxation.", True),
        ("CalculatorError: the largest force component is 4e5 eV/Å: the model exploded.", False),
    ],
)
def test_broken_symmetry_and_explosion_score_two(tmp_path, reason, broken):
    run = RunDirectory.create(tmp_path / "run", RunSettings())
    structure = Structure.from_atoms(crystal(), provider="benchmark", provider_id="mp-1", metadata={"name": "NaCl"})
    run.store.write_structure(structure.id, structure.to_dict())
    with contextlib.closing(run.index()) as index:
        index.add_structures([{"id": structure.id, "formula": "NaCl", "provider_id": "mp-1"}])
        index.update(structure.id, "failed", stage="relax", reason=reason)
    references, _ = read_references(table(tmp_path / "r.json.gz", [row()]), 300.0)
    (score,) = score_run(run, references)
    assert (score.verdict, score.sre, score.srme) == ("failed", 2.0, 2.0)
    assert score.symmetry_broken is broken
    assert score.reason == f"relax: {reason.partition(': ')[2]}"
    (unscored,) = score_run(run, {})
    assert unscored.verdict == "not scored"
    assert "the reference has no mp-1" in unscored.reason


def result(label, srme, prototype="x", sha="1"):
    scores = [
        MaterialScore(str(i), str(i), prototype, verdict="scored", srme=float(value), sre=float(value) / 2)
        for i, value in enumerate(srme)
    ]
    return BenchResult(
        label=label,
        calculator=BenchCalculator("emt", {}),
        protocol="exact",
        temperature_k=300.0,
        reference={"file": "r", "sha256": sha},
        settings={},
        versions={},
        means=summarise(scores),
        by_prototype={},
        fast_error=None,
        problems=(),
        materials=tuple(scores),
    )


def test_pairs_show_what_means_hide():
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0.1, 1.8, 30)  # crystals differ far more than the two models do
    a, b = result("a", difficulty), result("b", difficulty - 0.05 + 0.02 * rng.standard_normal(30))
    (srme, _), problems = compare_results(a, b)
    assert not problems
    assert srme.is_clear
    assert srme.interval[0] < -0.05 < srme.interval[1]
    assert srme.interval_a[0] < srme.mean_b < srme.interval_a[1]  # unpaired, nothing could be said
    assert srme.share_b_better > 0.99
    (same, _), _ = compare_results(a, a)
    assert same.interval == (0.0, 0.0)
    assert not same.is_clear


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(100):
        (low, high), _ = bootstrap_interval(rng.standard_normal(40), seed)
        hits += low <= 0.0 <= high
    assert 88 <= hits <= 99


def test_comparisons_that_mean_less_are_told():
    a, b = result("a", [0.1, 0.2, 0.3]), result("b", [0.1, 0.2], sha="2")
    _, problems = compare_results(a, b)
    assert any("references differ" in sentence for sentence in problems)
    assert any("1 materials of 'a'" in sentence for sentence in problems)
    b = dataclasses.replace(b, materials=())
    with pytest.raises(ConfigError, match="no material is scored in both"):
        compare_results(a, b)


def test_league_ranks_over_the_materials_that_all_count():
    from screen_cli.bench.league import league_csv, make_league
    from screen_cli.bench.league_page import league_page

    rng = np.random.default_rng(3)
    difficulty = rng.uniform(0.2, 1.5, 20)
    noise = rng.standard_normal(20)
    good, bad = result("good", difficulty), result("bad", np.append(difficulty + 0.3, 0.0))
    equal = result("equal <b>", difficulty + 0.05 * (noise - noise.mean() + 0.01))
    rows, problems = make_league([bad, equal, good])
    assert [row.label for row in rows][-1] == "bad"
    assert [row.n_materials for row in rows] == [20, 20, 20]  # the easy one that 'bad' alone has does not help it
    assert rows[-1].is_clearly_behind
    np.testing.assert_allclose([rows[-1].behind, rows[-1].behind_low], 0.3, rtol=1e-9)
    assert not rows[1].is_clearly_behind
    assert rows[0].behind == rows[0].behind_low == 0.0
    assert any("1 materials of 'bad'" in sentence for sentence in problems)
    assert not any("not trusted" in sentence for sentence in problems)
    doubted = tuple(dataclasses.replace(score, trusted=False) for score in bad.materials)
    rough = dataclasses.replace(bad, materials=doubted)
    _, doubts = make_league([rough, equal, good])
    assert any("of 'bad' are not trusted" in sentence for sentence in doubts)
    page = league_page(rows, [bad, equal, good], problems)
    assert "equal &lt;b&gt;" in page
    assert "<script" not in page
    assert league_csv(rows).count("\n") == 4


def test_numbers_of_the_league_lead_to_their_crystals(tmp_path):
    from screen_cli.bench.league import make_league
    from screen_cli.bench.league_page import league_page

    made = result("a", [0.1, 0.2])
    there = dataclasses.replace(
        made, materials=tuple(dataclasses.replace(s, structure_id=f"id{k}") for k, s in enumerate(made.materials))
    )
    write_result(there, tmp_path)
    there = read_result(tmp_path)  # the file knows the crystals
    rows, _ = make_league([there, result("b", [0.3, 0.4])])
    page = league_page(rows, [there, result("b", [0.3, 0.4])], [], {"a": "../run%20a/report.html"})
    assert "<a href='../run%20a/report.html#/crystal/id0'>0.100</a>" in page
    assert "<a href='../run%20a/report.html#/crystal/id1'>0.200</a>" in page
    assert "<td>0.300</td>" in page  # b has no report
    assert page.count("<a ") == 3


def test_the_league_states_the_error_of_fast():
    from screen_cli.bench.league import make_league

    made = result("a", [0.1, 0.2])
    scored = [dataclasses.replace(score, kappa=1.0, srme=0.1) for score in made.materials]
    exact = [dataclasses.replace(score, kappa=1.25, srme=0.4) for score in made.materials]
    error = fast_error(scored, exact, "exact")
    rows, _ = make_league([dataclasses.replace(made, fast_error=error), result("b", [0.3, 0.4])])
    assert (rows[0].n_exact, rows[1].n_exact) == (2, 0)
    assert rows[0].fast_kappa_error_percent == pytest.approx(20.0)
    assert rows[0].fast_srme_error == pytest.approx(0.3)
    assert rows[1].fast_kappa_error_percent is None


def test_the_league_as_a_picture(tmp_path):
    from screen_cli.bench.league import make_league
    from screen_cli.cli.bench.league_plot import plot_league
    from screen_cli.report.figures.style import save_figure

    good, bad = result("good, fast", np.linspace(0.2, 0.9, 12)), result("bad, fast", np.linspace(0.6, 2.0, 12))
    failed = dataclasses.replace(bad.materials[-1], verdict="failed")
    results = [good, dataclasses.replace(bad, materials=(*bad.materials[:-1], failed))]
    figure = plot_league(make_league(results)[0], results[::-1])
    ranking, ratios = figure.axes
    assert [text.get_text() for text in ranking.get_yticklabels()] == ["emt", "emt"]
    assert [text.get_text() for text in ranking.texts] == ["1 failed"]
    assert ratios.get_xscale() == "log"
    assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path / "league"))


def test_expansion_in_the_league_is_of_the_same_materials():
    """The mean over what one model alone has would compare other crystals."""
    from screen_cli.bench.league import make_league

    def expanding(label, gammas):
        made = result(label, [0.1, 0.2, 0.3])
        scores = [
            dataclasses.replace(score, gruneisen_mean=gamma, thermal_expansion_per_mk=10.0)
            for score, gamma in zip(made.materials, gammas, strict=True)
        ]
        return dataclasses.replace(made, materials=tuple(scores))

    rows, _ = make_league([expanding("a", [1.0, 2.0, 9.0]), expanding("b", [1.5, 2.5, None])])
    assert [row.gruneisen_mean for row in rows] == [1.5, 2.0]
    assert [row.thermal_expansion_per_mk for row in rows] == [10.0, 10.0]


def test_leaderboards_get_their_own_names(tmp_path):
    from screen_cli.bench.export import write_leaderboards

    table = {"material_id": {"0": "mp-1"}, "init_spg_num": {"0": 225}, "kappa_tot_rta": {"0": [1.0]}}
    (tmp_path / "predictions-matbench.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    calculator = BenchCalculator("nequix", {"path": "/some/where/small.pt", "trust": True})
    made = dataclasses.replace(result("nequix, fast", [0.1, 0.3]), protocol="fast", calculator=calculator)
    made = dataclasses.replace(made, means=summarise(made.materials))
    paths = write_leaderboards([(tmp_path, made)], tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")) for path in paths} == {
        "matbench-discovery/nequix-small.pt.yml",
        "matbench-discovery/nequix-small.pt-kappa-103.json.gz",
        "ml-peg/nequix-small.pt/kappas.json.gz",
    }
    peg = json.loads(gzip.decompress((tmp_path / "out/ml-peg/nequix-small.pt/kappas.json.gz").read_bytes()))
    assert peg == {"material_id": {"0": "mp-1"}, "initial_spg_num": {"0": 225}, "kappa_tot_rta": {"0": [1.0]}}
    text = (tmp_path / "out/matbench-discovery/nequix-small.pt.yml").read_text()
    assert text.startswith("# over 2 of the 103")
    assert "κ_SRME: 0.2" in text


def test_a_league_of_what_cannot_be_compared_is_refused():
    from screen_cli.bench.league import make_league

    a, other = result("a", [0.1, 0.2]), result("b", [0.1, 0.2], sha="2")
    for results, sentence in (
        ([a], "at least two"),
        ([a, a], "both called 'a'"),
        ([a, other], "other references"),
        ([a, dataclasses.replace(result("b", [0.1]), materials=())], "no material is scored in all"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make_league(results)


def test_error_of_the_fast_protocol():
    exact = [
        MaterialScore("1", "a", "x", "scored", kappa=10.0, srme=0.5, n_force_calls=150, seconds=300.0),
        MaterialScore("2", "b", "x", "failed", srme=2.0, n_force_calls=150, seconds=300.0),
        MaterialScore("4", "d", "x"),
    ]
    fast = [
        MaterialScore("1", "a", "x", kappa=10.1, srme=0.49, n_force_calls=15, seconds=50.0),
        MaterialScore("2", "b", "x", kappa=1.0, srme=0.6, n_force_calls=15, seconds=50.0),
    ]
    error = fast_error(fast, exact, "m, exact")
    assert error.kappa_error_percent_rms == pytest.approx(1.0)
    assert error.srme_error_max == pytest.approx(0.01)
    assert (error.force_calls_ratio, error.seconds_ratio) == pytest.approx((10.0, 6.0))
    assert error.problems == ("b: only one of the protocols gave κ.",)
    more = [*fast, *(MaterialScore(key, key, "x", kappa=1.0) for key in "345")]
    assert fast_error(more, exact, "m, exact").problems[1:] == (
        "3 of 5 materials were not run with the exact protocol.",
    )
    nothing = fast_error(fast[1:], exact, "m, exact").to_json()
    assert nothing.keys() == {"against", "n_materials", "materials", "problems"}


def test_a_result_comes_back_as_it_was_written(tmp_path):
    written = result("a", [0.1, 0.2, 0.3])
    write_result(written, tmp_path)
    assert read_result(tmp_path) == written
    document = json.loads((tmp_path / "bench.json").read_text())
    document["materials"][1]["srme"] = "0.2 or so"
    (tmp_path / "bench.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"materials\.1\.srme"):
        read_result(tmp_path)
