"""The report of a run: one self-contained HTML page, and its figures as PNG and SVG for papers.

``material`` reads the run directory, ``make_figures`` prepares every figure once, and then ``page`` (with the
scripts in ``page/web``) and ``figures.drawing`` (matplotlib) draw the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from screen_cli.report.figures.conductivity import coherence_share, kappa_against_msd
from screen_cli.report.figures.maps import bonding_map, descriptor_map, msd_by_element
from screen_cli.report.figures.parity import parity
from screen_cli.report.figures.specification import Figure, Missing
from screen_cli.report.material import Material, ReportOptions, read_material
from screen_cli.store.atomic_write import write_text
from screen_cli.store.run_directory import RunDirectory

__all__ = ["Report", "ReportOptions", "write_report"]


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
        """Write every figure that has data as PNG (200 dpi) and SVG; return the files."""
        from screen_cli.report.figures.drawing import draw

        folder.mkdir(parents=True, exist_ok=True)
        names = [str(row.get("formula") or row["id"]) for row in self.material.rows]
        paths = []
        for figure in self.figures:
            if isinstance(figure, Missing):
                continue
            canvas = draw(figure, names)
            for suffix in ("png", "svg"):
                path = folder / f"{figure.name}.{suffix}"
                canvas.savefig(path, dpi=200, metadata={"Date": None} if suffix == "svg" else None)
                paths.append(path)
        return paths


def make_figures(material: Material) -> list[Figure]:
    """Prepare every figure of the report; one without data says what it needs."""
    makers: list[Callable[[Material], list[Figure]]] = [
        kappa_against_msd,
        coherence_share,
        parity,
        msd_by_element,
        bonding_map,
        descriptor_map,
    ]
    return [figure for make in makers for figure in make(material)]


def write_report(run: RunDirectory, path: Path | None = None) -> Path:
    """Write the HTML page of a run with the usual options, by default as ``report.html`` in it; return its path."""
    path = path or run.root / "report.html"
    Report(run).write_page(path)
    return path
