"""Figures of a round: what was recommended, the error, the disagreement, the calibration; and the data behind them."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from al_committee.committee.calibration import LEVELS, confidence_curve, standardised_errors
from al_committee.errors import MissingExtraError
from al_committee.file_access.damaged_npz import DAMAGED_NPZ
from al_committee.file_access.figure_file import FORMATS, figure_content, label_few_ticks, new_figure, paper_style
from al_committee.loop.rounds import RoundSummary
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.scoring import HISTOGRAM_EDGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

_INK = "#123456"  # stands for the colour of the page's text in the SVG of a page
_MOST_CURVES = 5


@dataclass(frozen=True)
class RoundData:
    """What the figures of a round show.

    Parameters
    ----------
    rows : list of RoundSummary
        Rounds up to this one.
    histograms : dict of int to tuple of int
        Atoms of the pool by ε, by round; edges are ``HISTOGRAM_EDGES``, eV/Å.
    threshold : float
        Of the selection, eV/Å.
    calibration : Calibration curves or None
    """

    rows: list[RoundSummary]
    histograms: dict[int, tuple[int, ...]]
    threshold: float
    calibration: CalibrationCurves | None


@dataclass(frozen=True)
class CalibrationCurves:
    """Observed against expected confidence on the test set.

    Parameters
    ----------
    observed, observed_scaled : ndarray
        float64 (n_levels,), share of force components within the interval, by ``LEVELS``: with ε, and with s·ε.
    scale, area, area_scaled : float
        Of the calibration.
    """

    observed: NDArray[np.float64]
    observed_scaled: NDArray[np.float64]
    scale: float
    area: float
    area_scaled: float


def data_of_round(run: RunDirectory, number: int) -> RoundData:
    """Read what the figures of a round show."""
    numbers = [n for n in run.rounds.numbers() if n <= number]
    selections = {n: run.rounds.selection(n) for n in numbers}
    return RoundData(
        rows=[run.rounds.summary(n) for n in numbers],
        histograms={n: tuple(one.histogram) for n, one in selections.items() if one is not None and one.histogram},
        threshold=run.config.selection.threshold,
        calibration=_calibration(run, number),
    )


def _calibration(run: RunDirectory, number: int) -> CalibrationCurves | None:
    """Curves of the test set; None without one."""
    path = run.rounds.round_folder(number) / "evaluation.npz"
    evaluation = run.rounds.evaluation(number)
    test = evaluation.test.calibration if evaluation is not None and evaluation.test is not None else None
    if test is None or not path.exists():
        return None
    try:
        with np.load(path) as data:
            z = standardised_errors(data["test_deviation"], data["test_error"])
    except DAMAGED_NPZ as error:
        logger.warning("%s is damaged (%s): its calibration curves are left out", path, error)
        return None
    curves = confidence_curve(z), confidence_curve(z, test.scale)
    return CalibrationCurves(*curves, scale=test.scale, area=test.area, area_scaled=test.area_scaled)


def draw_together(data: RoundData) -> dict[str, bytes]:
    """Draw the four panels of a round over two columns of a journal.

    Returns
    -------
    dict of str to bytes
        A file by format: png, svg, pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    with _style():
        figure = new_figure(7.0, 5.4)
        for label, draw, panel in zip("abcd", PANELS.values(), figure.subplots(2, 2).flat, strict=True):
            draw(panel, data)
            panel.set_title(f"({label})", loc="left")
        return {form: figure_content(figure, form) for form in FORMATS}


