"""The report of a round: one self-contained HTML page, its figures as PNG, SVG and PDF, and the data behind them."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from pathlib import Path

from al_committee.errors import MissingExtraError
from al_committee.file_access.atomic_write import write_atomically
from al_committee.loop.pages.dress import numbers, table, whole_page
from al_committee.loop.pages.figures import (
    PANELS,
    TITLES,
    RoundData,
    csv_of,
    data_of_round,
    draw_together,
    svg_of_panel,
)
from al_committee.loop.rounds import RoundSummary
from al_committee.loop.run_directory import RunDirectory

__all__ = ["write_report"]

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
_MOST_FAILED = 50


def format_rows(rows: Sequence[RoundSummary]) -> list[list[str]]:
    """Table of rounds as text: a header, then one row per round."""
    return [[title for _, title, _, _ in COLUMNS], *(list(_cells(row).values()) for row in rows)]


def _cells(row: RoundSummary) -> dict[str, str]:
    """Text of each column of a round, by heading."""
    cells = {}
    for key, title, factor, pattern in COLUMNS:
        value = getattr(row, key)
        cells[title] = "–" if value is None else pattern.format(value * factor if factor != 1.0 else value)
    return cells


def write_report(run: RunDirectory, number: int) -> list[Path]:
    """Write ``report.html`` and the data behind its figures as CSV; with matplotlib the figures too.

    Parameters
    ----------
    run : RunDirectory
        The run directory.
    number : int
        The round.

    Returns
    -------
    list of Path
        Files written: ``report.html``, ``report-NAME.csv`` and, with matplotlib, ``report.png``, ``report.svg`` and
        ``report.pdf``. Without it the page holds the tables alone and says how to get the figures.
    """
    folder = run.rounds.round_folder(number)
    data = data_of_round(run, number)
    written = []
    for name, text in csv_of(data).items():
        written.append(_write(folder / f"report-{name}.csv", text.encode()))
    try:
        written += [_write(folder / f"report.{kind}", file) for kind, file in draw_together(data).items()]
        cards = "".join(_card(name, data) for name in PANELS)
    except MissingExtraError as error:
        logger.info("%s", error)
        cards = f"<p>{html.escape(str(error))}</p>"
    written.append(_write(folder / "report.html", _page(run, number, data, cards).encode()))
    return written


def _write(path: Path, content: bytes) -> Path:
    """Write a file whole."""
    write_atomically(path, lambda handle: handle.write(content))
    return path


def _card(name: str, data: RoundData) -> str:
    """One figure of the page."""
    return f"<figure><h2>{TITLES[name]}</h2>{svg_of_panel(name, data)}</figure>"


def _page(run: RunDirectory, number: int, data: RoundData, cards: str) -> str:
    """Give the whole page."""
    last = _cells(data.rows[-1])
    wanted = ("labels so far", "force RMSE (meV/Å)", "miscalibration", "recommended")
    failed = [
        f"<li>{html.escape(record.name)}: {html.escape(record.reason)}</li>"
        for record in list(run.failed().values())[:_MOST_FAILED]
    ]
    head, *rows = format_rows(data.rows)
    parts = [
        f'<p class="soft">Run directory {html.escape(run.path.name)}. The figures as PNG, SVG and PDF, and the data '
        "behind them as CSV, lie beside this page.</p>",
        numbers({name: last[name] for name in wanted if last[name] != "–"}),
        f'<div class="figures">{cards}</div>',
        f"<h2>Rounds</h2>{table(head, rows, 'Rounds')}",
        "<h2>Failed labels</h2>",
        f"<ul>{''.join(failed)}</ul>" if failed else "<p>None.</p>",
    ]
    return whole_page(f"Active learning, round {number}", "\n".join(parts))
