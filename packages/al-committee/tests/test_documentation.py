"""The README and the pages of the monorepo say what the code does."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from al_committee import config as config_module
from al_committee.cli import build_parser
from al_committee.committee.ensemble_factory import make_committee
from al_committee.config import LoopConfig, config_from_dict
from al_committee.errors import ConfigError
from al_committee.labels.dft_formats import make_dft_format
from al_committee.selection.pool import SupercellSettings
from al_committee.selection.selection import COSTS, STRATEGIES, SelectionSettings

PACKAGE = Path(__file__).parents[1]
DOCS = PACKAGE.parents[1] / "docs"


def blocks(path, language):
    if not path.exists():
        pytest.skip(f"{path.name} is part of the monorepo, which is not here")
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.M | re.S)


def test_readme_calculator_runs():
    first = blocks(PACKAGE / "README.md", "python")[0]
    scope: dict = {}
    exec(compile(first, "README.md", "exec"), scope)
    assert scope["atoms"].calc.results["force_deviation"].shape == (4,)


def test_readme_configuration_is_valid_and_its_commands_exist():
    text = (PACKAGE / "README.md").read_text()
    config_from_dict(tomllib.loads(blocks(PACKAGE / "README.md", "toml")[0]))
    commands = set(re.findall(r"^al-committee (\w+)", text, flags=re.M))
    assert commands == {"init", "run", "status", "resume", "redo", "export", "calibrate"}
    for command in commands:
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])


def test_howto_label_sections_are_valid():
    for text in blocks(DOCS / "howto" / "active-learning-vasp-qe.md", "toml"):
        labels = tomllib.loads(text)["labels"]
        make_dft_format(labels["kind"], labels["options"])
        config_from_dict({"pool": {"source": "x"}, "training": {"trainer": "a:b"}, "labels": labels})


def test_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *a: None)
    scope: dict = {}
    for number, block in enumerate(blocks(DOCS / "tutorials" / "active-learning.md", "python")):
        exec(compile(block, f"tutorial block {number}", "exec"), scope)


def test_every_setting_is_documented():
    classes = [c for c in vars(config_module).values() if dataclasses.is_dataclass(c)]
    assert {LoopConfig, SelectionSettings, SupercellSettings} <= set(classes)
    for kind in classes:
        for field in dataclasses.fields(kind):
            assert re.search(rf"^    [\w, ]*\b{field.name}\b[\w, ]*\n        ", kind.__doc__, flags=re.M), (
                f"{kind.__name__}.{field.name} is not documented"
            )


def test_built_in_names_are_documented():
    for name in (*STRATEGIES.names(), *COSTS.names()):
        assert f"``{name}``" in SelectionSettings.__doc__


def test_committee_factory():
    both = make_committee(["ase.calculators.emt:EMT", "ase.calculators.emt:EMT"])
    assert both.has_energy
    models = make_committee(models=[0.3, 0.4], factory="ase.calculators.lj:LennardJones", argument="epsilon")
    assert [source.calculator.parameters["epsilon"] for source in models.sources] == [0.3, 0.4]
    with pytest.raises(ConfigError, match="either"):
        make_committee()
    with pytest.raises(ConfigError, match="factory"):
        make_committee(models=["a"])


def test_interface_page_names_what_exists():
    page = DOCS / "reference" / "al-committee-api.md"
    if not page.exists():
        pytest.skip(f"{page.name} is part of the monorepo, which is not here")
    names = re.findall(r"`(al_committee\.[\w.]+\w)`", page.read_text())
    entry_points = {f"al_committee.{kind}" for kind in ("strategies", "costs", "descriptors")}
    assert len(names) > 40
    for name in set(names) - entry_points:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
