"""``screen-cli run``: start or resume a screening run."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import Duration, GivenPath

if TYPE_CHECKING:
    from screen_cli.run.driver import ExecuteOptions, RunSummary
    from screen_cli.store.run_directory import RunDirectory

_ROWS_SHOWN = 200


@click.command(name="run")
@click.argument("config", type=GivenPath(path_type=Path))
@click.option("--run-dir", "-d", type=GivenPath(path_type=Path), help="Run directory (default: CONFIG without .toml).")
@click.option("--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, e.g. relax.fmax=1e-3.")
@click.option("--workers", "-w", type=int, help="Worker processes (0: one per core).")
@click.option("--walltime", type=Duration(), metavar="TIME", help="Start no further crystal after 90s, 15m, 1:30:00.")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--reread", is_flag=True, help="Read the source again, for crystals added since.")
@click.option("--deep", is_flag=True, help="Read all that is finished, not only its size; what is damaged runs again.")
@click.option("--accept-changes", is_flag=True, help="Go on in a directory made with other settings.")
@click.option("--shard", metavar="K/N", help="Take only the K-th of N parts of the crystals (join them with merge).")
@click.option("--report/--no-report", default=True, help="Write report.html and results.csv at the end.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    *,
    config: Path,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    walltime: float | None,
    retry_failed: bool,
    reread: bool,
    deep: bool,
    accept_changes: bool,
    shard: str | None,
    report: bool,
    quiet: bool,
) -> int:
    """Screen the crystals of CONFIG (TOML), or go on where an earlier call stopped.

    Prints the results table and the paths of the run directory and the report. Ctrl-C drains: crystals in
    work finish, the rest stays pending; a second Ctrl-C stops at once. Nothing finished is ever repeated.

    Example: screen-cli run screen.toml --workers 4 --walltime 50m
    """
    from screen_cli.config import load_settings
    from screen_cli.report.tables.columns import temperatures_of
    from screen_cli.report.tables.terminal import print_table
    from screen_cli.run.driver import ExecuteOptions, resolve
    from screen_cli.store.run_directory import RunDirectory

    if workers is not None:
        overrides = (*overrides, f"engine.workers={workers}")
    settings = resolve(load_settings(config, overrides))
    part = _read_shard(shard)
    default = config.with_suffix("")
    directory = run_dir or (default if part is None else Path(f"{default}-{part[0]}of{part[1]}"))
    options = ExecuteOptions(retry_failed=retry_failed, reread=reread, deep=deep, time_limit=walltime)
    with leaving_nothing_behind(directory):
        run = RunDirectory.create(directory, settings, accept_changes=accept_changes, shard=part)
        summary = execute_watched(run, options, quiet=quiet)
    print_table(run.rows("state != 'filtered'", limit=_ROWS_SHOWN), temperatures=temperatures_of(run))
    click.echo(f"run directory: {run.root}", err=True)
    if report:
        from screen_cli.report import write_report
        from screen_cli.report.tables.exporters import write_csv
        from screen_cli.store.atomic_write import whole_file

        with whole_file(run.root / "results.csv") as path:
            write_csv(run.stream(), path, run=run)
        click.echo(f"table:         {run.root / 'results.csv'}", err=True)
        click.echo(f"report:        {write_report(run)}", err=True)
    parts = ", ".join(f"{count} {state}" for state, count in sorted(summary.counts.items()))
    click.echo(f"{parts}; {summary.n_processed} worked on now, in {summary.seconds:.1f} s", err=True)
    if sum(summary.counts.values()) - summary.counts.get("filtered", 0) > _ROWS_SHOWN:
        click.echo(f"the table above holds {_ROWS_SHOWN} crystals; all: screen-cli show {run.root}", err=True)
    if summary.drained:
        click.echo("stopped before the end: run the same command to go on", err=True)
        return 3
    return 0


def _read_shard(text: str | None) -> tuple[int, int] | None:
    """Read ``K/N``."""
    from screen_cli.errors import ConfigError

    if text is None:
        return None
    number, slash, n_shards = text.partition("/")
    plain = slash and all(part.isascii() and part.isdigit() and len(part) < 10 for part in (number, n_shards))
    if not plain or not 1 <= int(number) <= int(n_shards):
        raise ConfigError(f"--shard is '{text}', expected K/N with K from 1 to N, e.g. 2/8.")
    return int(number), int(n_shards)


def execute_watched(run: RunDirectory, options: ExecuteOptions, *, quiet: bool) -> RunSummary:
    """Bring every crystal to its end, with progress unless quiet; Ctrl-C and SIGTERM drain."""
    from screen_cli.run.driver import execute
    from screen_cli.run.progress import SilentObserver, progress_observer

    with drain_on_interrupt() as stop_requested:
        watching = None if quiet else progress_observer(run)
        try:
            return execute(run, options, observer=watching or SilentObserver(), stop_requested=stop_requested)
        finally:
            if watching is not None:
                watching.close()


@contextmanager
def leaving_nothing_behind(directory: Path) -> Iterator[None]:
    """Take back a run directory that was made for a first try which was refused before it gave any result."""
    from screen_cli.errors import RunLockedError, ScreenError

    existed = os.path.exists(directory)  # false for a name that no file can have
    try:
        yield
    except RunLockedError:
        raise
    except (ScreenError, SystemExit):
        if not existed and os.path.isdir(directory) and not _holds_results(directory):
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _holds_results(directory: Path) -> bool:
    """Whether a run directory holds more than crystals that were read."""
    files = itertools.chain((directory / "records").rglob("*"), (directory / "failed").rglob("*"))
    return any(path.is_file() and path.name != "structure.json" for path in files)


@contextmanager
def drain_on_interrupt() -> Iterator[threading.Event]:
    """First Ctrl-C or SIGTERM: drain. Second: KeyboardInterrupt."""
    stop_requested = threading.Event()

    def drain(number: int, frame: FrameType | None) -> None:
        if stop_requested.is_set():
            raise KeyboardInterrupt
        stop_requested.set()
        with suppress(OSError, ValueError):  # nobody may read that any more
            print("finishing the crystals in work; once more to stop at once", file=sys.stderr)

    before: dict[int, Callable[..., Any] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop_requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
