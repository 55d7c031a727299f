"""``screen-cli al``: a loop's configuration names trainers, calculators and crystals that screen-cli knows."""

from __future__ import annotations

import json

import pytest

from screen_cli.cli import main

CONFIG = """
[pool]
source = "prototypes"
options = {{ prototypes = ["rocksalt", "cscl"], elements = ["Cu", "Ag", "Au", "Ni"], rule = "none", limit = 8 }}
test_structures = 1
start_labels = 2
[supercells]
n_atoms = 4
n_supercells = 1
[labels]
kind = "workers"
factory = "{factory}"
batch = 2
cache = "labels"
[training]
trainer = "{trainer}"
n_members = 2
[stop]
max_rounds = 0
"""


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *a: None)

    def run(*arguments, factory="ase:ase.calculators.emt.EMT", trainer="al_committee.testing:PairPotentialTrainer"):
        (tmp_path / "loop.toml").write_text(CONFIG.format(factory=factory, trainer=trainer))
        code = main(["al", *arguments])
        return code, *capsys.readouterr()

    return run


def test_crystals_and_labels_by_registered_name(say, tmp_path):
    code, out, err = say("run", "run", "--config", "loop.toml")
    assert code == 0, err
    assert "finished after round 0" in out
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["label_settings"]["options"]["name"] == "ase:ase.calculators.emt.EMT"
    from al_committee import RunDirectory

    groups = RunDirectory(tmp_path / "run").rounds.evaluation(0).test.groups
    assert {"group rocksalt", "group cscl"} & set(groups)


def test_a_registered_trainer_is_handed_over_as_an_object(say):
    code, out, _ = say("init", "loop.toml", "run", trainer="sdnnff")
    assert code == 0
    assert "8 crystals" in out


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer": "sdnff"}, "Did you mean 'sdnnff'"),
        ({"factory": "sevenet"}, "Did you mean 'sevennet'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(say, changes, sentence):
    code, _, err = say("init", "loop.toml", "run", **changes)
    assert code == 2
    assert sentence in err
