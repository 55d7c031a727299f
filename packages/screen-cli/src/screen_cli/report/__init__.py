"""The report of a run: one self-contained HTML page, and its figures for papers: PNG, SVG, PDF, and the data as CSV.

``material`` reads the run directory, ``make_figures`` prepares every figure once, and then ``page`` (with the
scripts in ``page/web``) and ``figures.drawing`` (matplotlib) draw the same numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from screen_cli.report.figures.conductivity import coherence_share, kappa_against_msd
from screen_cli.report.figures.maps import bonding_map, descriptor_map, msd_by_element
from screen_cli.report.figures.parity import parity
from screen_cli.report.figures.specification import ElementMap, Figure, Missing, Scatter
from screen_cli.report.figures.warm import frequencies_at_temperatures, kappa_with_and_without_temperature
from screen_cli.report.material import Material, ReportOptions, read_material
from screen_cli.store.atomic_write import write_text
from screen_cli.store.run_directory import RunDirectory

__all__ = ["Report", "ReportOptions", "data_behind", "write_report"]


class Report:
    """A run, read once, ready to be written as a page and as figures.

    Parameters
    ----------
    run : RunDirectory
    options : ReportOptions, optional

    Raises
    ------
    FilterError
        The filter, the reference or the descriptor file cannot be used.
    """

    def __init__(self, run: RunDirectory, options: ReportOptions | None = None) -> None:
        self.material = read_material(run, options or ReportOptions())
        self.figures = make_figures(self.material)

    def write_page(self, path: Path) -> None:
        """Write the HTML page; links to the records are relative to its folder."""
        from screen_cli.report.page.render import render_page

        write_text(path, render_page(self.material, self.figures, path.parent))

    def write_figures(self, folder: Path) -> list[Path]:
        """Write every figure that has data as PNG, SVG and PDF, and that data as CSV; return the files."""
        from screen_cli.report.figures.drawing import draw
        from screen_cli.report.figures.style import save_figure

        folder.mkdir(parents=True, exist_ok=True)
        names = [str(row.get("formula") or row["id"]) for row in self.material.rows]
        paths: list[Path] = []
        for figure in self.figures:
            if isinstance(figure, Missing):
                continue
            paths += save_figure(draw(figure, names), folder / figure.name)
            paths.append(folder / f"{figure.name}.csv")
            write_text(paths[-1], data_behind(figure, names))
        return paths


def data_behind(figure: Scatter | ElementMap, names: Sequence[str]) -> str:
    """Write what a figure shows as CSV: a line per crystal or element, quantities with units as headings.

    Parameters
    ----------
    figure : Scatter or ElementMap
    names : sequence of str
        Of the table's rows.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    if isinstance(figure, ElementMap):
        writer.writerow(("element", figure.label, "crystals"))
        writer.writerows((symbol, mean, count) for symbol, (mean, count) in figure.values.items())
        return lines.getvalue()
    colours = [colouring.name for colouring in figure.colourings]
    writer.writerow(("crystal", figure.x.label or "x", figure.y.label or "y", *colours))
    for place, point in enumerate(figure.points):
        shown = [colouring.values[place] for colouring in figure.colourings]
        writer.writerow((names[point], figure.x_values[place], figure.y_values[place], *shown))
    return lines.getvalue()


def make_figures(material: Material) -> list[Figure]:
    """Prepare every figure of the report; one without data says what it needs."""
    makers: list[Callable[[Material], list[Figure]]] = [
        kappa_against_msd,
        coherence_share,
        parity,
        msd_by_element,
        bonding_map,
        descriptor_map,
        frequencies_at_temperatures,
        kappa_with_and_without_temperature,
    ]
    figures = [figure for make in makers for figure in make(material)]
    return figures if material.with_paper else [_of_the_run_alone(figure) for figure in figures]


def _of_the_run_alone(figure: Figure) -> Figure:
    """Leave out the paper's numbers: beside a handful of crystals they mean nothing."""
    if not isinstance(figure, Scatter):
        return figure
    return replace(figure, facts=[replace(fact, paper="") for fact in figure.facts])


def write_report(run: RunDirectory, path: Path | None = None) -> Path:
    """Write the HTML page of a run with the usual options, by default as ``report.html`` in it; return its path."""
    path = path or run.root / "report.html"
    Report(run).write_page(path)
    return path
