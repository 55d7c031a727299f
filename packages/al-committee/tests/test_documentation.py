"""The README and the pages of the monorepo say what the code does."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from al_committee.cli import main
from al_committee.committee.ensemble_factory import make_committee
from al_committee.config import LoopConfig, config_from_dict, make_settings, settings_reference, template
from al_committee.errors import ConfigError
from al_committee.labels.dft_formats import make_dft_format
from al_committee.selection.descriptors import DESCRIPTORS
from al_committee.selection.rules import COSTS, STRATEGIES

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
    for block in blocks(PACKAGE / "README.md", "toml"):
        config_from_dict(tomllib.loads(block))
    commands = set(re.findall(r"^al-committee (\w+)", text, flags=re.M))
    assert commands == {"template", "init", "run", "status", "resume", "redo", "export", "calibrate", "adopt"}
    for command in commands:
        assert main([command, "--help"]) == 0


def test_the_campaign_of_the_howto_is_valid():
    (campaign,) = blocks(DOCS / "howto" / "active-learning-at-scale.md", "toml")
    assert config_from_dict(tomllib.loads(campaign)).labels.batch == 48


def test_howto_label_sections_are_valid():
    sections = [tomllib.loads(text)["labels"] for text in blocks(DOCS / "howto" / "active-learning-vasp-qe.md", "toml")]
    assert {labels["kind"] for labels in sections} == {"vasp", "espresso"}
    for labels in sections:
        make_dft_format(labels["kind"], labels["options"])
        config_from_dict({"pool": {"source": "x"}, "training": {"trainer": "a:b"}, "labels": labels})


@pytest.mark.slow
def test_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *a: None)
    scope: dict = {}
    for number, block in enumerate(blocks(DOCS / "tutorials" / "active-learning.md", r"\{code-cell\} ipython3")):
        exec(compile(block, f"tutorial block {number}", "exec"), scope)


def test_the_settings_page_and_the_template_are_made_from_the_settings():
    page = DOCS / "reference" / "al-committee-settings.md"
    if not page.exists():
        pytest.skip(f"{page.name} is part of the monorepo, which is not here")
    assert page.read_text() == settings_reference()
    active = re.sub(r"^# (?=[a-z_]+ = )", "", template(), flags=re.M)
    tables = tomllib.loads(active)
    tables["pool"]["source"], tables["training"]["trainer"], tables["labels"]["factory"] = "x", "a:b", "a:b"
    assert make_settings(LoopConfig, tables, "template") == config_from_dict(
        {"pool": {"source": "x"}, "training": {"trainer": "a:b"}, "labels": {"factory": "a:b"}}
    )


def test_built_in_names_are_documented():
    for name in (*STRATEGIES, *COSTS, *DESCRIPTORS):
        assert name in settings_reference()


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
    names = re.findall(r"^   (al_committee\.[\w.]+\w)$", page.read_text(), flags=re.M)
    assert len(names) > 40
    for name in set(names):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_the_package_exports_what_the_interface_page_lists():
    page = DOCS / "reference" / "al-committee-api.md"
    if not page.exists():
        pytest.skip(f"{page.name} is part of the monorepo, which is not here")
    import al_committee

    listed = re.findall(r"^   al_committee\.(\w+)$", page.read_text(), flags=re.M)
    assert sorted(listed) == sorted(al_committee.__all__)
    for name in al_committee.__all__:
        assert getattr(al_committee, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        al_committee.nothing  # noqa: B018
