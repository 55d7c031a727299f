"""The command line ``phon-wigner``: analyze, doctor and the other jobs.

Data go to stdout, everything else to stderr. Options carry phono3py's names.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phon_wigner import __version__
from phon_wigner.cli.boundary import guarded
from phon_wigner.cli.figures import add_glass, add_plot
from phon_wigner.cli.options import Commands, add_crystal_options, crystal_from_arguments, integer, number

if TYPE_CHECKING:
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.phonons.harmonic import HarmonicCrystal
    from phon_wigner.phonons.linewidths import Linewidths

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
        0 when done, 1 when a check failed, 2 on wrong input, 70 when phon-wigner itself is at fault.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(typed)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    return guarded(arguments.run, arguments, typed)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every sub-command."""
    parser = argparse.ArgumentParser(
        prog="phon-wigner", description="Wigner (particle and wave-like) thermal conductivity for phono3py 4."
    )
    parser.add_argument("--version", action="version", version=f"phon-wigner {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done, on stderr")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_analyze(commands)
    _add_shengbte(commands)
    _add_compare(commands)
    add_plot(commands)
    add_glass(commands)
    _add_doctor(commands)
    return parser


def _add_analyze(commands: Commands) -> None:
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
    _add_analysis_options(parser)
    isotopes = parser.add_mutually_exclusive_group()
    isotopes.add_argument("--no-isotope", action="store_true", help="ignore a stored gamma_isotope")
    isotopes.add_argument(
        "--isotope", "--isp", action="store_true", help="add natural isotope scattering (fast, no phono3py run)"
    )
    parser.set_defaults(run=_run_analyze)


def _add_analysis_options(parser: argparse.ArgumentParser) -> None:
    """Add temperatures, tolerances and outputs."""
    parser.add_argument(
        "--ts", nargs="+", type=number(at_least=0), metavar="T", help="temperatures in K (default: all stored)"
    )
    parser.add_argument("--interpolate", action="store_true", help="allow temperatures between stored ones")
    parser.add_argument(
        "--tolerance", type=number(at_least=0), metavar="THZ", help="width of a degenerate block (1e-4)"
    )
    parser.add_argument(
        "--imaginary-tolerance",
        type=number(at_least=0),
        default=0.01,
        metavar="THZ",
        help="accept modes above minus this (0.01)",
    )
    parser.add_argument(
        "--boundary-mfp",
        "--bmfp",
        type=number(above=0),
        metavar="MICROMETRE",
        help="add boundary scattering with this mean free path",
    )
    parser.add_argument("--json", metavar="FILE", help="write temperatures and conductivities as JSON")
    parser.add_argument("--hdf5", metavar="FILE", help="write every array, mode-resolved ones and κ_C(ω₁,ω₂) included")
    parser.add_argument("--spectra", metavar="FILE", help="write spectra, cumulative κ, map and crossover as HDF5")
    parser.add_argument("--csv", metavar="DIR", help="write the same as CSV tables")
    parser.add_argument(
        "--map-bins", type=integer(1, 2000), default=60, metavar="N", help="frequency bins of the map (60)"
    )


def _run_analyze(arguments: argparse.Namespace) -> int:
    """Run ``analyze``."""
    from phon_wigner.files.kappa_file import read_kappa_file

    linewidths = read_kappa_file(arguments.kappa_file)
    crystal = crystal_from_arguments(arguments)
    if arguments.isotope:
        from phon_wigner.phonons.isotope import add_isotopes

        linewidths = add_isotopes(crystal, linewidths, average_degenerate=True)
    return _analyze_and_write(arguments, crystal, linewidths, not arguments.no_isotope)


def _analyze_and_write(
    arguments: argparse.Namespace, crystal: HarmonicCrystal, linewidths: Linewidths, isotopes: bool
) -> int:
    """Compute, print one block per temperature, write the files asked for."""
    from threadpoolctl import threadpool_limits

    from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
    from phon_wigner.files.exports import write_spectra, write_tables
    from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ

    detailed = any((arguments.hdf5, arguments.spectra, arguments.csv))
    settings = AnalysisSettings(
        degeneracy_tolerance=DEGENERACY_TOLERANCE_THZ if arguments.tolerance is None else arguments.tolerance,
        imaginary_tolerance=arguments.imaginary_tolerance,
        interpolate=arguments.interpolate,
        isotopes=isotopes,
        boundary_mfp=arguments.boundary_mfp,
        keep_modes=detailed,
        map_bins=arguments.map_bins if detailed else 0,
    )
    with threadpool_limits(limits=1, user_api="blas"):  # matrices of 3 n_atoms: threads wait for one another
        result = analyze(crystal, linewidths, arguments.ts, settings)
    result.metadata["phon_wigner"] = __version__
    print_table(result)
    if arguments.json:
        result.to_json(arguments.json)
    if arguments.hdf5:
        result.to_hdf5(arguments.hdf5)
    if arguments.spectra:
        write_spectra(result, arguments.spectra)
    if arguments.csv:
        write_tables(result, arguments.csv)
    for path in (arguments.json, arguments.hdf5, arguments.spectra, arguments.csv):
        if path:
            logger.info("wrote %s", Path(path))
    return 0


