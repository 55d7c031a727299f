"""Options that several sub-commands share, and the numbers that they accept."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from phon_wigner.errors import OptionError

if TYPE_CHECKING:
    from phon_wigner.phonons.harmonic import HarmonicCrystal

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What sub-commands are added to."""


PROGRAMS = {
    name: "--dftb+" if name == "dftbp" else f"--{name}"
    for name in (
        *("abacus", "abinit", "aims", "castep", "cp2k", "crystal", "dftbp", "elk", "exciting", "fleur", "lammps"),
        *("octopus", "pwmat", "qe", "qlm", "siesta", "turbomole", "vasp", "wien2k"),
    )
}
"""phonopy's name of each program and its option; written out, because importing phonopy takes longer than "
"``--help``."""


def number(*, at_least: float = -math.inf, above: float = -math.inf) -> Callable[[str], float]:
    """Return a reader of finite numbers within bounds, for argparse."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not math.isfinite(value) or value < at_least or value <= above:
            bound = f"above {above:g}" if math.isfinite(above) else f"of at least {at_least:g}"
            raise argparse.ArgumentTypeError(f"{text} is not a finite number {bound}")
        return value

    return read


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of integers within bounds, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return read


def add_crystal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the harmonic crystal."""
    group = parser.add_argument_group("crystal")
    group.add_argument(
        "--fc2",
        metavar="FILE",
        help="second-order force constants (fc2.hdf5, FORCE_CONSTANTS); default: fc2.hdf5 beside the YAML, or in it",
    )
    group.add_argument("-c", "--cell", metavar="FILE", help="unit cell, e.g. POSCAR")
    dims = integer(-999, 999)
    group.add_argument("--dim", nargs="+", type=dims, metavar="N", help="supercell of fc3 (3 or 9 integers)")
    group.add_argument("--dim-fc2", nargs="+", type=dims, metavar="N", help="supercell of fc2, when it differs")
    group.add_argument(
        "--pa",
        nargs="+",
        default=["auto"],
        metavar="X",
        help="primitive axes: auto, P, F, I, ... or 9 numbers",
    )
    group.add_argument(
        "--born",
        metavar="FILE",
        help="BORN file; turns the non-analytical correction on (default: what the YAML holds, or BORN beside it)",
    )
    group.add_argument("--nac-method", choices=("gonze", "wang"), default="gonze", help="default: gonze")
    group.add_argument("--nonac", action="store_true", help="ignore NAC parameters in the YAML and beside it")
    group.add_argument(
        "--tolerance-symmetry",
        "--symprec",
        dest="symprec",
        type=number(above=0),
        default=1e-5,
        metavar="ANGSTROM",
        help="symmetry tolerance (1e-5)",
    )
    _add_programs(parser)


def _add_programs(parser: argparse.ArgumentParser) -> None:
    """Add phonopy's option of every program: --qe, --abinit, ..."""
    group = parser.add_argument_group(
        "program", "format and units of --cell, FORCE_CONSTANTS and BORN (default: VASP, or what the YAML says)"
    ).add_mutually_exclusive_group()
    for name, option in PROGRAMS.items():
        group.add_argument(option, dest="calculator", action="store_const", const=name)


def crystal_from_arguments(arguments: argparse.Namespace) -> HarmonicCrystal:
    """Load the harmonic crystal that the options describe."""
    from phon_wigner.files.crystal_files import CrystalFiles, load_crystal

    axes: str | list[float] | None = arguments.pa[0] if len(arguments.pa) == 1 else [_fraction(x) for x in arguments.pa]
    if arguments.yaml is not None and arguments.pa == ["auto"]:
        axes = None
    return load_crystal(
        CrystalFiles(
            fc2=arguments.fc2,
            cell=arguments.cell,
            yaml=arguments.yaml,
            dim=arguments.dim,
            dim_fc2=arguments.dim_fc2,
            primitive_axes=axes,
            born=arguments.born,
            nac_method=arguments.nac_method,
            nonac=arguments.nonac,
            symprec=arguments.symprec,
            calculator=arguments.calculator,
        )
    )


def _fraction(text: str) -> float:
    """Read a number that may be a fraction such as 1/2."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise OptionError(f"--pa: {text!r} is no number or fraction such as 1/2.") from error
