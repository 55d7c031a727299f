"""``screen-cli gate``: what the gate costs and misses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="gate")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--target", default="", help="What the gate is meant to find (default: gate.audit_target).")
@click.option("--try", "expression", default="", metavar="EXPRESSION", help="Another gate, tried on the results.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def command(run_dir: Path, target: str, expression: str, as_json: bool) -> None:
    """Recall and precision of the gate of RUN_DIR, from the crystals of gate.audit_share; or of another gate.

    Example: screen-cli gate screen --try "max_msd >= 0.05" --target "kappa_total_w_mk < 2"
    """
    import contextlib

    from screen_cli.analysis.gate_audit import audit_gate
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    gate = run.settings.gate
    with contextlib.closing(run.index(read_only=True)) as index:
        costs = {stage: seconds / n for stage, n, seconds, _ in index.stage_costs() if n}
        result = audit_gate(
            index.rows(),
            target or gate.audit_target,
            expression=expression,
            seconds_per_crystal=costs.get("conductivity"),
        )
    if as_json:
        click.echo(json.dumps({"gate": expression or gate.expression, **asdict(result)}, indent=1))
        return
    click.echo(f"gate: {expression or gate.expression or 'none'}; target: {result.target}")
    click.echo(f"{result.n_passed} past the gate, {result.n_passed_hits} of them meet the target")
    known = f"{result.n_audited} computed all the same, {result.n_audited_hits} of them meet the target"
    click.echo(f"{result.n_held_back} held back; {known}")
    click.echo(f"precision {result.precision}")
    click.echo(f"recall    {result.recall}" + ("" if result.missed is None else f"; about {result.missed:.1f} missed"))
    if result.n_held_back and not result.n_audited:
        click.echo("recall needs crystals past the gate: set gate.audit_share, e.g. 0.05", err=True)
    if result.n_unknown:
        click.echo(f"{result.n_unknown} let past have no result (failed or pending) and do not count")
    if result.seconds_saved is not None:
        spent = "" if result.seconds_spent is None else f"; the audit cost {result.seconds_spent / 3600:.2f} h"
        click.echo(f"saved {result.seconds_saved / 3600:.2f} h of conductivity{spent}")


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
