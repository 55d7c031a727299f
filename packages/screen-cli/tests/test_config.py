"""Settings: TOML in, frozen dataclasses out, clear refusals."""

from __future__ import annotations

import dataclasses
import tomllib

import pytest

from screen_cli.config import (
    RelaxSettings,
    RunSettings,
    load_settings,
    reference,
    settings_from_dict,
    template,
)
from screen_cli.errors import ConfigError
from screen_cli.settings_file import settings_to_dict


def test_the_template_uncommented_is_the_default(tmp_path):
    lines = template().splitlines()
    # a commented assignment is "# name = value"; prose never has that form at its start
    active = [
        line.removeprefix("# ") if " = " in line and line.split(" = ")[0].count(" ") == 1 else line for line in lines
    ]
    path = tmp_path / "screen.toml"
    path.write_text("\n".join(active))
    assert len(tomllib.loads(path.read_text())["relax"]) == len(dataclasses.fields(RelaxSettings))
    assert load_settings(path) == RunSettings()


def test_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "screen.toml"
    path.write_text("[relax]\nfmx = 1e-3\n")
    with pytest.raises(ConfigError, match=r"unknown key 'relax.fmx'. Did you mean 'fmax'\?"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[relax]\nfmax = 'tight'\n", "relax.fmax"),
        ("relax = 3\n", "'relax' must be a table"),
        ("[relax\n", "not valid TOML"),
        ("[conductivity]\nmethod = 'magic'\n", "conductivity.method"),
    ],
)
def test_bad_values_are_named(tmp_path, text, message):
    path = tmp_path / "screen.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(path)


def test_missing_file_tells_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="screen-cli init"):
        load_settings(tmp_path / "none.toml")


def test_overrides_and_empty_means_none(tmp_path):
    path = tmp_path / "screen.toml"
    path.write_text('[conductivity]\nboundary_mfp = ""\n')
    settings = load_settings(path, ["relax.fmax=1e-3", "calculator.name=emt", "harmonic.mesh=[3, 3, 3]"])
    assert settings.relax.fmax == 1e-3
    assert settings.calculator.name == "emt"
    assert settings.harmonic.mesh == [3, 3, 3]
    assert settings.conductivity.boundary_mfp is None
    with pytest.raises(ConfigError, match="no '='"):
        load_settings(path, ["relax.fmax"])


def test_settings_survive_json():
    settings = settings_from_dict({"calculator": {"name": "lj", "options": {"sigma": 3.4}}})
    assert settings_from_dict(settings_to_dict(settings)) == settings


def test_reference_lists_every_key():
    page = reference()
    for table, leaves in settings_to_dict(RunSettings()).items():
        if isinstance(leaves, dict):
            assert f"## [{table}]" in page
            for key in leaves:
                assert f"| `{key}` |" in page
