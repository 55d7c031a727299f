"""What this package offers to screen-cli. Runs at every start of the host, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin, CommandPlugin, PropertyPlugin


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    yield CalculatorPlugin(
        name="morse",
        summary="Morse pair potential of fcc metals (Girifalco and Weizer 1959)",
        factory="screen_morse.potential:make_morse",
        licence="BSD-3-Clause",
        citation="Girifalco, Weizer, Phys. Rev. 114, 687 (1959), doi:10.1103/PhysRev.114.687",
    )


@hookimpl
def screen_properties() -> Iterator[PropertyPlugin]:
    yield PropertyPlugin(
        name="bandwidth",
        summary="Width of the phonon spectrum",
        needs=("harmonic",),
        columns=(("bandwidth_thz", "highest minus lowest frequency on the mesh, THz"),),
        factory="screen_morse.bandwidth:bandwidth",
    )


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    yield CommandPlugin(name="morse-table", summary="Print the Morse parameters", factory="screen_morse.command:main")
