"""The property ``cohp`` with GPAW: refusals in sentences, the run, and GPAW itself where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

from screen_cli.calculators.environments.virtual import environment_of
from screen_cli.cli import main
from screen_cli.crystal.structure import Structure
from screen_cli.errors import CalculatorError, ConfigError, MissingExtraError
from screen_cli.properties.cohp import program
from screen_cli.properties.cohp.lcao import GpawSettings, compute_bonding
from screen_cli.properties.cohp.property import cohp, fingerprint
from screen_cli.store.run_directory import RunDirectory

SILICON = bulk("Si")
NACL = Structure.from_atoms(bulk("NaCl", "rocksalt", 5.64), provider="files", provider_id="x-1")

PYTHON = f"""#!{sys.executable}
import json, pathlib, sys, time
import numpy as np
if sys.argv[1] == "-c":
    print(json.dumps(VERSIONS))
    raise SystemExit
folder = pathlib.Path(sys.argv[2])
task = json.loads((folder / "crystal.json").read_text())
answer = {{"gpaw": "25.7.0", "n_iterations": 9}}
ANSWER
n = len(task["numbers"])
levels = np.linspace(-3, 3, n)
matrix = np.diag(levels) - 0.5 * (np.ones((n, n)) - np.eye(n))
np.savez(folder / "matrices.npz", hamiltonians=matrix[None].astype(complex), overlaps=np.eye(n)[None].astype(complex),
         kpoints=np.zeros((1, 3)), weights=np.ones(1), atoms=np.arange(n), kept=KEPT, scaled=SCALED, n_electrons=2.0)
(folder / "answer.json").write_text(json.dumps(answer))
"""
"""Plays GPAW's Python: one orbital for each atom."""


@pytest.fixture
def python(tmp_path):
    """Makes an interpreter that answers as told."""

    def make(answer="pass", versions=None, kept="np.ones(n, dtype=bool)", name="python"):
        path = tmp_path / name
        scaled = "np.linalg.solve(np.transpose(task['cell']), np.transpose(task['positions'])).T % 1.0"
        text = PYTHON.replace("VERSIONS", repr(versions or {"gpaw": "25.7.0", "gpaw-data": "1.2.1"}))
        path.write_text(text.replace("ANSWER", answer).replace("KEPT", kept).replace("SCALED", scaled))
        path.chmod(0o755)
        return str(path)

    return make


def test_bonds_and_their_means_come_back(python):
    found = compute_bonding(SILICON, GpawSettings(environment=python(), basis="dzp"))
    assert found.cohp_source == "gpaw-lcao dzp"
    assert found.n_bonds == 4
    assert found.bond_pairs.shape == (4, 2)
    assert found.icohp_mean_ev == pytest.approx(found.bond_icohp_ev.mean())
    assert found.icohp_strongest_ev == found.bond_icohp_ev.min()
    assert found.cohp_bonding_ev - found.cohp_antibonding_ev == pytest.approx(-found.icohp_mean_ev)
    stored = type(found).from_storage(found.to_storage())
    assert stored.bond_icohp_ev.tolist() == found.bond_icohp_ev.tolist()


@pytest.mark.parametrize(
    ("answer", "kept", "error", "match"),
    [
        (
            "answer = {'refused': 'crystal', 'reason': 'no basis of Po'}",
            "1",
            CalculatorError,
            "refuses Si2: no basis of",
        ),
        ("answer = {'refused': 'installation', 'reason': 'no libxc'}", "1", MissingExtraError, "no libxc.*env create"),
        ("sys.exit('Segmentation fault')", "1", CalculatorError, "died over Si2: Segmentation fault"),
        ("time.sleep(60)", "1", CalculatorError, "more than 0.5 s for Si2.*time_limit = 1"),
        ("pass", "np.arange(n) > 0", CalculatorError, "miss .* % of the electrons of a band of Si2"),
        ("task['numbers'] = []", "np.ones(0, dtype=bool)", CalculatorError, "died over Si2|cannot be used"),
    ],
)
def test_a_crystal_that_cannot_be_computed_is_refused_with_a_sentence(python, answer, kept, error, match):
    limit = 0.5 if "sleep" in answer else 60.0
    with pytest.raises(error, match=match):
        compute_bonding(SILICON, GpawSettings(environment=python(answer, kept=kept), time_limit=limit))


