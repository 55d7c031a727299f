"""The commands and their options; what they do is imported when they run."""

from __future__ import annotations

from pathlib import Path

import click

from sdnnff_calc.cli.boundary import Program, options_for_everybody

__all__ = ["program"]

_path = click.Path(path_type=Path)
_device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1 ... or auto.")
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
_training = (
    click.argument("config", type=_path),
    click.option("--workdir", type=_path, help="Overrides [training] workdir."),
    click.option("--seed", type=int, help="Overrides [training] seed."),
    click.option("--device", help="Overrides [training] device."),
)


def _do(job: str, *arguments: object, **options: object) -> None:
    """Import and run one job."""
    from sdnnff_calc.cli import jobs

    getattr(jobs, job)(*arguments, **options)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="MODEL is a checkpoint, a training folder, or 'default' for the bundled weights. "
    "Exit codes: 0 done, 2 wrong input, 70 a fault of this program, 130 interrupted.",
)
@click.version_option(package_name="sdnnff-calc", message="%(package)s %(version)s")
def program() -> None:
    """Train and use spatial-density neural-network force fields."""


program.params.extend(options_for_everybody())


@program.command()
@click.option("--members", type=int, help="Overrides [training] n_members.")
def train(config: Path, *, members: int | None, workdir: Path | None, seed: int | None, device: str | None) -> None:
    """Train a model or a committee as CONFIG says: tables [model], [data], [training].

    Example: sdnnff train config.toml --members 5
    """
    _do("train", "train", config, workdir=workdir, seed=seed, n_members=members, device=device)


@program.command()
def finetune(config: Path, *, workdir: Path | None, seed: int | None, device: str | None) -> None:
    """Adapt a model to new data as CONFIG says: tables [finetune], [data], [training]."""
    _do("train", "finetune", config, workdir=workdir, seed=seed, device=device)


for _decorate in _training:
    _decorate(train)
    _decorate(finetune)


@program.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@_json
@click.option(
    "--parity",
    type=_path,
    help="Write a parity plot: .png, .svg or .pdf, without an ending all three; the data beside it.",
)
@_device
@click.option("--memory-gb", type=float, default=1.0, show_default=True, help="Limit for one batch.")
def evaluate(
    model: str, data: tuple[str, ...], *, as_json: bool, parity: Path | None, device: str, memory_gb: float
) -> None:
    """Print the force errors of MODEL against the labelled structures DATA.

    Example: sdnnff evaluate run/model.pt test.extxyz --parity parity.png
    """
    _do("evaluate", model, data, as_json=as_json, parity=parity, device=device, memory_gb=memory_gb)


@program.command()
@click.argument("model", default="default")
@_json
def info(model: str, *, as_json: bool) -> None:
    """Print what MODEL holds (the bundled weights when left out)."""
    _do("info", model, as_json=as_json)


@program.command()
@click.argument("model")
@click.argument("structures", nargs=-1, required=True)
@click.option("-o", "--output", type=_path, help=".npy file; CSV on stdout when left out.")
@_device
def embed(model: str, structures: tuple[str, ...], *, output: Path | None, device: str) -> None:
    """Print one descriptor vector per structure, of any files ASE reads."""
    _do("embed", model, structures, output=output, device=device)
