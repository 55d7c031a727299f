"""The command line ``phon-wigner``: analyze, doctor and the other jobs.

Data go to stdout, everything else to stderr. Options carry phono3py's names.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phon_wigner import __version__
from phon_wigner.errors import WignerError

logger = logging.getLogger("phon_wigner")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        0 when done, 1 when a check failed, 2 on wrong input.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(arguments.run(arguments))
    except WignerError as error:
        sys.stderr.write(f"phon-wigner: error: {error}\n")
        return 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every sub-command."""
    parser = argparse.ArgumentParser(
        prog="phon-wigner", description="Wigner (particle and wave-like) thermal conductivity for phono3py 4."
    )
    parser.add_argument("--version", action="version", version=f"phon-wigner {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done, on stderr")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_analyze(commands)
    _add_doctor(commands)
    return parser


def _add_analyze(commands: Any) -> None:
    """Add ``analyze``."""
    parser = commands.add_parser(
        "analyze",
        help="coherences from stored linewidths, without a scattering run",
        description="Populations and coherences from the linewidths in kappa-m*.hdf5 and the force constants.",
    )
    parser.add_argument("kappa_file", help="kappa-m*.hdf5 of a phono3py --br or --lbte run")
    parser.add_argument(
        "yaml", nargs="?", help="phono3py_params.yaml or phono3py_disp.yaml, instead of --cell and --dim"
    )
    add_crystal_options(parser)
    parser.add_argument(
        "--ts", nargs="+", type=float, metavar="T", help="temperatures in K (default: all stored)"
    )
    parser.add_argument("--interpolate", action="store_true", help="allow temperatures between stored ones")
    parser.add_argument("--no-isotope", action="store_true", help="ignore a stored gamma_isotope")
    parser.add_argument(
        "--tolerance", type=float, default=None, metavar="THZ", help="width of a degenerate block"
    )
    parser.add_argument(
        "--imaginary-tolerance", type=float, default=0.01, metavar="THZ", help="accept modes above minus this"
    )
    parser.add_argument("--json", metavar="FILE", help="write temperatures and conductivities as JSON")
    parser.add_argument("--hdf5", metavar="FILE", help="write every array, mode-resolved ones included")
    parser.set_defaults(run=_run_analyze)


def add_crystal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the harmonic crystal."""
    group = parser.add_argument_group("crystal")
    group.add_argument(
        "--fc2", metavar="FILE", help="second-order force constants (fc2.hdf5, FORCE_CONSTANTS)"
    )
    group.add_argument("-c", "--cell", metavar="FILE", help="unit cell, e.g. POSCAR")
    group.add_argument("--dim", nargs="+", type=int, metavar="N", help="supercell of fc3 (3 or 9 integers)")
    group.add_argument(
        "--dim-fc2", nargs="+", type=int, metavar="N", help="supercell of fc2, when it differs"
    )
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
    from phon_wigner.phono3py_files import CrystalFiles, load_crystal

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


def _run_analyze(arguments: argparse.Namespace) -> int:
    """Run ``analyze`` and print one row per temperature."""
    from phon_wigner.degeneracy import DEGENERACY_TOLERANCE_THZ
    from phon_wigner.phono3py_files import read_kappa_file
    from phon_wigner.postprocess import AnalysisSettings, analyze

    linewidths = read_kappa_file(arguments.kappa_file)
    settings = AnalysisSettings(
        degeneracy_tolerance=DEGENERACY_TOLERANCE_THZ if arguments.tolerance is None else arguments.tolerance,
        imaginary_tolerance=arguments.imaginary_tolerance,
        interpolate=arguments.interpolate,
        isotopes=not arguments.no_isotope,
        keep_modes=arguments.hdf5 is not None,
    )
    result = analyze(crystal_from_arguments(arguments), linewidths, arguments.ts, settings)
    result.metadata["phon_wigner"] = __version__
    print_table(result)
    if arguments.json:
        result.to_json(arguments.json)
    if arguments.hdf5:
        result.to_hdf5(arguments.hdf5)
    for path in (arguments.json, arguments.hdf5):
        if path:
            logger.info("wrote %s", Path(path))
    return 0


def print_table(result: Any) -> None:
    """Print κ_P, κ_C and their sum, in W/(m K), one row per temperature and kind."""
    sys.stdout.write("#    T(K)  kind         xx         yy         zz         yz         xz         xy\n")
    for i, temperature in enumerate(result.temperatures):
        for label, values in (
            ("K_P", result.kappa_p),
            ("K_C", result.kappa_c),
            ("K_TOT", result.kappa_total),
        ):
            row = "".join(f" {value:10.4f}" for value in np.asarray(values)[i])
            sys.stdout.write(f"{temperature:9.2f}  {label:5s}{row}\n")


def _add_doctor(commands: Any) -> None:
    """Add ``doctor``."""
    parser = commands.add_parser("doctor", help="prove that phono3py offers --tt wigner, or say why not")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(_: argparse.Namespace) -> int:
    """Print versions and checks; 1 when one failed."""
    from phon_wigner.doctor import installed_versions, run_checks

    for name, version in installed_versions().items():
        sys.stdout.write(f"      {name} {version}\n")
    checks = run_checks()
    for check in checks:
        sys.stdout.write(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.detail}\n")
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
