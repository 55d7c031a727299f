"""Built-in engines."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import EnginePlugin


@hookimpl
def screen_engines() -> Iterator[EnginePlugin]:
    """Register the serial, the local and the Parsl engine."""
    yield EnginePlugin(
        name="serial",
        summary="One after another in this process",
        factory="screen_cli.engines.serial:SerialEngine",
    )
    yield EnginePlugin(
        name="local",
        summary="Worker processes on this machine, with a time limit per crystal",
        factory="screen_cli.engines.local:LocalEngine",
    )
    yield EnginePlugin(
        name="parsl",
        summary="Compute nodes through Slurm, PBS or any batch system Parsl knows",
        factory="screen_cli.engines.parsl.engine:ParslEngine",
        pip="screen-cli[parsl]",
    )
