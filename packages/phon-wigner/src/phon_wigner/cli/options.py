"""Options that several sub-commands share: how the harmonic crystal is given."""

from __future__ import annotations

import argparse
from typing import Any


def add_crystal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the harmonic crystal."""
    group = parser.add_argument_group("crystal")
    group.add_argument("--fc2", metavar="FILE", help="second-order force constants (fc2.hdf5, FORCE_CONSTANTS)")
    group.add_argument("-c", "--cell", metavar="FILE", help="unit cell, e.g. POSCAR")
    group.add_argument("--dim", nargs="+", type=int, metavar="N", help="supercell of fc3 (3 or 9 integers)")
    group.add_argument("--dim-fc2", nargs="+", type=int, metavar="N", help="supercell of fc2, when it differs")
    group.add_argument(
        "--pa",
        nargs="+",
        default=["auto"],
        metavar="X",
        help="primitive axes: auto, P, F, I, ... or 9 numbers",
    )
    group.add_argument("--born", metavar="FILE", help="BORN file; turns the non-analytical correction on")
    group.add_argument("--nac-method", choices=("gonze", "wang"), default="gonze", help="default: gonze")
    group.add_argument("--nonac", action="store_true", help="ignore NAC parameters in the YAML")
    group.add_argument(
        "--tolerance-symmetry", "--symprec", dest="symprec", type=float, default=1e-5, metavar="ANGSTROM"
    )


def crystal_from_arguments(arguments: argparse.Namespace) -> Any:
    """Load the harmonic crystal that the options describe."""
    from phon_wigner.files.phono3py_files import CrystalFiles, load_crystal

    axes: Any = arguments.pa[0] if len(arguments.pa) == 1 else [_number(x) for x in arguments.pa]
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
        )
    )


def _number(text: str) -> float:
    """Read a number that may be a fraction such as 1/2."""
    from fractions import Fraction

    return float(Fraction(text))
