"""The sub-commands ``plot`` and ``glass``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phon_wigner.cli.options import Commands, add_crystal_options, crystal_from_arguments, integer, number
from phon_wigner.errors import GridMismatchError, InputFileError, OptionError, TemperatureError
from phon_wigner.file_access.atomic_write import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("modes", "spectrum", "cumulative", "map", "many")
"""Figures that ``phon-wigner plot`` draws."""


def add_plot(commands: Commands) -> None:
    """Add ``plot``."""
    parser = commands.add_parser(
        "plot",
        help="figures of a mode-resolved result",
        description="modes: τ against ω, size κ_P, colour κ_C share. spectrum: κ_P(ω), κ_C(ω). cumulative: κ against "
        "mean free path or frequency. map: κ_C(ω₁,ω₂). many: κ_C/κ_total against κ_total of many crystals.",
    )
    parser.add_argument("results", nargs="+", help="HDF5 of `analyze --hdf5`; for many also JSON of `analyze --json`")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument(
        "--ts", type=number(at_least=0), default=None, metavar="T", help="temperature in K (default: the first)"
    )
    parser.add_argument("--against", choices=("mean-free-path", "frequency"), default="mean-free-path")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="figure (.png, .pdf, .svg)")
    parser.set_defaults(run=run_plot)


def run_plot(arguments: argparse.Namespace) -> int:
    """Draw one figure."""
    from phon_wigner.conductivity import plots
    from phon_wigner.conductivity.crossover import crossover
    from phon_wigner.conductivity.result import WignerResult

    if arguments.kind == "many":
        axes = _plot_many(arguments)
    else:
        if len(arguments.results) != 1:
            raise InputFileError(f"{arguments.kind} draws one result, got {len(arguments.results)}. Give one file.")
        path = arguments.results[0]
        result = WignerResult.from_hdf5(path)
        row = result.row(arguments.ts, path)
        if arguments.kind == "modes":
            diagnosis = crossover(result, row)
            for name, share in diagnosis.counts.items():
                kappa = diagnosis.kappa_of_regime[name]
                sys.stdout.write(f"{name:10s} {share:7.2%} of modes  K_P {kappa[0]:.4g}  K_C {kappa[1]:.4g} W/(m K)\n")
            axes = plots.plot_crossover(diagnosis)
        elif arguments.kind == "spectrum":
            axes = plots.plot_spectrum(result, row)
        elif arguments.kind == "cumulative":
            axes = plots.plot_cumulative(result, row, arguments.against)
        else:
            if not len(result.map_edges):
                raise GridMismatchError(f"{path} holds no map. Make it with `phon-wigner analyze ... --hdf5 {path}`.")
            axes = plots.plot_coherence_map(result.coherence_map[row], result.map_edges)
    save_figure(axes, arguments.output)
    return 0


def save_figure(axes: Axes, path: str) -> None:
    """Write the figure of some axes, in the format that the suffix names.

    Raises
    ------
    OptionError
        matplotlib does not know the suffix.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise OptionError("these axes belong to no figure.")
    formats = sorted(figure.canvas.get_supported_filetypes())
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in formats:
        raise OptionError(f"{path} does not end in a format of figures, expected one of .{', .'.join(formats)}.")
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _plot_many(arguments: argparse.Namespace) -> Axes:
    """Draw κ_C/κ_total against κ_total, one dot per file."""
    from phon_wigner.conductivity.plots import plot_coherence_fractions
    from phon_wigner.conductivity.result import WignerResult

    kappa = []
    for path in arguments.results:
        if path.endswith(".json"):
            kappa.append(_scalars_from_json(path, arguments.ts))
        else:
            result = WignerResult.from_hdf5(path)
            row = result.row(arguments.ts, path)
            kappa.append((float(result.kappa_p[row, :3].mean()), float(result.kappa_c[row, :3].mean())))
    values = np.array(kappa)
    return plot_coherence_fractions(values[:, 0], values[:, 1], [Path(path).stem for path in arguments.results])


