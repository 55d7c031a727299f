"""The sub-commands ``plot`` and ``glass``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from phon_wigner.cli.options import Command, CrystalOptions, Number, Several, SeveralValues, crystal_options
from phon_wigner.errors import GridMismatchError, InputFileError, OptionError, TemperatureError
from phon_wigner.file_access.atomic_write import whole_file
from phon_wigner.file_access.figure_file import FORMATS, figure_content

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTPUT_HELP = "Figure, .png, .svg or .pdf; without an ending all three. The data behind it lie beside it as .csv."

KINDS = ("modes", "spectrum", "cumulative", "map", "many")
"""Figures that ``phon-wigner plot`` draws."""


@click.command(cls=Command)
@click.argument("results", nargs=-1, required=True)
@click.argument("kind", type=click.Choice(KINDS))
@click.option(
    "-t", "--ts", "temperature", type=Number(at_least=0), metavar="T", help="Temperature, K (default: the first)."
)
@click.option(
    "--against",
    type=click.Choice(["mean-free-path", "frequency"]),
    default="mean-free-path",
    show_default=True,
    help="Horizontal axis of the cumulative conductivity.",
)
@click.option("-o", "--output", required=True, metavar="FILE", help=OUTPUT_HELP)
def plot(*, results: tuple[str, ...], kind: str, temperature: float | None, against: str, output: str) -> int:
    """Draw a figure of files of `analyze --hdf5`.

    \b
    modes       τ against ω, size κ_P, colour κ_C share
    spectrum    κ_P(ω), κ_C(ω)
    cumulative  κ against mean free path or frequency
    map         κ_C(ω₁,ω₂)
    many        κ_C/κ_total against κ_total of many crystals; also JSON of `analyze --json`

    Example: phon-wigner plot modes.hdf5 spectrum --ts 300 -o spectrum.pdf
    """
    formats_of(output)  # before anything is written
    if kind == "many":
        axes = _plot_many(results, temperature, output)
    else:
        if len(results) != 1:
            raise InputFileError(f"{kind} draws one result, got {len(results)}. Give one file.")
        axes = _plot_one(results[0], kind, temperature, against, output)
    save_figure(axes, output)
    return 0


def _plot_one(path: str, kind: str, temperature: float | None, against: str, output: str) -> Axes:
    """Draw a figure of one result, and write the table behind it."""
    from phon_wigner.conductivity import plots
    from phon_wigner.conductivity.crossover import crossover
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.files.exports import write_one_table

    result = WignerResult.from_hdf5(path)
    row = result.row(temperature, path)
    table = kind
    if kind == "modes":
        diagnosis = crossover(result, row)
        for name, share in diagnosis.counts.items():
            kappa = diagnosis.kappa_of_regime[name]
            sys.stdout.write(f"{name:10s} {share:7.2%} of modes  K_P {kappa[0]:.4g}  K_C {kappa[1]:.4g} W/(m K)\n")
        axes = plots.plot_crossover(diagnosis)
    elif kind == "spectrum":
        axes = plots.plot_spectrum(result, row)
    elif kind == "cumulative":
        axes = plots.plot_cumulative(result, row, against)
        table = "spectrum" if against == "frequency" else kind
    else:
        if not len(result.map_edges):
            raise GridMismatchError(f"{path} holds no map. Make it with `phon-wigner analyze ... --hdf5 {path}`.")
        axes = plots.plot_coherence_map(result.coherence_map[row], result.map_edges)
    write_one_table(result, row, table, data_path(output))
    return axes


def data_path(figure: str) -> Path:
    """Return where the data behind a figure lie: beside it, as CSV."""
    path = Path(figure)
    stem = path.stem if path.suffix.lstrip(".").lower() in FORMATS else path.name
    return path.with_name(f"{stem}.csv")


def formats_of(path: str) -> list[str]:
    """Return the formats in which a figure is written: that of its ending, without one PNG, SVG and PDF.

    Raises
    ------
    OptionError
        matplotlib does not know the ending.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    ending = Path(path).suffix.lstrip(".").lower()
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if ending and ending not in known:
        raise OptionError(f"{path} does not end in a format of figures, expected one of .{', .'.join(known)}.")
    return [ending] if ending else list(FORMATS)