def svg_of_panel(name: str, data: RoundData) -> str:
    """Draw one panel as an SVG element for a page: in the colour of its text, with ids of its own.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    with _style():
        figure = new_figure(5.0, 3.2)
        panel = figure.subplots()
        PANELS[name](panel, data)
        _ink(panel)
        drawing = figure_content(figure, "svg", transparent=True).decode()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    drawing = re.sub(r'\bid="|url\(#|href="#', lambda found: f"{found[0]}{name}-", drawing)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{TITLES[name]}"', 1)


def csv_of(data: RoundData) -> dict[str, str]:
    """Give what the figures show as CSV, by name of the panel it is behind; full precision, units in the headings."""
    names = [field.name for field in dataclasses.fields(RoundSummary)]
    units = {"force_rmse": "force_rmse_ev_angstrom", "force_mae": "force_mae_ev_angstrom"}
    files = {
        "rounds": [[units.get(name, name) for name in names], *([getattr(row, n) for n in names] for row in data.rows)]
    }
    if data.histograms:
        head = ["epsilon_low_ev_angstrom", "epsilon_high_ev_angstrom", *(f"atoms_round_{n}" for n in data.histograms)]
        lines = zip(HISTOGRAM_EDGES[:-1], HISTOGRAM_EDGES[1:], *data.histograms.values(), strict=True)
        files["disagreement"] = [head, *(list(line) for line in lines)]
    if data.calibration is not None:
        curves = (LEVELS, data.calibration.observed, data.calibration.observed_scaled)
        head = ["expected_share", "observed_share", "observed_share_scaled"]
        files["calibration"] = [head, *(list(line) for line in zip(*curves, strict=True))]
    return {name: _csv(lines) for name, lines in files.items()}


def _csv(lines: Sequence[Sequence[object]]) -> str:
    """Write lines as CSV; what is not known stays empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _ink(panel: Axes) -> None:
    """Draw frame, ticks and words in the colour that stands for the page's."""
    from matplotlib.text import Text

    panel.tick_params(which="both", colors=_INK)
    for spine in panel.spines.values():
        spine.set_edgecolor(_INK)
    for text in panel.findobj(Text):
        text.set_color(_INK)


def _style() -> AbstractContextManager[None]:
    """Give the context in which figures are drawn and saved: the style of all packages."""
    try:
        return paper_style()
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib: pip install 'al-committee[plot]'") from error


def _draw_recommended(panel: Axes, data: RoundData) -> None:
    """Structures recommended and labels made, per round."""
    from matplotlib.ticker import MaxNLocator

    known = [(row.round, row.recommended) for row in data.rows if row.recommended is not None]
    panel.bar(
        [row.round for row in data.rows], [row.labelled or 0 for row in data.rows], color="#B8D4E8", label="labelled"
    )
    panel.plot([number for number, _ in known], [count for _, count in known], "o-", ms=4, label="recommended")
    panel.set(xlabel="round", ylabel="structures", ylim=(0, None))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend()


def _draw_error(panel: Axes, data: RoundData) -> None:
    """Force error on the test set against labels."""
    known = [(row.training_labels or 0, 1e3 * row.force_rmse) for row in data.rows if row.force_rmse is not None]
    panel.plot([labels for labels, _ in known], [error for _, error in known], "o-", ms=4)
    panel.set(xlabel="labels for training", ylabel="force RMSE on the test set (meV/Å)")
    if known:
        panel.set_yscale("log")
        label_few_ticks(panel)
    else:
        panel.text(0.5, 0.5, "no test set", ha="center", va="center", transform=panel.transAxes)


def _draw_histogram(panel: Axes, data: RoundData) -> None:
    """Histogram of ε over the atoms of the pool, first and last rounds in colours of their own."""
    filled = np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    shown = sorted(data.histograms)
    for number in shown if len(shown) <= _MOST_CURVES else [shown[0], *shown[1 - _MOST_CURVES :]]:
        panel.stairs(data.histograms[number], 1e3 * HISTOGRAM_EDGES, label=f"round {number}")
        filled += np.asarray(data.histograms[number])
    panel.axvline(1e3 * data.threshold, color="#8A929C", ls="--", lw=1.2, label="threshold")
    panel.set(xscale="log", xlabel="disagreement ε (meV/Å)", ylabel="atoms of the pool")
    if filled.any():
        bins = np.flatnonzero(filled)
        panel.set_xlim(1e3 * HISTOGRAM_EDGES[bins[0]] / 1.3, 1e3 * HISTOGRAM_EDGES[bins[-1] + 1] * 1.3)
    panel.legend()


def _draw_calibration(panel: Axes, data: RoundData) -> None:
    """Observed against expected confidence on the test set, before and after scaling."""
    panel.plot([0, 1], [0, 1], ":", color="#8A929C", lw=1, label="calibrated")
    curves = data.calibration
    if curves is not None:
        panel.plot(LEVELS, curves.observed, label=f"ε, area {curves.area:.3f}")
        panel.plot(LEVELS, curves.observed_scaled, label=f"{curves.scale:.2f} ε, area {curves.area_scaled:.3f}")
    panel.set(xlabel="expected share", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
    panel.legend(loc="upper left")


PANELS: dict[str, Callable[[Axes, RoundData], None]] = {
    "recommended": _draw_recommended,
    "error": _draw_error,
    "disagreement": _draw_histogram,
    "calibration": _draw_calibration,
}
TITLES = {
    "recommended": "Structures recommended and labelled",
    "error": "Error on the test set",
    "disagreement": "Disagreement over the pool",
    "calibration": "Calibration on the test set",
}
