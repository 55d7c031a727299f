"""Names of columns: unit and temperature in every heading, both forms understood; cells that can do no harm."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.cli import main
from screen_cli.config import settings_from_dict
from screen_cli.report.tables.columns import full_names, in_short_names, short_name
from screen_cli.report.tables.exporters import write_csv_lines
from screen_cli.report.tables.terminal import MAIN_COLUMNS, Column, cell, print_table, printable
from screen_cli.store.run_directory import RunDirectory

NUMBERS = (
    *("a", "volume", "energy_ev_per_atom", "cv_j_mol_k", "cv_j_mol_k_atom", "max_msd", "p3", "vs_m_s", "seconds"),
    *("min_frequency_thz", "debye_temperature_k", "kappa_p_w_mk", "kappa_c_w_mk", "kappa_total_w_mk", "force_rms"),
    *("kappa_total_sigma_w_mk", "alpha_linear_300k", "qha_alpha_linear_300k", "alpha_c_300k_strain", "gamma_mean"),
    *("bulk_modulus_gpa", "supercell_length", "distance", "fmax_final", "residual_force_max", "cohp_bonding_ev"),
)
UNIT = re.compile(r"_(angstrom\d?|thz|k|m_s|w_mk|j_mol_k|ps_rad|ev|ev_angstrom|ev_per_atom|gpa|per_k|s)$")
WITHOUT_UNIT = {"gamma_mean"}
AT_A_TEMPERATURE = ("cv_", "max_msd", "kappa_", "alpha_", "gamma_", "qha_alpha")

kelvins = st.one_of(st.integers(1, 3000).map(float), st.floats(1, 3000).map(lambda value: round(value, 2)))


@given(harmonic=kelvins, conductivity=kelvins)
def test_headings_have_unit_and_temperature_and_go_back(harmonic, conductivity):
    headings = full_names(NUMBERS, {"harmonic": harmonic, "conductivity": conductivity})
    assert len(set(headings.values())) == len(NUMBERS)
    for name, heading in headings.items():
        assert UNIT.search(heading) or name in WITHOUT_UNIT, heading
        if heading.startswith(AT_A_TEMPERATURE):
            assert re.search(r"_[0-9.]+k(_|$)", heading), heading
        assert short_name(heading) == name
        assert short_name(name) == name


@given(kelvin=kelvins)
def test_a_filter_may_use_the_heading(kelvin):
    heading = full_names(["max_msd"], {"harmonic": kelvin})["max_msd"]
    expression = f"stable and ({heading} >= 0.076 or kappa_total_300k_w_mk < 1e-1)"
    assert in_short_names(expression) == "stable and (max_msd >= 0.076 or kappa_total_w_mk < 1e-1)"


cells = st.one_of(st.text(), st.builds(str.__add__, st.sampled_from("=+-@\t\r"), st.text()), st.floats(allow_nan=False))


@given(value=cells)
def test_no_cell_becomes_a_formula_and_none_is_lost(value):
    file = io.StringIO(newline="")
    write_csv_lines([{"x": value}], file, {"x": "x"})
    ((_,), (written,)) = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    if isinstance(value, float):
        assert float(written) == value
        return
    assert written.removeprefix("'") == value.removeprefix("'")
    if written.startswith(("=", "+", "-", "@", "\t", "\r")):
        float(written)  # a number may keep its sign


@given(text=st.text(alphabet=st.characters()))
def test_names_cannot_steer_a_terminal(text):
    shown = printable(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert all(letter in shown for letter in text if letter.isalnum())


def test_a_table_shows_escapes_as_text(capsys):
    print_table([{"formula": "\x1b[2J\x1b]0;owned\x07NaCl", "state": "done"}])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2J" in out


@pytest.mark.parametrize(("value", "text"), [(-1e-9, "0.00"), (-0.004, "0.00"), (-0.006, "-0.01"), (2.0, "2.00")])
def test_rounding_noise_has_no_sign(value, text):
    assert cell({"x": value}, Column("x", "x", ".2f")) == text


def test_printed_digits_are_those_that_hold():
    """Three significant digits of κ, trailing zeros kept: what every machine finds."""
    kappa = {column.name: column for column in MAIN_COLUMNS}["kappa_p_w_mk"]
    assert [cell({"kappa_p_w_mk": x}, kappa) for x in (40.97, 5.6889, 0.42237, 128.2)] == [
        "41.0",
        "5.69",
        "0.422",
        "128",
    ]


@pytest.fixture
def run(tmp_path):
    settings = settings_from_dict({"calculator": {"name": "emt"}, "harmonic": {"temperatures": [450.0, 300.0]}})
    run = RunDirectory.create(tmp_path / "run", settings)
    index = run.index()
    index.add_structures([{"id": "one", "formula": "=cmd|' /C calc'!A0"}])
    scalars = {"max_msd": 0.05, "kappa_total_w_mk": 2.0, "kappa_temperature_k": 300.0}
    index.update("one", "done", scalars=scalars, keys={})
    index.close()
    return run


def test_show_and_export_say_the_temperature(run, tmp_path, capsys):
    assert main(["show", str(run.root), "--format", "csv", "-f", "max_msd_450k_angstrom2 > 0.01"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["max_msd_450k_angstrom2"], row["kappa_total_300k_w_mk"]) == ("0.05", "2.0")
    assert row["formula"].startswith("'=")
    assert main(["export", str(run.root), str(tmp_path / "out.csv")]) == 0
    assert "max_msd_450k_angstrom2" in (tmp_path / "out.csv").read_text().splitlines()[0]
    assert main(["show", str(run.root), "-c", "formula,kappa_total_300k_w_mk,max_msd"]) == 0
    assert "450 K" in capsys.readouterr().out
    assert main(["show", str(run.root), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)[0]
    assert (shown["max_msd_angstrom2"], shown["harmonic_temperature_k"]) == (0.05, 450)
    assert (shown["kappa_total_w_mk"], shown["kappa_temperature_k"]) == (2.0, 300)
    for name in ("out.json", "out.jsonl"):
        assert main(["export", str(run.root), str(tmp_path / name)]) == 0
        (row,) = [json.loads(line.strip("[],\n")) for line in (tmp_path / name).read_text().splitlines() if "{" in line]
        assert {key: row[key] for key in shown} == shown


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def test_the_page_runs_no_script_of_the_data(tmp_path):
    """Title, formula, reason, provider and stage may come from strangers; one script has the right hash, no other."""
    import base64
    import hashlib

    from screen_cli.report import write_report

    settings = settings_from_dict({"calculator": {"name": "emt"}, "title": HOSTILE})
    run = RunDirectory.create(tmp_path / "run", settings)
    index = run.index()
    index.add_structures([{"id": "one", "formula": HOSTILE, "provider": HOSTILE, "provider_id": HOSTILE}])
    index.update("one", "failed", stage="relax", reason=HOSTILE, scalars={"rattler_element": HOSTILE}, keys={})
    index.close()
    page = write_report(run).read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S)
    assert [attributes for attributes, _ in scripts] == [
        ' id="payload" type="text/plain"',
        ' id="details" type="text/plain"',
        "",
    ]
    allowed = re.search(r"script-src 'sha256-([^']+)'", page)[1]
    assert base64.b64encode(hashlib.sha256(scripts[2][1].encode()).digest()).decode() == allowed
    assert "default-src 'none'" in page
