"""Born charges given by a folder reach the harmonic stage, with a real force field."""

from __future__ import annotations

import json

from screen_cli.cli import main

# high-frequency dielectric constant and Born charge of NaCl, as in phonopy's NaCl example (PBE)
BORN = "14.400\n2.435 0 0 0 2.435 0 0 0 2.435\n1.087 0 0 0 1.087 0 0 0 1.087\n-1.087 0 0 0 -1.087 0 0 0 -1.087\n"
CONFIG = """
[source]
name = "prototypes"
options = { entries = [{ prototype = "rocksalt", elements = ["Na", "Cl"], a = 5.69 }] }
[calculator]
name = "sevennet"
options = { device = "cpu" }
[relax]
enabled = false
[displace]
dim = [2, 2, 2]
min_pairs = 1
[force_constants]
third_order = false
[harmonic]
mesh = [6, 6, 6]
phase_space = false
[nac]
born = "%s"
[engine]
name = "serial"
"""


def test_longitudinal_modes_rise_with_born_charges(tmp_path, capsys):
    (tmp_path / "NaCl.BORN").write_text(BORN)
    config = tmp_path / "nacl.toml"
    highest = {}
    for folder in ("", str(tmp_path)):
        config.write_text(CONFIG % folder)
        assert main(["run", str(config), "--quiet", "--no-report", "--accept-changes"]) == 0
        capsys.readouterr()
        assert main(["show", str(tmp_path / "nacl"), "--format", "json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["state"] == "done", row["reason"]
        highest[bool(folder)] = row["max_frequency_thz"]
    # the LO branch of NaCl ends near 7.9 THz in experiment (264 cm-1); without charges it ends near 6
    assert highest[True] > highest[False] + 0.5
    assert 6.5 < highest[True] < 8.5
    assert len(list(tmp_path.rglob("forces-*.json"))) == 1, "forces do not depend on Born charges"