def test_a_python_without_gpaw_is_refused_with_the_line_that_installs_it(python, monkeypatch, tmp_path):
    monkeypatch.setenv("SCREEN_ENVIRONMENTS", str(tmp_path / "none"))
    with pytest.raises(MissingExtraError, match="screen-cli env create gpaw"):
        fingerprint(NACL, source="gpaw", environment=python(versions={"numpy": "2"}, name="bare"))
    with pytest.raises(ConfigError, match="no such folder or interpreter"):
        fingerprint(NACL, source="gpaw", environment=str(tmp_path / "nowhere"))
    if importlib.util.find_spec("gpaw") is None:
        with pytest.raises(MissingExtraError, match="has no GPAW"):
            fingerprint(NACL, source="gpaw")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"source": "vasp"}, "expected one of lobster, gpaw"),
        ({"source": "gpaw", "folder": "lobster/"}, "folder is LOBSTER's"),
        ({"basis": "dzp"}, "basis: an option of source = 'gpaw'"),
        ({"source": "gpaw", "bases": "dzp"}, "unknown option 'bases'"),
        ({"source": "gpaw", "grid_spacing": "fine"}, "option grid_spacing"),
        ({"source": "gpaw", "grid_spacing": -0.2}, "expected a positive number"),
        ({"source": "gpaw", "shell": 0.5}, "expected 1 to 3"),
    ],
)
def test_options_that_are_none_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        cohp({}, structure=NACL, **options)


def test_the_key_follows_gpaw_and_its_data(python):
    first = fingerprint(NACL, source="gpaw", environment=python(name="first"))
    second = fingerprint(NACL, source="gpaw", environment=python(versions={"gpaw": "26.7.0"}, name="second"))
    assert first != second
    assert first["gpaw"] == "25.7.0"


CONFIG = """
[source]
name = "prototypes"
options = {{ entries = [{{ prototype = "cu3au", elements = {{ A = "Au", B = "Cu" }}, a = 3.75 }}] }}
[calculator]
name = "emt"
[displace]
dim = [1, 1, 1]
min_pairs = 1
[force_constants]
third_order = false
holdout = 0.0
[harmonic]
mesh = [2, 2, 2]
phase_space = false
[properties]
names = ["cohp"]
options = {{ cohp = {{ source = "gpaw", environment = "{python}" }} }}
[engine]
name = "serial"
"""


def test_a_run_has_columns_and_bonds_of_the_relaxed_cell(python, tmp_path):
    config = tmp_path / "alloy.toml"
    config.write_text(CONFIG.format(python=python()))
    assert main(["run", str(config), "--quiet", "--no-report"]) == 0
    (row,) = RunDirectory.open(tmp_path / "alloy").rows()
    assert row["state"] == "done", row["reason"]
    assert row["cohp_source"] == "gpaw-lcao szp(dzp)"
    assert row["n_bonds"] == 24


def test_the_map_of_the_report_keeps_sources_apart():
    from screen_cli.report.figures.maps import bonding_map

    rows = [{"cohp_source": source} for source in ("lobster", None, "gpaw-lcao szp(dzp)", "gpaw-lcao dzp")]
    numbers = {"cohp_bonding_ev": np.ones(4), "cohp_antibonding_ev": np.array([1.0, 1.0, 1.0, np.nan])}
    material = SimpleNamespace(rows=rows, crystals=[], column=lambda name: numbers.get(name, np.full(4, np.nan)))
    pytest.MonkeyPatch().setattr("screen_cli.report.figures.maps.colourings", lambda *_: [])
    figures = bonding_map(material)
    assert [(figure.name, figure.points.tolist()) for figure in figures] == [
        ("bonding-map", [2]),
        ("bonding-map-2", [0, 1]),
    ]
    assert "GPAW-LCAO (szp(dzp))" in figures[0].caption
    assert "LOBSTER" in figures[1].caption


# -- the program that GPAW's Python runs -----------------------------------------------------------


def test_what_goes_wrong_is_answered_in_a_sentence(tmp_path):
    (tmp_path / "crystal.json").write_text("{}")

    def refuse(task, folder):
        raise program.Refusal("crystal", "the density does not converge")

    def fail(task, folder):
        raise ValueError("line one\n  line two")

    answers = []
    for work in (refuse, fail, lambda task, folder: {"gpaw": "1"}):
        program.main(tmp_path, work)
        answers.append(json.loads((tmp_path / "answer.json").read_text()))
    assert answers == [
        {"refused": "crystal", "reason": "the density does not converge"},
        {"refused": "crystal", "reason": "ValueError: line one line two"},
        {"gpaw": "1"},
    ]


