"""The commands, their arguments and options; what they do is imported when they run."""

from __future__ import annotations

from pathlib import Path

import click

from al_committee.cli.session import Program, Session, in_session

__all__ = ["STEP_NAMES", "program"]

STEP_NAMES = {"select": "selection", "label": "labels", "train": "models", "evaluate": "evaluation"}

_path = click.Path(path_type=Path)
_walltime = click.option("--walltime", metavar="TIME", help="Drain and stop after 90s, 15m, 1.5h, 1:30:00 ...")


def _do(session: Session, job: str, **arguments: object) -> int:
    """Import and run one job."""
    from al_committee.cli import commands

    session.log_to_terminal()
    return int(getattr(commands, job)(session, **arguments))


@in_session
@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 stopped by a failure, 2 wrong input, 3 stopped with work left, 70 a fault of this "
    "program, 130 interrupted.",
)
@click.version_option(package_name="al-committee", message="%(package)s %(version)s")
def program() -> None:
    """Active learning with a committee of force fields, any source of labels, any crash."""


@program.command()
@click.pass_obj
def template(session: Session) -> int:
    """Print a commented configuration with every key."""
    return _do(session, "show_template")


@program.command()
@click.argument("config", type=_path)
@click.argument("run", type=_path)
@click.pass_obj
def init(session: Session, config: Path, run: Path) -> int:
    """Make the run directory RUN from CONFIG and read its pool."""
    return _do(session, "init", config=config, folder=run)


@program.command()
@click.argument("run", type=_path)
@click.option("--config", type=_path, help="Configuration, when the run directory is new.")
@_walltime
@click.pass_obj
def run(session: Session, run: Path, config: Path | None, walltime: str | None) -> int:
    """Run the loop in RUN; with --config, make it first.

    Example: al-committee run run/ --config loop.toml --walltime 11:30:00
    """
    return _do(session, "run_loop", folder=run, config=config, walltime=walltime)


@program.command()
@click.argument("run", type=_path)
@_walltime
@click.option("--accept-changes", is_flag=True, help="Take over changed limits and budgets from config.toml.")
@click.pass_obj
def resume(session: Session, run: Path, walltime: str | None, accept_changes: bool) -> int:
    """Go on where the loop in RUN stopped."""
    return _do(session, "run_loop", folder=run, walltime=walltime, accept_changes=accept_changes)


@program.command()
@click.argument("run", type=_path)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_obj
def status(session: Session, run: Path, as_json: bool) -> int:
    """Show rounds, labels, failures, errors and the histogram of ε."""
    return _do(session, "status", folder=run, as_json=as_json)


@program.command()
@click.argument("run", type=_path)
@click.option("--round", "number", type=int, help="Round to set back; later rounds go aside with it.")
@click.option(
    "--step",
    type=click.Choice(sorted(STEP_NAMES)),
    default="select",
    show_default=True,
    help="First step of the round to do again.",
)
@click.option("--failed", is_flag=True, help="Give quarantined labels another try.")
@click.pass_obj
def redo(session: Session, run: Path, number: int | None, step: str, failed: bool) -> int:
    """Move a round's results from a step on aside, or forget failures."""
    return _do(session, "redo", folder=run, number=number, step=STEP_NAMES[step], failed=failed)


@program.command()
@click.argument("run", type=_path)
@click.argument("output", type=_path)
@click.option("--round", "number", type=int, help="Labels up to this round (default: all).")
@click.option(
    "--what",
    type=click.Choice(["labels", "test", "selected"]),
    default="labels",
    show_default=True,
    help="Labels of the rounds, those of the test set, or structures that the round selected.",
)
@click.pass_obj
def export(session: Session, run: Path, output: Path, number: int | None, what: str) -> int:
    """Write labelled structures to OUTPUT: .extxyz, .db, .json or what else ASE writes."""
    return _do(session, "export", folder=run, output=output, number=number, what=what)


@program.command()
@click.argument("run", type=_path)
@click.option("--round", "number", type=int, help="Committee of this round (default: the last trained).")
@click.option("--data", type=_path, help="Labelled structures (default: the test set).")
@click.pass_obj
def calibrate(session: Session, run: Path, number: int | None, data: Path | None) -> int:
    """Print ε against true error as JSON: area and scale factor."""
    return _do(session, "calibrate", folder=run, number=number, data=data)


@program.command()
@click.argument("run", type=_path)
@click.pass_obj
def adopt(session: Session, run: Path) -> int:
    """Take over labels from before constraints were kept out, if no structure was constrained."""
    return _do(session, "adopt", folder=run)
