"""The report of a round: one PNG with four panels and one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from al_committee.atomic_write import write_atomically
from al_committee.committee.calibration import LEVELS, confidence_curve, standardised_errors
from al_committee.errors import MissingExtraError
from al_committee.loop.rounds import RoundSummary
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.scoring import HISTOGRAM_EDGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_report", "write_report"]

logger = logging.getLogger(__name__)

COLUMNS = (
    ("round", "round", 1.0, "{:d}"),
    ("recommended", "recommended", 1.0, "{:d}"),
    ("selected", "selected", 1.0, "{:d}"),
    ("labelled", "labelled", 1.0, "{:d}"),
    ("failed", "failed", 1.0, "{:d}"),
    ("pending", "pending", 1.0, "{:d}"),
    ("training_labels", "labels so far", 1.0, "{:d}"),
    ("force_rmse", "force RMSE (meV/Å)", 1e3, "{:.1f}"),
    ("area", "miscalibration", 1.0, "{:.3f}"),
    ("scale", "scale s", 1.0, "{:.2f}"),
    ("area_scaled", "miscalibration with s", 1.0, "{:.3f}"),
    ("rank_correlation", "ε–error rank corr.", 1.0, "{:.2f}"),
)


def format_rows(rows: Sequence[RoundSummary]) -> list[list[str]]:
    """Table of rounds as text: a header, then one row per round."""
    table = [[title for _, title, _, _ in COLUMNS]]
    for row in rows:
        cells = []
        for key, _, factor, pattern in COLUMNS:
            value = getattr(row, key)
            cells.append("–" if value is None else pattern.format(value * factor if factor != 1.0 else value))
        table.append(cells)
    return table


def write_report(run: RunDirectory, number: int) -> list[Path]:
    """Write ``report.html`` and, with matplotlib, ``report.png`` into a round's folder.

    Parameters
    ----------
    run : RunDirectory
        The run directory.
    number : int
        The round.

    Returns
    -------
    list of Path
        Files written. Without matplotlib the page holds the table alone and says how to get the figures.
    """
    folder = run.rounds.round_folder(number)
    rows = [run.rounds.summary(n) for n in run.rounds.numbers() if n <= number]
    written = []
    try:
        image = draw_report(run, number)
        write_atomically(folder / "report.png", lambda handle: handle.write(image))
        written.append(folder / "report.png")
        figure = f'<img alt="figures" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
    except MissingExtraError as error:
        logger.info("%s", error)
        figure = f"<p>{html.escape(str(error))}</p>"
    table = format_rows(rows)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in table[1:])
    failed = "".join(
        f"<li>{html.escape(record.name)}: {html.escape(record.reason)}</li>"
        for record in list(run.failed().values())[:50]
    )
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Active learning, round {number}</title>
<style>body{{font-family:sans-serif;margin:2em;max-width:80em}}table{{border-collapse:collapse}}
td,th{{border:1px solid #bbb;padding:.3em .6em;text-align:right}}img{{max-width:100%}}</style>
<h1>Active learning, round {number}</h1>
<table><tr>{head}</tr>{body}</table>
{figure}
<h2>Failed labels</h2><ul>{failed or "<li>none</li>"}</ul>
</html>
"""
    write_atomically(folder / "report.html", lambda handle: handle.write(page.encode()))
    written.append(folder / "report.html")
    return written


def draw_report(run: RunDirectory, number: int) -> bytes:
    """Draw recommended against round, error against labels, the histogram of ε, and calibration.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib: pip install 'al-committee[plot]'") from error
    rows = [run.rounds.summary(n) for n in run.rounds.numbers() if n <= number]
    buffer = io.BytesIO()
    with rc_context(fname=Path(__file__).with_name("paper.mplstyle")):
        figure = Figure(figsize=(7.0, 5.4), layout="constrained")  # two columns of a journal
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 2)
        _draw_recommended(panels[0, 0], rows)
        _draw_error(panels[0, 1], rows)
        _draw_histogram(panels[1, 0], run, number)
        _draw_calibration(panels[1, 1], run, number)
        figure.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def _draw_recommended(panel: Axes, rows: Sequence[RoundSummary]) -> None:
    """Structures recommended and labels made, per round."""
    known = [(row.round, row.recommended) for row in rows if row.recommended is not None]
    panel.plot([number for number, _ in known], [count for _, count in known], "o-", label="recommended")
    panel.bar([r.round for r in rows], [r.labelled or 0 for r in rows], alpha=0.3, label="labelled")
    panel.set(xlabel="round", ylabel="structures", title="Recommended structures")
    panel.set_xticks([row.round for row in rows])
    panel.legend()


def _draw_error(panel: Axes, rows: Sequence[RoundSummary]) -> None:
    """Force error on the test set against labels."""
    known = [
        (row.training_labels, 1e3 * row.force_rmse)
        for row in rows
        if row.training_labels is not None and row.force_rmse is not None
    ]
    panel.plot([labels for labels, _ in known], [error for _, error in known], "s-")
    panel.set(xlabel="labels", ylabel="force RMSE (meV/Å)", title="Error on the test set")
    if known:
        panel.set_yscale("log")


def _draw_histogram(panel: Axes, run: RunDirectory, number: int) -> None:
    """Histogram of ε over the atoms of the pool, every round in its colour."""
    drawn, filled = False, np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    for n in [n for n in run.rounds.numbers() if n <= number]:
        selection = run.rounds.selection(n)
        counts = selection.histogram if selection is not None else ()
        if counts:
            panel.stairs(counts, 1e3 * HISTOGRAM_EDGES, label=f"round {n}")
            drawn, filled = True, filled + np.asarray(counts)
    panel.axvline(1e3 * run.config.selection.threshold, color="k", ls=":", lw=1)
    panel.set(xscale="log", xlabel="ε (meV/Å)", ylabel="atoms", title="Disagreement over the pool")
    if drawn:
        bins = np.flatnonzero(filled)
        panel.set_xlim(1e3 * HISTOGRAM_EDGES[bins[0]] / 1.3, 1e3 * HISTOGRAM_EDGES[bins[-1] + 1] * 1.3)
        panel.legend()


def _draw_calibration(panel: Axes, run: RunDirectory, number: int) -> None:
    """Observed against expected confidence on the test set, before and after scaling."""
    path = run.rounds.round_folder(number) / "evaluation.npz"
    panel.plot([0, 1], [0, 1], "k:", lw=1)
    evaluation = run.rounds.evaluation(number)
    test = evaluation.test.calibration if evaluation is not None and evaluation.test is not None else None
    if path.exists() and test is not None:
        with np.load(path) as data:
            z = standardised_errors(data["test_deviation"], data["test_error"])
        panel.plot(LEVELS, confidence_curve(z), label=f"ε, area {test.area:.3f}")
        scaled = confidence_curve(z, test.scale)
        panel.plot(LEVELS, scaled, label=f"{test.scale:.2f}·ε, area {test.area_scaled:.3f}")
        panel.legend()
    panel.set(xlabel="expected share", ylabel="observed share", title="Calibration on the test set")