def test_the_mesh_follows_the_height_of_the_cell():
    assert program.mesh(np.diag([3.0, 6.0, 30.0]), 12.0) == [4, 2, 1]
    assert program.mesh([[3.0, 0, 0], [3.0, 4.0, 0], [0, 0, 5.0]], 12.0) == [5, 3, 3]


def test_kept_orbitals_are_the_first_of_each_filled_shell():
    def function(n, angular):
        return SimpleNamespace(n=n, l=angular)

    functions = [function(3, 0), function(2, 1), function(3, 1), function(3, 0), function(None, 1), function(None, 2)]
    sodium = SimpleNamespace(
        n_j=[3, 2, 3, -1], l_j=[0, 1, 1, 2], data=SimpleNamespace(f_j=[1, 6, 0]), basis=SimpleNamespace(bf_j=functions)
    )
    kept = [True] + 3 * [True] + 3 * [False] + [False] + 3 * [False] + 5 * [False]
    assert program.free_atom_orbitals(sodium) == kept


# -- GPAW itself -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpaw():
    """Settings with a Python that has GPAW: SCREEN_GPAW_PYTHON, this one, or the environment of that name."""
    named = os.environ.get("SCREEN_GPAW_PYTHON", "")
    if not (named or importlib.util.find_spec("gpaw") or environment_of("gpaw")):
        pytest.skip("needs GPAW: screen-cli env create gpaw, or SCREEN_GPAW_PYTHON")
    return GpawSettings(environment=str(Path(named)) if named else "")


@pytest.fixture(scope="module")
def silicon(gpaw):
    return compute_bonding(SILICON, gpaw)


@pytest.mark.slow
def test_the_bonds_of_silicon_are_alike_and_covalent(silicon):
    assert silicon.n_bonds == 4
    assert np.ptp(silicon.bond_icohp_ev) < 0.02  # the real-space grid has not the symmetry of the crystal
    assert silicon.icohp_mean_ev < -4
    assert silicon.cohp_antibonding_ev < 0.05 * silicon.cohp_bonding_ev
    assert silicon.cohp_gap_ev > 0.3
    assert 0 < silicon.cohp_spilling < 0.04


@pytest.mark.slow
def test_cell_orientation_and_order_do_not_matter(gpaw, silicon):
    conventional = bulk("Si", cubic=True)[::-1]
    conventional.rotate(30, (1, 1, 3), rotate_cell=True)
    conventional.positions += (0.3, 0.1, 0.2)
    found = compute_bonding(conventional, gpaw)
    assert found.n_bonds == 16
    assert found.icohp_mean_ev == pytest.approx(silicon.icohp_mean_ev, rel=0.02)
    assert found.cohp_bonding_ev == pytest.approx(silicon.cohp_bonding_ev, rel=0.02)


@pytest.mark.slow
def test_mesh_and_basis_do_not_matter_much(gpaw, silicon):
    finer = compute_bonding(SILICON, GpawSettings(environment=gpaw.environment, population_length=36.0))
    larger = compute_bonding(SILICON, GpawSettings(environment=gpaw.environment, basis="dzp"))
    assert finer.icohp_mean_ev == pytest.approx(silicon.icohp_mean_ev, rel=0.005)
    assert larger.icohp_mean_ev == pytest.approx(silicon.icohp_mean_ev, rel=0.05)


@pytest.mark.slow
def test_a_metal_has_no_gap_and_a_salt_weak_bonds(gpaw, silicon):
    aluminium = compute_bonding(bulk("Al"), gpaw)
    salt = compute_bonding(bulk("NaCl", "rocksalt", 5.64), gpaw)
    assert aluminium.cohp_gap_ev == 0
    assert salt.cohp_gap_ev > 3
    assert silicon.icohp_mean_ev < aluminium.icohp_mean_ev < salt.icohp_mean_ev < 0


@pytest.mark.slow
def test_an_element_without_a_basis_is_refused(gpaw):
    with pytest.raises(CalculatorError, match="refuses Po: .*Po.dzp.basis"):
        compute_bonding(bulk("Po", "sc", 3.35), gpaw)
