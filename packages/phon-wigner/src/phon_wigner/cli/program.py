"""The commands and their options; what they do is imported when they run."""

from __future__ import annotations

import click

from phon_wigner.cli.analysis import analyze, shengbte
from phon_wigner.cli.boundary import Program, options_for_everybody
from phon_wigner.cli.compare import compare
from phon_wigner.cli.figures import glass, plot

__all__ = ["program"]


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a check failed, 2 wrong input, 70 a fault of this program, 130 interrupted.",
)
@click.version_option(package_name="phon-wigner", message="%(package)s %(version)s")
def program() -> None:
    """Wigner (particle and wave-like) thermal conductivity for phono3py 4."""


program.params.extend(options_for_everybody())


@program.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> int:
    """Prove that phono3py offers --tt wigner, or say why not."""
    from phon_wigner.phono3py_variant.doctor import print_report

    return print_report(as_json)


for command in (analyze, shengbte, compare, plot, glass):
    program.add_command(command)
