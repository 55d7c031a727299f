"""The command line as a person types it: help, misspellings, times, the first try, a plugin from nothing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import click
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.cli import main
from screen_cli.cli.options import Duration
from screen_cli.cli.run_directory.init import toml_text
from screen_cli.config import load_settings, template
from screen_cli.errors import PluginError
from screen_cli.plugins.builtin.commands import screen_commands
from screen_cli.plugins.new_package import write_package

COMMANDS = sorted(record.name for record in screen_commands())


@pytest.fixture
def crystals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good crystal and a bad file, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crystals").mkdir()
    bulk("Al", a=4.05).write(tmp_path / "crystals" / "Al.cif")
    (tmp_path / "crystals" / "bad.cif").write_text("nonsense")
    return tmp_path / "crystals"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, flag]) == 0
    said = capsys.readouterr().out
    assert f"Usage: screen-cli {command}" in said
    assert "--debug" in said
    assert "-h, --help" in said


@pytest.mark.parametrize(
    ("line", "nearest"), [(["kindss"], "kinds"), (["run", "x.toml", "--walltim", "5m"], "--walltime")]
)
def test_what_is_misspelt_is_asked_back(line: list[str], nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    assert f"Did you mean '{nearest}'?" in capsys.readouterr().err


def test_debug_stands_before_or_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--debug", "status", "nowhere"], ["status", "nowhere", "--debug"]):
        assert main(line) == 2
        assert "Traceback" in capsys.readouterr().err


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_means_the_same_however_it_is_written(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = 86400 * days + 3600 * hours + 60 * minutes + seconds
    read = Duration()
    written = [f"{total}", f"{total}s", f"{days}-{hours}:{minutes:02d}:{seconds:02d}"]
    written += [f"{24 * days + hours}:{minutes:02d}:{seconds:02d}"]
    assert [read.convert(text, None, None) for text in written] == [total] * len(written)
    assert read.convert(f"{total / 60!r}m", None, None) == pytest.approx(total)


@pytest.mark.parametrize("text", ["soon", "", "-5", "1:2:3", "1e400", "nan", "5 m", "1:00:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


def test_init_writes_a_configuration_that_runs(crystals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--crystals", "crystals", "-c", "emt", "my.toml"]) == 0
    assert "1 crystals" in (said := capsys.readouterr().err)
    assert "bad.cif" in said
    settings = load_settings(Path("my.toml"))
    assert settings.calculator.name == "emt"
    assert settings.source.options == {"paths": [str(crystals)]}
    small = ["-s", "displace.dim=[2,2,2]", "-s", "conductivity.enabled=false", "-s", "harmonic.phase_space=false"]
    assert main(["run", "my.toml", "-q", "--no-report", "-s", "engine.name=serial", *small]) == 0
    capsys.readouterr()
    assert main(["show", "my", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["state"] for row in rows) == ["done", "failed"]
    assert main(["show", "my", "-f", "n_atoms > 99"]) == 0
    assert "no crystal of my is n_atoms > 99" in capsys.readouterr().err


@given(name=st.text(min_size=1, max_size=30))
def test_a_path_of_any_name_is_toml(name: str) -> None:
    text = template({"source": {"options": f"{{ paths = [{toml_text(name)}] }}"}})
    assert tomllib.loads(text)["source"]["options"]["paths"] == [name]


@pytest.mark.parametrize(
    "line",
    [
        ["init", "--crystals", "nowhere", "x.toml"],
        ["init", "--crystals", "crystals/bad.cif", "x.toml"],
        ["init", "--crystals", "crystals", "-c", "emtt", "x.toml"],
        ["run", "typo.toml"],
        ["one", "crystals/Al.cif", "-c", "emtt"],
        ["expansion", "crystals/none.cif", "-c", "emt"],
    ],
    ids=" ".join,
)
def test_a_refused_first_try_leaves_nothing_behind(crystals: Path, line: list[str]) -> None:
    Path("typo.toml").write_text('[source]\noptions = { paths = ["crystal/"] }\n[calculator]\nname = "emt"\n')
    before = sorted(path.name for path in crystals.parent.iterdir())
    assert main(line) == 2
    assert sorted(path.name for path in crystals.parent.iterdir()) == before


def test_a_plugin_from_nothing_has_its_parts(tmp_path: Path) -> None:
    """That it installs, and passes the contracts, is tested with the wheels."""
    folder = write_package("screen-my-model", tmp_path)
    point = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["screen_cli"]
    assert point == {"screen-my-model": "screen_my_model._screen"}
    for path in folder.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
        assert "$" not in path.read_text()
    for name, reason in (("screen-emt", "registered already"), ("screen-my-model", "exists"), ("Model!", "no name")):
        with pytest.raises(PluginError, match=reason):
            write_package(name, tmp_path)
