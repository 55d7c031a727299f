"""What is installed is what is offered, and every offer loads."""

from __future__ import annotations

import json

import pytest

from screen_cli.cli import main
from screen_cli.plugins.check import check_phono3py


def test_phono3py_offers_the_variant():
    assert {row.name: row.state for row in check_phono3py(120.0)}["phon_wigner"] == "ok"


@pytest.mark.slow
def test_every_installed_plugin_loads_and_phono3py_offers_the_variant(capsys):
    assert main(["plugins", "check", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    states = {(row["kind"], row["name"]): row for row in rows}
    assert {row["state"] for row in rows} <= {"ok", "absent"}
    assert states["phono3py variant", "phon_wigner"]["state"] == "ok"
    assert states["calculators", "sdnnff"]["state"] == "ok"
    for row in rows:
        if row["state"] == "absent":
            fixes = (f"pip install 'screen-cli[{row['name']}]'", f"screen-cli env create {row['name']}")
            assert any(fix in row["remark"] for fix in fixes)


def test_the_table_shows_pip_lines_and_brackets(capsys):
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    for name in ("sevennet", "wigner", "symfc", "al-committee", "phon-wigner"):
        assert name in out
