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
    _add_shengbte(commands)
    _add_compare(commands)
    _add_plot(commands)
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
    _add_analysis_options(parser)
    isotopes = parser.add_mutually_exclusive_group()
    isotopes.add_argument("--no-isotope", action="store_true", help="ignore a stored gamma_isotope")
    isotopes.add_argument(
        "--isotope", "--isp", action="store_true", help="add natural isotope scattering (fast, no phono3py run)"
    )
    parser.set_defaults(run=_run_analyze)


def _add_analysis_options(parser: argparse.ArgumentParser) -> None:
    """Add temperatures, tolerances and outputs."""
    parser.add_argument("--ts", nargs="+", type=float, metavar="T", help="temperatures in K (default: all stored)")
    parser.add_argument("--interpolate", action="store_true", help="allow temperatures between stored ones")
    parser.add_argument("--tolerance", type=float, metavar="THZ", help="width of a degenerate block (1e-4)")
    parser.add_argument(
        "--imaginary-tolerance", type=float, default=0.01, metavar="THZ", help="accept modes above minus this"
    )
    parser.add_argument("--json", metavar="FILE", help="write temperatures and conductivities as JSON")
    parser.add_argument("--hdf5", metavar="FILE", help="write every array, mode-resolved ones included")


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
    """Run ``analyze``."""
    from phon_wigner.phono3py_files import read_kappa_file

    linewidths = read_kappa_file(arguments.kappa_file)
    crystal = crystal_from_arguments(arguments)
    if arguments.isotope:
        from phon_wigner.isotope import add_isotopes

        linewidths = add_isotopes(crystal, linewidths, average_degenerate=True)
    return _analyze_and_write(arguments, crystal, linewidths, not arguments.no_isotope)


def _analyze_and_write(arguments: argparse.Namespace, crystal: Any, linewidths: Any, isotopes: bool) -> int:
    """Compute, print one block per temperature, write the files asked for."""
    from phon_wigner.degeneracy import DEGENERACY_TOLERANCE_THZ
    from phon_wigner.postprocess import AnalysisSettings, analyze

    settings = AnalysisSettings(
        degeneracy_tolerance=DEGENERACY_TOLERANCE_THZ if arguments.tolerance is None else arguments.tolerance,
        imaginary_tolerance=arguments.imaginary_tolerance,
        interpolate=arguments.interpolate,
        isotopes=isotopes,
        keep_modes=arguments.hdf5 is not None,
    )
    result = analyze(crystal, linewidths, arguments.ts, settings)
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


def _add_shengbte(commands: Any) -> None:
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
    from phon_wigner.shengbte import read_shengbte

    linewidths = read_shengbte(
        arguments.folder, arguments.rates, convention=arguments.convention, isotope=arguments.isotope_rates
    )
    return _analyze_and_write(arguments, crystal_from_arguments(arguments), linewidths, isotopes=True)


def _add_compare(commands: Any) -> None:
    """Add ``compare``."""
    parser = commands.add_parser(
        "compare",
        help="SRD, SRE and SRME of a result against another or a public reference",
        description="Compare two files of `analyze --hdf5`, or one with a row of kappas_*.json.gz.",
    )
    parser.add_argument("result", help="HDF5 file of `phon-wigner analyze --hdf5`")
    parser.add_argument("reference", help="another such file, or kappas_*.json.gz")
    parser.add_argument("--mp-id", help="row of the reference table")
    parser.add_argument("--ts", type=float, default=300.0, metavar="T", help="temperature in K (default: 300)")
    parser.set_defaults(run=_run_compare)


def _run_compare(arguments: argparse.Namespace) -> int:
    """Run ``compare`` and print JSON."""
    import dataclasses
    import json

    from phon_wigner.errors import InputFileError
    from phon_wigner.metrics import ModeConductivity, compare, read_reference
    from phon_wigner.result import WignerResult

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


def _add_plot(commands: Any) -> None:
    """Add ``plot``."""
    parser = commands.add_parser(
        "plot",
        help="figures and tables of a mode-resolved result",
        description="Draw crossover, spectrum or mean-free-path figures from a file of `analyze --hdf5`.",
    )
    parser.add_argument("kind", choices=("crossover", "spectrum", "mfp", "fractions"))
    parser.add_argument("results", nargs="+", help="HDF5 files; one, or many for fractions")
    parser.add_argument("--ts", type=float, default=None, metavar="T", help="temperature in K (default: the first)")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="figure (.png, .pdf, .svg)")
    parser.add_argument("--csv", metavar="FILE", help="write the crossover table, one row per mode")
    parser.set_defaults(run=_run_plot)


def _run_plot(arguments: argparse.Namespace) -> int:
    """Draw one figure."""
    from phon_wigner import plots
    from phon_wigner.crossover import crossover
    from phon_wigner.errors import TemperatureError
    from phon_wigner.result import WignerResult

    loaded = [WignerResult.from_hdf5(path) for path in arguments.results]
    rows = []
    for path, result in zip(arguments.results, loaded, strict=True):
        temperature = result.temperatures[0] if arguments.ts is None else arguments.ts
        hit = np.flatnonzero(np.isclose(result.temperatures, temperature))
        if not len(hit):
            raise TemperatureError(
                f"{path} has no {temperature:g} K; it holds {result.temperatures.tolist()} K. Choose one with --ts."
            )
        rows.append(int(hit[0]))
    if arguments.kind == "fractions":
        pairs = list(zip(loaded, rows, strict=True))
        axes = plots.plot_coherence_fractions(
            np.array([r.kappa_p[i, :3].mean() for r, i in pairs]),
            np.array([r.kappa_c[i, :3].mean() for r, i in pairs]),
            [Path(path).stem for path in arguments.results],
        )
    elif arguments.kind == "crossover":
        diagnosis = crossover(loaded[0], rows[0])
        if arguments.csv:
            diagnosis.to_csv(arguments.csv)
        for name, share in diagnosis.counts.items():
            kappa = diagnosis.kappa_of_regime[name]
            sys.stdout.write(f"{name:10s} {share:7.2%} of modes  K_P {kappa[0]:.4g}  K_C {kappa[1]:.4g} W/(m K)\n")
        axes = plots.plot_crossover(diagnosis)
    else:
        draw = plots.plot_spectrum if arguments.kind == "spectrum" else plots.plot_mean_free_path
        axes = draw(loaded[0], rows[0])
    axes.figure.savefig(arguments.output)
    return 0


def _add_doctor(commands: Any) -> None:
    """Add ``doctor``."""
    parser = commands.add_parser("doctor", help="prove that phono3py offers --tt wigner, or say why not")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(_: argparse.Namespace) -> int:
    """Print versions and checks; 1 when one failed."""
    from phon_wigner.doctor import main_exit_code

    return main_exit_code()


if __name__ == "__main__":
    sys.exit(main())
