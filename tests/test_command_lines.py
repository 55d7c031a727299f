"""Every command of the four programs: its help teaches, a slip is met by the nearest name, lists come as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

import click
import pytest

from al_committee.cli import main as al_committee
from al_committee.cli.program import program as al_committee_commands
from phon_wigner.cli import main as phon_wigner
from phon_wigner.cli.program import program as phon_wigner_commands
from screen_cli.cli import main as screen_cli
from screen_cli.plugins.builtin.commands import screen_commands
from sdnnff_calc.cli import main as sdnnff
from sdnnff_calc.cli.program import program as sdnnff_commands

SCREEN_COMMANDS = click.Group(
    "screen-cli",
    {record.name: import_module(record.factory.partition(":")[0]).command for record in screen_commands()},
)
PROGRAMS: dict[str, tuple[Callable[[list[str]], int], click.Group]] = {
    "screen-cli": (screen_cli, SCREEN_COMMANDS),
    "phon-wigner": (phon_wigner, phon_wigner_commands),
    "sdnnff": (sdnnff, sdnnff_commands),
    "al-committee": (al_committee, al_committee_commands),
}
DISTRIBUTIONS = {"sdnnff": "sdnnff-calc"}


@dataclass(frozen=True)
class Case:
    """One command, or group of commands, of one program."""

    program: str
    path: tuple[str, ...]
    command: click.Command

    def __str__(self) -> str:
        return " ".join([self.program, *self.path])

    def call(self, *arguments: str) -> int:
        """Run it in this process."""
        return PROGRAMS[self.program][0]([*self.path, *arguments])

    @property
    def options(self) -> list[click.Option]:
        """Its own options that help shows."""
        return [option for option in self.command.params if isinstance(option, click.Option) and not option.hidden]


def cases() -> Iterator[Case]:
    """Walk the trees of commands."""
    todo = [Case(name, (), group) for name, (_, group) in PROGRAMS.items()]
    while todo:
        case = todo.pop(0)
        yield case
        if isinstance(case.command, click.Group):
            todo += [Case(case.program, (*case.path, name), found) for name, found in case.command.commands.items()]


CASES = list(cases())
GROUPS = [case for case in CASES if isinstance(case.command, click.Group)]
WITH_OPTIONS = [case for case in CASES if case.path and any(len(option.opts[-1]) > 6 for option in case.options)]
LISTS = (
    *("screen-cli status", "screen-cli show", "screen-cli gate", "screen-cli compare", "screen-cli hull"),
    *(
        "screen-cli structures prototypes",
        "screen-cli structures preview",
        "screen-cli plugins",
        "screen-cli plugins check",
    ),
    *("screen-cli kinds", "screen-cli env list", "screen-cli env check", "screen-cli bench compare"),
    *("screen-cli bench league", "screen-cli verify", "phon-wigner doctor", "phon-wigner analyze"),
    *("phon-wigner shengbte", "sdnnff evaluate", "sdnnff info", "al-committee status"),
)


def test_the_trees_are_found():
    assert len(CASES) > 45
    assert {case.program for case in GROUPS} == set(PROGRAMS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_help_teaches(case, capsys):
    assert case.call("-h") == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: ")
    told = re.sub(r"\s+", " ", case.command.help or "") if case.path else text
    assert re.search(r"[A-Z].{15,}\.(\s|$)", told) or "Example: " in told, "a sentence, or an example"
    for option in case.options:
        assert option.help, f"{option.opts[-1]} has no help"
        assert option.opts[-1] in text, f"{option.opts[-1]} is not in the help"


@pytest.mark.parametrize("case", GROUPS, ids=str)
def test_a_misspelt_command_is_met_by_the_nearest(case, capsys):
    names = case.command.commands
    for name in names:
        wrong = name[:-1] + ("q" if name[-1] != "q" else "z")
        if wrong in names:
            continue
        assert case.call(wrong) == 2
        assert name in capsys.readouterr().err.partition(wrong)[2], f"{wrong} is not met by {name}"


@pytest.mark.parametrize("case", WITH_OPTIONS, ids=str)
def test_a_misspelt_option_is_met_by_the_nearest(case, capsys):
    option = max((option.opts[-1] for option in case.options), key=len)
    wrong = option[:-2] + option[-1] + option[-2] + "q"
    assert case.call(wrong) == 2
    assert option in capsys.readouterr().err.partition(wrong)[2]


@pytest.mark.parametrize("program", PROGRAMS)
def test_version(program, capsys):
    assert PROGRAMS[program][0](["--version"]) == 0
    assert version(DISTRIBUTIONS.get(program, program)) in capsys.readouterr().out


@pytest.mark.parametrize("name", LISTS)
def test_what_lists_something_has_json(name):
    (case,) = [case for case in CASES if str(case) == name]
    assert any("--json" in option.opts for option in case.options)


@pytest.mark.parametrize("words", ["plugins", "kinds", "env list", "structures prototypes"])
def test_lists_without_a_run_print_json(words, capsys):
    assert screen_cli([*words.split(), "--json"]) == 0
    json.loads(capsys.readouterr().out)
