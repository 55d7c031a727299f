"""The report: one self-contained HTML page about a run."""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from screen_cli.atomic_write import write_text
from screen_cli.run_directory import RunDirectory
from screen_cli.table import MAIN_COLUMNS, cell

Row = dict[str, Any]


def write_report(run: RunDirectory, path: Path | None = None) -> Path:
    """Write the HTML page of a run; return its path.

    Parameters
    ----------
    run : RunDirectory
    path : Path, optional
        Default ``report.html`` in the run directory.
    """
    rows = run.rows()
    manifest = run.manifest()
    calculator = run.settings.calculator
    options = ", ".join(f"{key} = {value}" for key, value in calculator.options.items())
    page = Template(files("screen_cli").joinpath("report_template.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(run.settings.title or f"Screening run {run.root.name}"),
        subtitle=html.escape(
            f"Calculator {calculator.name}{f' ({options})' if options else ''}; conductivity solver "
            f"{run.settings.conductivity.solver} ({run.settings.conductivity.method}); started {manifest['created']}."
        ),
        funnel=_funnel(rows),
        warnings=_warnings(rows),
        headings="".join(
            f"<th{_text_class(column.format)}>{html.escape(column.title).replace(chr(10), '<br>')}</th>"
            for column in MAIN_COLUMNS
        ),
        body="".join(_table_row(row) for row in rows),
        figures="".join(_figure(figure, caption) for _, figure, caption in draw_figures(rows))
        or "<p>No conductivity yet.</p>",
        reasons=_reasons(rows),
        manifest=html.escape(json.dumps(manifest, indent=1)),
    )
    path = path or run.root / "report.html"
    write_text(path, page)
    return path


def write_figures(run: RunDirectory, folder: Path) -> list[Path]:
    """Write the report's figures as PNG (200 dpi) and SVG; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure, _ in draw_figures(run.rows()):
        for suffix in ("png", "svg"):
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, dpi=200)
            paths.append(path)
    return paths


def draw_figures(rows: list[Row]) -> list[tuple[str, Any, str]]:
    """Draw the figures that the rows allow.

    Returns
    -------
    list of (str, Figure, str)
        Name, figure, caption: κ against max-MSD and κ_C/κ against κ, as Figs. 4 and 6 of the SDNNFF paper
        (doi:10.1038/s43246-023-00390-3). Crystals whose fit is not trusted are drawn open.
    """
    from matplotlib.figure import Figure

    figures: list[tuple[str, Any, str]] = []
    drawn = [row for row in rows if (row.get("kappa_total_w_mk") or 0) > 0]
    total = np.array([row["kappa_total_w_mk"] for row in drawn], dtype=float)
    with_msd = [index for index, row in enumerate(drawn) if (row.get("max_msd") or 0) > 0]
    if with_msd:
        msd = np.array([drawn[index]["max_msd"] for index in with_msd], dtype=float)
        figure = Figure(figsize=(5, 3.8), layout="constrained")
        axes = figure.subplots()
        _scatter(axes, msd, total[with_msd], [drawn[index] for index in with_msd], "#b3401a")
        if len(msd) >= 3 and np.ptp(np.log(msd)) > 0.1:
            slope, intercept = np.polyfit(np.log(msd), np.log(total[with_msd]), 1)
            grid = np.array([msd.min(), msd.max()])
            axes.plot(grid, np.exp(intercept) * grid**slope, "-", lw=1, color="#5b6675", label=f"slope {slope:.2f}")
            axes.legend(frameon=False)
        axes.set_xlabel("largest mean square displacement at 300 K (Å²)")
        axes.set_ylabel("κ at 300 K (W m⁻¹ K⁻¹)")
        figures.append(("kappa-msd", figure, "κ falls with the largest mean square displacement of an atom."))
    coherent = [index for index, row in enumerate(drawn) if (row.get("kappa_c_w_mk") or 0) > 0]
    if coherent:
        share = np.array([100 * drawn[index]["kappa_c_w_mk"] / total[index] for index in coherent])
        figure = Figure(figsize=(5, 3.8), layout="constrained")
        axes = figure.subplots()
        _scatter(axes, total[coherent], share, [drawn[index] for index in coherent], "#24527a")
        axes.axhline(50, ls="--", lw=1, color="#5b6675")
        axes.set_xlabel("κ at 300 K (W m⁻¹ K⁻¹)")
        axes.set_ylabel("share of coherences κ_C/κ (%)")
        caption = "Wave-like share of κ; above the dashed 50 % line coherences dominate."
        figures.append(("coherence-share", figure, caption))
    return figures


def _scatter(axes: Any, x: Any, y: Any, rows: list[Row], colour: str) -> None:
    """Draw crystals on doubly logarithmic axes; open where the fit is not trusted; named when they are few."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    trusted = np.array([row.get("trusted") not in (0, False) for row in rows])
    axes.plot(x[trusted], y[trusted], "o", color=colour, alpha=0.8)
    axes.plot(x[~trusted], y[~trusted], "o", color=colour, mfc="none")
    if len(rows) <= 40:
        for row, x_one, y_one in zip(rows, x, y, strict=True):
            axes.annotate(row["formula"], (x_one, y_one), xytext=(4, 3), textcoords="offset points", fontsize=7)
    for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
        scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)


def _funnel(rows: list[Row]) -> str:
    """Counts from candidates to low κ; failures are a state of their own."""
    states = Counter(row["state"] for row in rows)
    finished = [row for row in rows if row.get("kappa_total_w_mk") is not None]
    steps = [
        ("candidates", len(rows)),
        ("stable", sum(bool(row.get("stable")) for row in rows)),
        ("with κ", len(finished)),
        ("κ < 1 W/mK", sum(row["kappa_total_w_mk"] < 1 for row in finished)),
        ("skipped", states["skipped"]),
        ("failed", states["failed"]),
        ("pending", states["pending"]),
    ]
    return "".join(f"<li><b>{count}</b>{name}</li>" for name, count in steps if count or name != "pending")


def _warnings(rows: list[Row]) -> str:
    """Crystals whose force constants the fit itself does not trust."""
    rough = [row["formula"] for row in rows if row.get("trusted") in (0, False)]
    if not rough:
        return ""
    names = html.escape(", ".join(rough[:30]) + (" …" if len(rough) > 30 else ""))
    return (
        f"<p><b>Do not trust κ of {len(rough)} crystals:</b> their forces are too rough for the fit "
        f"(column <code>residual</code>): {names}.</p>"
    )


def _table_row(row: Row) -> str:
    """One crystal as HTML."""
    cells = []
    for column in MAIN_COLUMNS:
        value = row.get(column.name)
        sort_value = f' data-value="{value}"' if isinstance(value, (int, float)) else ""
        cells.append(f"<td{_text_class(column.format)}{sort_value}>{html.escape(cell(row, column))}</td>")
    return "<tr>" + "".join(cells) + "</tr>"


def _text_class(form: str) -> str:
    """Class attribute of text columns."""
    return "" if form else ' class="text"'


def _reasons(rows: list[Row]) -> str:
    """Why crystals failed or were skipped, grouped."""
    groups = Counter((row["state"], row["stage"] or "", row["reason"] or "") for row in rows if row["reason"])
    if not groups:
        return "<p>Everything was finished.</p>"
    items = "".join(
        f"<li>{count} × {html.escape(state)} in {html.escape(stage)}: {html.escape(reason)}</li>"
        for (state, stage, reason), count in groups.most_common(200)
    )
    return f"<ul>{items}</ul>"


def _figure(figure: Any, caption: str) -> str:
    """Inline a figure as SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
