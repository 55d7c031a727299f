"""Filters: each drop has a criterion and a reason; the counts add up, in memory, in the index and after a rebuild."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from ase.build import bulk

from screen_cli.cli import main
from screen_cli.config import FilterSettings, settings_from_dict
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, FilterError, StoreError, UnknownNameError
from screen_cli.run.reading import JOURNAL, _append, filtered_rows
from screen_cli.sources.filters import FilteredStructure, apply_filters, count_reasons
from screen_cli.store.run_directory import RunDirectory


def crystal(name="NaCl", lattice="rocksalt", a=5.64, provider_id=None, **metadata):
    return Structure.from_atoms(
        bulk(name, lattice, a=a), provider="t", provider_id=provider_id or name, metadata=metadata
    )


CRYSTALS = [
    crystal(formation_energy_ev_atom=-2.0, energy_above_hull_ev_atom=0.0, band_gap_ev=5.0),
    crystal("KBr", a=6.6, formation_energy_ev_atom=-1.9, energy_above_hull_ev_atom=0.2),
    crystal("ZnS", "zincblende", a=5.41, formation_energy_ev_atom=0.3),
    crystal("Si", "diamond", a=5.43),
    crystal("PbTe", a=6.46),
    RejectedStructure("t", "torn.cif", "cannot be read"),
]


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({}, {}),
        ({"elements": ["Na", "Cl", "K", "Br", "Zn", "S", "Si"]}, {"PbTe": ("elements", "contains Pb, Te")}),
        ({"exclude_elements": ["Pb"]}, {"PbTe": ("elements", "contains Pb")}),
        ({"max_formation_energy": 0.0}, {"ZnS": ("formation_energy_ev_atom", "0.3 above 0")}),
        (
            {"max_energy_above_hull": 0.1, "unknown_energy": "drop"},
            {
                "KBr": ("energy_above_hull_ev_atom", "0.2 above 0.1"),
                "ZnS": ("energy_above_hull_ev_atom", "not given by t"),
                "Si": ("energy_above_hull_ev_atom", "not given"),
                "PbTe": ("energy_above_hull_ev_atom", "not given"),
            },
        ),
        ({"space_groups": [225, 227]}, {"ZnS": ("space_group", "216")}),
        (
            {"prototypes": ["rocksalt"]},
            {"ZnS": ("prototype", "zincblende"), "Si": ("prototype", "diamond")},
        ),
        (
            {"expression": "band_gap_ev > 1 and prototype == 'rocksalt'"},
            dict.fromkeys(["KBr", "ZnS", "Si", "PbTe"], ("expression", "'band_gap_ev'")),
        ),
        ({"min_atoms": 3}, dict.fromkeys(["NaCl", "KBr", "ZnS", "Si", "PbTe"], ("n_atoms", "at least 3"))),
        ({"max_atoms": 1}, dict.fromkeys(["NaCl", "KBr", "ZnS", "Si", "PbTe"], ("n_atoms", "2 atoms"))),
    ],
)
def test_each_filter_drops_what_it_says_and_nothing_else(settings, dropped):
    out = list(apply_filters(CRYSTALS, FilterSettings(**settings)))
    assert len(out) == len(CRYSTALS)
    found = {
        item.structure.provider_id: (item.criterion, item.reason) for item in out if isinstance(item, FilteredStructure)
    }
    assert found.keys() == dropped.keys()
    for name, (criterion, reason) in dropped.items():
        assert found[name][0] == criterion
        assert reason in found[name][1]
    counts = count_reasons(out)
    assert counts["unreadable"] == 1
    assert counts["kept"] == len(CRYSTALS) - 1 - len(dropped)


def test_the_same_crystal_is_taken_once_however_it_is_written():
    again = Structure.from_atoms(
        bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((1, 1, 2)), provider="u", provider_id="supercell"
    )
    other = crystal(a=5.70, provider_id="larger")
    kept, twin, larger = apply_filters([crystal(), again, other], FilterSettings())
    assert isinstance(kept, Structure)
    assert isinstance(twin, FilteredStructure)
    assert (twin.criterion, twin.reason) == ("duplicate", "the same crystal as t:NaCl")
    assert twin.row_id != kept.id
    assert isinstance(larger, Structure), "1 % in the lattice constant is another crystal for an exact comparison"


def test_similar_crystals_are_matched_by_pymatgen():
    pytest.importorskip("pymatgen")
    settings = FilterSettings(duplicates="similar")
    crystals = [
        crystal(),
        crystal(a=5.70, provider_id="larger"),
        crystal("NaCl", "cesiumchloride", a=3.4, provider_id="B2"),
    ]
    first, larger, b2 = apply_filters(crystals, settings)
    assert isinstance(first, Structure)
    assert isinstance(larger, FilteredStructure)
    assert "t:NaCl" in larger.reason
    assert isinstance(b2, Structure)


@pytest.mark.skipif(importlib.util.find_spec("pymatgen") is not None, reason="pymatgen is installed")
def test_missing_pymatgen_is_told():
    from screen_cli.errors import MissingExtraError

    with pytest.raises(MissingExtraError, match="matching"):
        list(apply_filters(CRYSTALS, FilterSettings(duplicates="similar")))


def test_bad_settings_are_told():
    with pytest.raises(UnknownNameError, match="rocksalt"):
        list(apply_filters(CRYSTALS, FilterSettings(prototypes=["rocksal"])))
    with pytest.raises(ConfigError, match="'Nacl' are no chemical symbols"):
        list(apply_filters(CRYSTALS, FilterSettings(elements=["Nacl"])))
    with pytest.raises(FilterError, match="no crystal has natoms.*Did you mean 'n_atoms'"):
        list(apply_filters(CRYSTALS, FilterSettings(expression="natoms < 5")))
    with pytest.raises(FilterError, match="cannot parse"):
        list(apply_filters(CRYSTALS, FilterSettings(expression="n_atoms <")))


# EMT knows none of these elements, so what passes the filters fails at once
CONFIG = """
[source]
name = "prototypes"
options = { entries = [
  { prototype = "cu3au", elements = ["Na", "Na"], a = 5.3, formation_energy_ev_atom = 0.0 },
  { prototype = "cu3au", elements = ["Na", "Na"], a = 5.3 },
  { prototype = "cu3au", elements = ["K", "K"], a = 6.6, formation_energy_ev_atom = 0.5 },
  { prototype = "cu3au", elements = ["Na", "K"], formula = "NaK3", a = 6.1, formation_energy_ev_atom = -0.05 },
] }
[calculator]
name = "emt"
[filter]
max_formation_energy = 0.1
prototypes = %s
[engine]
name = "serial"
"""


def states(run):
    return {(row["formula"], row["state"], row["stage"]): row for row in run.rows()}


def test_drops_are_counted_in_status_table_and_after_a_rebuild(tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text(CONFIG % "[]")
    assert main(["run", str(config), "--quiet", "--no-report"]) == 0
    run = RunDirectory.open(tmp_path / "run")
    found = states(run)
    assert ("Na", "filtered", "duplicate") in found
    assert found["K", "filtered", "formation_energy_ev_atom"]["formation_energy_ev_atom"] == 0.5
    assert {key[1] for key in found} <= {"filtered", "done", "failed", "skipped"}
    processed = [row for row in run.rows() if row["state"] != "filtered"]
    assert {row["formula"] for row in processed} == {"Na", "K3Na"}
    assert {row["formation_energy_ev_atom"] for row in processed} == {0.0, -0.05}
    assert {row["n_atoms"] for row in processed} == {1, 4}
    capsys.readouterr()
    assert main(["status", str(run.root), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["counts"]["filtered"] == 2
    reasons = {(row["state"], row["stage"]): row["count"] for row in status["reasons"]}
    assert reasons["filtered", "duplicate"] == 1
    assert main(["status", str(run.root)]) == 0
    assert "1 filtered by formation_energy_ev_atom" in capsys.readouterr().out
    before = {(row["id"], row["state"], row["reason"]) for row in run.rows()}
    assert main(["rebuild", str(run.root)]) == 0
    assert {(row["id"], row["state"], row["reason"]) for row in run.rows()} == before


def test_a_changed_filter_drops_and_takes_back(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(CONFIG % "[]")
    arguments = ["run", str(config), "--quiet", "--no-report"]
    assert main(arguments) == 0
    run = RunDirectory.open(tmp_path / "run")
    config.write_text(CONFIG % '["cu3au"]')
    assert main(arguments) == 2, "a config changed between runs is refused"
    assert main([*arguments, "--accept-changes"]) == 0
    by_formula = {row["formula"]: row["state"] for row in run.rows() if not row["id"].startswith("duplicate")}
    assert by_formula["Na"] == "filtered"
    assert by_formula["K3Na"] != "filtered"
    config.write_text(CONFIG % "[]")
    assert main([*arguments, "--accept-changes"]) == 0
    by_formula = {row["formula"]: row["state"] for row in run.rows() if not row["id"].startswith("duplicate")}
    assert by_formula["Na"] not in ("filtered", "pending")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told():
    with pytest.raises(StoreError, match="No space left"):
        _append(Path("/dev/full"), [{"id": "x", "state": "filtered"}])


def test_a_torn_journal_loses_its_last_line_only(tmp_path):
    run = RunDirectory.create(tmp_path / "run", settings_from_dict({}))
    (run.root / JOURNAL).write_text('{"id": "a", "state": "filtered"}\n{"id": "b", "sta')
    assert [row["id"] for row in filtered_rows(run)] == ["a"]