def _scalars_from_json(path: str, temperature: float | None) -> tuple[float, float]:
    """Return κ_P and κ_C, means of xx, yy, zz, of one temperature of a file of `analyze --json`."""
    from phon_wigner.file_access.reading import existing_file, read_text, reading

    fix = "Give a file of `phon-wigner analyze --json`."
    text = read_text(existing_file(path, "the result", fix), "JSON", fix)
    temperatures, parts = np.zeros(0), np.zeros((2, 0, 6))
    with reading(path, "a phon-wigner result", fix):
        document = json.loads(text)
        temperatures = np.asarray(document["temperatures"], dtype=np.float64)
        parts = np.asarray([document["kappa_p"], document["kappa_c"]], dtype=np.float64)
        if parts.shape != (2, len(temperatures), 6) or not len(temperatures) or not np.isfinite(parts).all():
            raise ValueError(f"conductivities of shape {parts.shape} for {len(temperatures)} temperatures")
    hit = [0] if temperature is None else np.flatnonzero(np.isclose(temperatures, temperature)).tolist()
    if not hit:
        raise TemperatureError(f"{path} has no {temperature:g} K; it holds {temperatures.tolist()} K.")
    particle, wave = parts[:, hit[0], :3].mean(axis=1)
    return float(particle), float(wave)


def add_glass(commands: Commands) -> None:
    """Add ``glass``."""
    parser = commands.add_parser(
        "glass",
        help="disordered solids: Allen-Feldman or Voigt-regularised κ with a scan over the broadening",
        description="Without --kappa all linewidths are zero (Allen-Feldman); with it, Voigt profiles (rWTE).",
    )
    parser.add_argument("yaml", nargs="?", help="phono3py/phonopy YAML, instead of --cell and --dim")
    add_crystal_options(parser)
    parser.add_argument("--kappa", metavar="FILE", help="linewidths: kappa-m*.hdf5")
    parser.add_argument(
        "--mesh", nargs=3, type=integer(1, 200), default=[1, 1, 1], metavar="N", help="without --kappa (1 1 1)"
    )
    parser.add_argument(
        "--ts", nargs="+", type=number(at_least=0), default=[300.0], metavar="T", help="temperatures in K (300)"
    )
    parser.add_argument(
        "--broadening",
        nargs="+",
        type=number(at_least=0),
        metavar="THZ",
        help="η (default: 1/4 to 16 level spacings)",
    )
    parser.add_argument("--csv", metavar="FILE", help="write the scan as a table")
    parser.add_argument("--hdf5", metavar="FILE", help="write the scan as HDF5")
    parser.add_argument("--plot", metavar="FILE", help="draw κ against η")
    parser.set_defaults(run=run_glass)


def run_glass(arguments: argparse.Namespace) -> int:
    """Scan the broadening, print the scan and its flattest point."""
    from phon_wigner.conductivity.glass import scan_crystal
    from phon_wigner.files.kappa_file import read_kappa_file

    source = read_kappa_file(arguments.kappa) if arguments.kappa else arguments.mesh
    scan = scan_crystal(crystal_from_arguments(arguments), source, arguments.ts, arguments.broadening)
    sys.stdout.write(f"# mean level spacing {scan.level_spacing:.4g} THz\n#    T(K)  eta(THz)  K(W/mK)   slope\n")
    for i, temperature in enumerate(scan.temperatures):
        best = scan.plateau(i)
        for j, (eta, kappa, slope) in enumerate(zip(scan.broadenings, scan.scalar[i], scan.slope(i), strict=True)):
            mark = "  flattest" if j == best else ""
            sys.stdout.write(f"{temperature:9.2f} {eta:9.4g} {kappa:9.4f} {slope:8.3f}{mark}\n")
    if arguments.csv:
        scan.to_csv(arguments.csv)
    if arguments.hdf5:
        scan.to_hdf5(arguments.hdf5)
    if arguments.plot:
        from phon_wigner.conductivity.plots import plot_broadening

        save_figure(plot_broadening(scan), arguments.plot)
    return 0
