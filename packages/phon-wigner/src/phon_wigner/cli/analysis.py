"""The sub-commands ``analyze`` and ``shengbte``: coherences from linewidths that are there already."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from phon_wigner import __version__
from phon_wigner.cli.options import Command, CrystalOptions, Number, Several, SeveralValues, crystal_options

if TYPE_CHECKING:
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.phonons.linewidths import Linewidths

__all__ = ["analyze", "print_table", "shengbte"]

logger = logging.getLogger("phon_wigner")

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class AnalysisOptions:
    """Temperatures, tolerances and outputs, as :func:`analysis_options` gives them."""

    ts: list[float] | None
    interpolate: bool
    tolerance: float | None
    imaginary_tolerance: float
    boundary_mfp: float | None
    json: str | None
    hdf5: str | None
    spectra: str | None
    csv: str | None
    map_bins: int


def analysis_options(function: _Function) -> _Function:
    """Add the options of an analysis; the command gets them as ``wanted``."""
    names = AnalysisOptions.__dataclass_fields__

    @wraps(function)
    def command(**options: Any) -> Any:
        wanted = AnalysisOptions(**{name: options.pop(name) for name in names})
        return function(wanted=wanted, **options)

    positive = Number(at_least=0)
    for option in reversed(
        (
            click.option(
                "-t", "--ts", "ts", cls=SeveralValues, type=Several(positive), metavar="T...",
                help="Temperatures, K (default: all stored).",
            ),
            click.option("--interpolate", is_flag=True, help="Allow temperatures between stored ones."),
            click.option("--tolerance", type=positive, metavar="THZ", help="Width of a degenerate block (1e-4)."),
            click.option(
                "--imaginary-tolerance", type=positive, default=0.01, show_default=True, metavar="THZ",
                help="Accept modes above minus this.",
            ),
            click.option(
                "--boundary-mfp", "--bmfp", "boundary_mfp", type=Number(above=0), metavar="MICROMETRE",
                help="Add boundary scattering with this mean free path.",
            ),
            click.option("--json", metavar="FILE", help="Write temperatures and conductivities as JSON."),
            click.option("--hdf5", metavar="FILE", help="Write every array, modes and κ_C(ω₁,ω₂) included."),
            click.option("--spectra", metavar="FILE", help="Write spectra, cumulative κ, map and crossover as HDF5."),
            click.option("--csv", metavar="DIR", help="Write the same as CSV tables."),
            click.option(
                "--map-bins", type=click.IntRange(1, 2000), default=60, show_default=True, metavar="N",
                help="Frequency bins of the map.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command  # type: ignore[return-value]


@click.command(cls=Command)
@click.argument("kappa_file")
@click.argument("yaml", required=False)
@crystal_options
@analysis_options
@click.option("--no-isotope", is_flag=True, help="Ignore a stored gamma_isotope.")
@click.option(
    "--isotope", "--isp", "isotope", is_flag=True, help="Add natural isotope scattering: fast, no phono3py run."
)
def analyze(
    *, kappa_file: str, crystal: CrystalOptions, wanted: AnalysisOptions, no_isotope: bool, isotope: bool
) -> int:
    """Compute coherences from stored linewidths, without a scattering run.

    KAPPA_FILE is the kappa-m*.hdf5 of a phono3py --br or --lbte run, YAML its phono3py_params.yaml or
    phono3py_disp.yaml; --cell and --dim take the place of the YAML.

    Example: phon-wigner analyze kappa-m191919.hdf5 phono3py_params.yaml --ts 300 1000 --hdf5 modes.hdf5
    """
    from phon_wigner.files.kappa_file import read_kappa_file

    if isotope and no_isotope:
        raise click.UsageError("--isotope not allowed with --no-isotope.")
    linewidths = read_kappa_file(kappa_file)
    if isotope:
        from phon_wigner.phonons.isotope import add_isotopes

        linewidths = add_isotopes(crystal.load(), linewidths, average_degenerate=True)
    return _analyze_and_write(wanted, crystal, linewidths, not no_isotope)


@click.command(cls=Command)
@click.argument("folder")
@click.argument("yaml", required=False)
@crystal_options
@analysis_options
@click.option(
    "--rates", multiple=True, default=["BTE.w"], metavar="FILE", help="Rate file in T*K/ (BTE.w); repeatable, summed."
)
@click.option("--isotope-rates", metavar="FILE", help="Rate file without a temperature, e.g. BTE.w_isotopic.")
@click.option("--convention", default="rate-per-ps", show_default=True, help="What the second column is (1/τ).")
def shengbte(
    *,
    folder: str,
    crystal: CrystalOptions,
    wanted: AnalysisOptions,
    rates: tuple[str, ...],
    isotope_rates: str | None,
    convention: str,
) -> int:
    """Compute coherences from the directory FOLDER that ShengBTE or FourPhonon ran in.

    Reads BTE.qpoints, BTE.omega and T*K/BTE.w. YAML is of phono3py or phonopy; --cell and --dim take its place.

    Example: phon-wigner shengbte RUN --fc2 FORCE_CONSTANTS --cell POSCAR --dim 4 4 4 --ts 300
    """
    from phon_wigner.files.shengbte import read_shengbte

    linewidths = read_shengbte(folder, list(rates), convention=convention, isotope=isotope_rates)
    return _analyze_and_write(wanted, crystal, linewidths, isotopes=True)


def _analyze_and_write(wanted: AnalysisOptions, options: CrystalOptions, linewidths: Linewidths, isotopes: bool) -> int:
    """Compute, print one block per temperature, write the files asked for."""
    from threadpoolctl import threadpool_limits

    from phon_wigner.conductivity.postprocess import AnalysisSettings
    from phon_wigner.conductivity.postprocess import analyze as compute
    from phon_wigner.files.exports import write_spectra, write_tables
    from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ

    detailed = any((wanted.hdf5, wanted.spectra, wanted.csv))
    settings = AnalysisSettings(
        degeneracy_tolerance=DEGENERACY_TOLERANCE_THZ if wanted.tolerance is None else wanted.tolerance,
        imaginary_tolerance=wanted.imaginary_tolerance,
        interpolate=wanted.interpolate,
        isotopes=isotopes,
        boundary_mfp=wanted.boundary_mfp,
        keep_modes=detailed,
        map_bins=wanted.map_bins if detailed else 0,
    )
    crystal = options.load()
    with threadpool_limits(limits=1, user_api="blas"):  # matrices of 3 n_atoms: threads wait for one another
        result = compute(crystal, linewidths, wanted.ts, settings)
    result.metadata["phon_wigner"] = __version__
    print_table(result)
    if wanted.json:
        result.to_json(wanted.json)
    if wanted.hdf5:
        result.to_hdf5(wanted.hdf5)
    if wanted.spectra:
        write_spectra(result, wanted.spectra)
    if wanted.csv:
        write_tables(result, wanted.csv)
    for path in (wanted.json, wanted.hdf5, wanted.spectra, wanted.csv):
        if path:
            logger.info("wrote %s", Path(path))
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
