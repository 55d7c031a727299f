"""The sub-command ``compare``."""

from __future__ import annotations

import sys

import click

from phon_wigner.cli.options import Command, Number

__all__ = ["compare"]


@click.command(cls=Command)
@click.argument("result")
@click.argument("reference")
@click.option("--mp-id", help="Row of the reference table.")
@click.option(
    "-t",
    "--ts",
    "temperature",
    type=Number(at_least=0),
    default=300.0,
    show_default=True,
    metavar="T",
    help="Temperature, K.",
)
def compare(*, result: str, reference: str, mp_id: str | None, temperature: float) -> int:
    """Print SRD, SRE and SRME of RESULT against REFERENCE, as JSON.

    RESULT is a file of `analyze --hdf5`, REFERENCE another such file, or kappas_*.json.gz with --mp-id.
    """  # fmt: skip
    import dataclasses
    import json

    from phon_wigner.conductivity.metrics import ModeConductivity, read_reference
    from phon_wigner.conductivity.metrics import compare as compare_modes
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.errors import InputFileError

    ours = ModeConductivity.from_result(WignerResult.from_hdf5(result), temperature, result)
    if reference.endswith((".json", ".json.gz")):
        rows = read_reference(reference)
        if mp_id not in rows:
            raise InputFileError(f"--mp-id {mp_id} is not in {reference}; it holds {', '.join(sorted(rows)[:12])}, ...")
        theirs = ModeConductivity.from_reference_row(rows[mp_id], temperature)
    else:
        theirs = ModeConductivity.from_result(WignerResult.from_hdf5(reference), temperature, reference)
    sys.stdout.write(json.dumps(dataclasses.asdict(compare_modes(ours, theirs)), indent=1) + "\n")
    return 0
