"""Options that several sub-commands share, and the numbers that they accept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phon_wigner.errors import OptionError

if TYPE_CHECKING:
    from phon_wigner.phonons.harmonic import HarmonicCrystal

_Function = TypeVar("_Function", bound=Callable[..., Any])

PROGRAMS = {
    name: "--dftb+" if name == "dftbp" else f"--{name}"
    for name in (
        *("abacus", "abinit", "aims", "castep", "cp2k", "crystal", "dftbp", "elk", "exciting", "fleur", "lammps"),
        *("octopus", "pwmat", "qe", "qlm", "siesta", "turbomole", "vasp", "wien2k"),
    )
}
"""phonopy's name of each program and its option; written out, because importing phonopy takes longer than
``--help``."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(/\d+)?")


class Number(click.ParamType[float]):
    """A finite number within bounds.

    Parameters
    ----------
    at_least, above : float
        The least number accepted, and the greatest that is not.
    """

    name = "number"

    def __init__(self, *, at_least: float = -math.inf, above: float = -math.inf) -> None:
        self.at_least, self.above = at_least, above

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read one number."""
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        if not math.isfinite(number) or number < self.at_least or number <= self.above:
            bound = f"above {self.above:g}" if math.isfinite(self.above) else f"of at least {self.at_least:g}"
            self.fail(f"{value} is not a finite number {bound}", param, ctx)
        return number


class Several(click.ParamType[list[float]]):
    """Values of one kind, separated by spaces.

    Parameters
    ----------
    kind : Number or click.IntRange
        Of each value.
    """

    def __init__(self, kind: Number | click.IntRange) -> None:
        self.kind, self.name = kind, f"{kind.name}s"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Read every value."""
        words = value if isinstance(value, list | tuple) else str(value).split()
        return [self.kind(word, param, ctx) for word in words]


class SeveralValues(click.Option):
    """An option that is followed by several numbers, as phono3py's are: ``--dim 2 2 2`` or ``--dim "2 2 2"``."""


class Command(click.Command):
    """A command that knows :class:`SeveralValues`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join what follows such an option before click reads the line."""
        several = {name for option in self.params if isinstance(option, SeveralValues) for name in option.opts}
        return super().parse_args(ctx, joined(args, several))


def joined(arguments: Sequence[str], options: set[str]) -> list[str]:
    """Join the numbers that follow one of some options to one argument.

    Parameters
    ----------
    arguments : sequence of str
        As typed.
    options : set of str
        Names of the options: ``{"--dim"}``.

    Returns
    -------
    list of str
        ``["--dim", "2", "2", "2", "x"]`` becomes ``["--dim", "2 2 2", "x"]``. The first value may be any word.
    """
    result: list[str] = []
    rest = list(arguments)
    while rest:
        result.append(rest.pop(0))
        name, equals, _ = result[-1].partition("=")
        if name not in options or not (rest or equals):
            continue
        values = [result.pop()] if equals else rest[:1]
        del rest[: 0 if equals else 1]
        while rest and _NUMBER.fullmatch(rest[0]):
            values.append(rest.pop(0))
        result.append(" ".join(values))
    return result


@dataclass(frozen=True)
class CrystalOptions:
    """What the options of :func:`crystal_options` say."""

    yaml: str | None
    fc2: str | None
    cell: str | None
    dim: list[int] | None
    dim_fc2: list[int] | None
    pa: str
    born: str | None
    nac_method: str
    nonac: bool
    symprec: float

    def load(self) -> HarmonicCrystal:
        """Load the harmonic crystal that the options describe."""
        from phon_wigner.files.crystal_files import CrystalFiles, load_crystal

        words = self.pa.split()
        axes: str | list[float] | None = words[0] if len(words) == 1 else [_fraction(word) for word in words]
        if self.yaml is not None and words == ["auto"]:
            axes = None
        return load_crystal(
            CrystalFiles(
                fc2=self.fc2,
                cell=self.cell,
                yaml=self.yaml,
                dim=self.dim,
                dim_fc2=self.dim_fc2,
                primitive_axes=axes,
                born=self.born,
                nac_method=self.nac_method,
                nonac=self.nonac,
                symprec=self.symprec,
                calculator=click.get_current_context().meta.get("phon_wigner.program"),
            )
        )


def crystal_options(function: _Function) -> _Function:
    """Add the options that describe the harmonic crystal; the command gets them as ``crystal``."""
    from functools import wraps

    names = CrystalOptions.__dataclass_fields__

    @wraps(function)
    def command(**options: Any) -> Any:
        crystal = CrystalOptions(**{name: options.pop(name) for name in names})
        return function(crystal=crystal, **options)

    dims = Several(click.IntRange(-999, 999))
    for option in reversed(
        (
            click.option("--fc2", metavar="FILE", help="fc2.hdf5 or FORCE_CONSTANTS (default: beside the YAML)."),
            click.option("-c", "--cell", metavar="FILE", help="Unit cell, e.g. POSCAR."),
            click.option("--dim", cls=SeveralValues, type=dims, metavar="N..", help="Supercell of fc3: 3 or 9."),
            click.option("--dim-fc2", cls=SeveralValues, type=dims, metavar="N..", help="Of fc2, if another."),
            click.option(
                "--pa", cls=SeveralValues, default="auto", metavar="X...",
                help="Primitive axes: auto, P, F, I, ... or 9 numbers.",
            ),
            click.option("--born", metavar="FILE", help="BORN file (default: what the YAML holds, or BORN beside it)."),
            click.option(
                "--nac-method", type=click.Choice(["gonze", "wang"]), default="gonze", show_default=True,
                help="Non-analytical correction of Gonze and Lee, or of Wang.",
            ),
            click.option("--nonac", is_flag=True, help="Ignore NAC parameters in the YAML and beside it."),
            click.option(
                "--symprec", "--tolerance-symmetry", "symprec", type=Number(above=0), default=1e-5, show_default=True,
                metavar="ANGSTROM", help="Symmetry tolerance.",
            ),
            *(_program_option(name, option) for name, option in PROGRAMS.items()),
        )
    ):  # fmt: skip
        command = option(command)
    return command  # type: ignore[return-value]


def _program_option(name: str, option: str) -> Callable[[_Function], _Function]:
    """Make phonopy's option of one program: the format and units of its files."""

    def choose(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        before = context.meta.get("phon_wigner.program")
        if wanted and before is not None:
            raise click.UsageError(f"{option} not allowed with {PROGRAMS[before]}: files are of one program.", context)
        if wanted:
            context.meta["phon_wigner.program"] = name

    text = f"Format and units of the files: {name} (default: VASP, or what the YAML says)."
    return click.option(
        option,
        f"is_{name}",
        is_flag=True,
        expose_value=False,
        callback=choose,
        help=text if name == "abacus" else f"The same: {name}.",
    )


def _fraction(text: str) -> float:
    """Read a number that may be a fraction such as 1/2."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise OptionError(f"--pa: {text!r} is no number or fraction such as 1/2.") from error