def _add_shengbte(commands: Commands) -> None:
    """Add ``shengbte``."""
    parser = commands.add_parser(
        "shengbte",
        help="the same from a ShengBTE or FourPhonon run directory",
        description="Populations and coherences from BTE.qpoints, BTE.omega and T*K/BTE.w.",
    )
    parser.add_argument("folder", help="directory ShengBTE ran in")
    parser.add_argument("yaml", nargs="?", help="phono3py/phonopy YAML, instead of --cell and --dim")
    add_crystal_options(parser)
    _add_analysis_options(parser)
    parser.add_argument(
        "--rates",
        nargs="+",
        default=["BTE.w"],
        metavar="FILE",
        help="rate files in T*K/, summed (default: BTE.w)",
    )
    parser.add_argument(
        "--isotope-rates", metavar="FILE", help="temperature-independent rate file, e.g. BTE.w_isotopic"
    )
    parser.add_argument(
        "--convention", default="rate-per-ps", help="what the second column is (default: rate-per-ps, 1/τ)"
    )
    parser.set_defaults(run=_run_shengbte)


def _run_shengbte(arguments: argparse.Namespace) -> int:
    """Run ``shengbte``."""
    from phon_wigner.files.shengbte import read_shengbte

    linewidths = read_shengbte(
        arguments.folder, arguments.rates, convention=arguments.convention, isotope=arguments.isotope_rates
    )
    return _analyze_and_write(arguments, crystal_from_arguments(arguments), linewidths, isotopes=True)


def _add_compare(commands: Commands) -> None:
    """Add ``compare``."""
    parser = commands.add_parser(
        "compare",
        help="SRD, SRE and SRME of a result against another or a public reference",
        description="Compare two files of `analyze --hdf5`, or one with a row of kappas_*.json.gz.",
    )
    parser.add_argument("result", help="HDF5 file of `phon-wigner analyze --hdf5`")
    parser.add_argument("reference", help="another such file, or kappas_*.json.gz")
    parser.add_argument("--mp-id", help="row of the reference table")
    parser.add_argument(
        "--ts", type=number(at_least=0), default=300.0, metavar="T", help="temperature in K (default: 300)"
    )
    parser.set_defaults(run=_run_compare)


def _run_compare(arguments: argparse.Namespace) -> int:
    """Run ``compare`` and print JSON."""
    import dataclasses
    import json

    from phon_wigner.conductivity.metrics import ModeConductivity, compare, read_reference
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.errors import InputFileError

    ours = ModeConductivity.from_result(WignerResult.from_hdf5(arguments.result), arguments.ts, arguments.result)
    if arguments.reference.endswith((".json", ".json.gz")):
        rows = read_reference(arguments.reference)
        if arguments.mp_id not in rows:
            raise InputFileError(
                f"--mp-id {arguments.mp_id} is not in {arguments.reference}; it holds "
                f"{', '.join(sorted(rows)[:12])}, ..."
            )
        theirs = ModeConductivity.from_reference_row(rows[arguments.mp_id], arguments.ts)
    else:
        reference = WignerResult.from_hdf5(arguments.reference)
        theirs = ModeConductivity.from_result(reference, arguments.ts, arguments.reference)
    sys.stdout.write(json.dumps(dataclasses.asdict(compare(ours, theirs)), indent=1) + "\n")
    return 0


def print_table(result: WignerResult) -> None:
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


def _add_doctor(commands: Commands) -> None:
    """Add ``doctor``."""
    parser = commands.add_parser("doctor", help="prove that phono3py offers --tt wigner, or say why not")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(_: argparse.Namespace) -> int:
    """Print versions and checks; 1 when one failed."""
    from phon_wigner.phono3py_variant.doctor import main_exit_code

    return main_exit_code()