def save_figure(axes: Axes, path: str) -> None:
    """Write the figure of some axes in the formats of :func:`formats_of`."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise OptionError("these axes belong to no figure.")
    formats = formats_of(path)
    for form in formats:
        with whole_file(path if formats == [form] else f"{path}.{form}") as temporary:
            temporary.write_bytes(figure_content(figure, form))


def _plot_many(results: Sequence[str], temperature: float | None, output: str) -> Axes:
    """Draw κ_C/κ_total against κ_total, one dot per file; write both as a table."""
    from phon_wigner.conductivity.plots import plot_coherence_fractions
    from phon_wigner.conductivity.result import WignerResult
    from phon_wigner.conductivity.tables import write_table

    kappa = []
    for path in results:
        if path.endswith(".json"):
            kappa.append(_scalars_from_json(path, temperature))
        else:
            result = WignerResult.from_hdf5(path)
            row = result.row(temperature, path)
            kappa.append((float(result.kappa_p[row, :3].mean()), float(result.kappa_c[row, :3].mean())))
    values = np.array(kappa)
    names = [Path(path).stem for path in results]
    rows = [(name, particle, wave) for name, (particle, wave) in zip(names, kappa, strict=True)]
    write_table(data_path(output), ["name", "kappa_p_w_mk", "kappa_c_w_mk"], rows)
    return plot_coherence_fractions(values[:, 0], values[:, 1], names)


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


@click.command(cls=Command)
@click.argument("yaml", required=False)
@crystal_options
@click.option("--kappa", metavar="FILE", help="Linewidths: kappa-m*.hdf5.")
@click.option(
    "--mesh",
    cls=SeveralValues,
    type=Several(click.IntRange(1, 200)),
    default="1 1 1",
    metavar="N N N",
    show_default=True,
    help="Without --kappa.",
)
@click.option(
    "-t",
    "--ts",
    "temperatures",
    cls=SeveralValues,
    type=Several(Number(at_least=0)),
    default="300",
    metavar="T...",
    show_default=True,
    help="Temperatures, K.",
)
@click.option(
    "--broadening",
    cls=SeveralValues,
    type=Several(Number(at_least=0)),
    metavar="THZ...",
    help="η (default: 1/4 to 16 level spacings).",
)
@click.option("--csv", metavar="FILE", help="Write the scan as a table.")
@click.option("--hdf5", metavar="FILE", help="Write the scan as HDF5.")
@click.option("--plot", "picture", metavar="FILE", help=f"Draw κ against η. {OUTPUT_HELP}")
def glass(
    *,
    crystal: CrystalOptions,
    kappa: str | None,
    mesh: list[int],
    temperatures: list[float],
    broadening: list[float] | None,
    csv: str | None,
    hdf5: str | None,
    picture: str | None,
) -> int:
    """Scan the broadening of a disordered solid, and mark its flattest point.

    Without --kappa all linewidths are zero (Allen-Feldman); with it, Voigt profiles (rWTE). YAML is of phono3py or
    phonopy; --cell and --dim take its place.
    """  # fmt: skip
    if picture:
        formats_of(picture)
    from phon_wigner.conductivity.glass import scan_crystal
    from phon_wigner.files.kappa_file import read_kappa_file

    if len(mesh) != 3:
        raise OptionError(f"--mesh takes three integers, got {len(mesh)}: --mesh 2 2 2.")
    source = read_kappa_file(kappa) if kappa else mesh
    scan = scan_crystal(crystal.load(), source, temperatures, broadening)
    sys.stdout.write(f"# mean level spacing {scan.level_spacing:.4g} THz\n#    T(K)  eta(THz)  K(W/mK)   slope\n")
    for i, temperature in enumerate(scan.temperatures):
        best = scan.plateau(i)
        for j, (eta, value, slope) in enumerate(zip(scan.broadenings, scan.scalar[i], scan.slope(i), strict=True)):
            mark = "  flattest" if j == best else ""
            sys.stdout.write(f"{temperature:9.2f} {eta:9.4g} {value:9.4f} {slope:8.3f}{mark}\n")
    if csv:
        scan.to_csv(csv)
    if hdf5:
        scan.to_hdf5(hdf5)
    if picture:
        from phon_wigner.conductivity.plots import plot_broadening

        save_figure(plot_broadening(scan), picture)
        scan.to_csv(data_path(picture))
    return 0
