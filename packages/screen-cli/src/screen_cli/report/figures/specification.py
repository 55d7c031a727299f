"""What a figure of the report is, before anyone draws it: the page and the PNG are two drawings of one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """One axis.

    Parameters
    ----------
    label : str
        Quantity and unit.
    log : bool
        Logarithmic scale.
    low, high : float, optional
        Limits; default: from the points, with a margin.
    ticks : bool
        Whether numbers stand on it (not on a t-SNE map).
    """

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: bool = True


@dataclass(frozen=True)
class Guide:
    """A line that guides the eye.

    Parameters
    ----------
    label : str
    x, y : tuple of two floats, or None
        Its ends; ``None`` for x (y) spans the whole axis at the given y (x), so x = (g, g), y = None is a gate.
    dashed : bool
    in_view : bool
        Whether the axes are made long enough to show it.
    """

    label: str
    x: tuple[float, float] | None
    y: tuple[float, float] | None
    dashed: bool = False
    in_view: bool = True


@dataclass(frozen=True)
class Colouring:
    """One way to colour the points.

    Parameters
    ----------
    name : str
        Shown on the button, with unit.
    kind : {"category", "log", "linear"}
    values : sequence of str or float
        One per point; ``None`` where there is none (grey).
    """

    name: str
    kind: Literal["category", "log", "linear"]
    values: Sequence[str | float | None]


@dataclass(frozen=True)
class Fact:
    """A number under a figure, beside the paper's where it printed one.

    Parameters
    ----------
    label, here, paper : str
    """

    label: str
    here: str
    paper: str = ""


@dataclass(frozen=True)
class Scatter:
    """Crystals as points.

    Parameters
    ----------
    name : str
        File name and anchor.
    title, caption : str
    x, y : Axis
    points : ndarray
        int64 (n_points,): rows of the table.
    x_values, y_values : ndarray
        float64 (n_points,).
    colourings : list of Colouring
        The first is drawn first; the only one in the figures of papers.
    guides : list of Guide
    facts : list of Fact
    open_points : ndarray of bool, optional
        (n_points,): crystals whose fit is not trusted.
    y_bars : ndarray, optional
        float64 (n_points, 2): lower and upper end of one standard deviation of a committee; NaN where there is none.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    points: NDArray[np.int64]
    x_values: NDArray[np.float64]
    y_values: NDArray[np.float64]
    colourings: list[Colouring] = field(default_factory=list)
    guides: list[Guide] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    open_points: NDArray[np.bool_] | None = None
    y_bars: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ElementMap:
    """A mean per element, drawn as a periodic table.

    Parameters
    ----------
    name, title, caption : str
    label : str
        Quantity and unit.
    values : dict of str to (float, int)
        Symbol to mean and number of crystals.
    """

    name: str
    title: str
    caption: str
    label: str
    values: dict[str, tuple[float, int]]


@dataclass(frozen=True)
class Missing:
    """A figure the run has no data for.

    Parameters
    ----------
    name, title : str
    reason : str
        What is missing and how to get it.
    """

    name: str
    title: str
    reason: str


Figure = Scatter | ElementMap | Missing


def table_position(number: int) -> tuple[int, int]:
    """Return row and column (from 1) of an element in the periodic table; lanthanides in row 8, actinides in 9."""
    if number <= 2:
        return 1, 1 if number == 1 else 18
    for row, (first, last) in enumerate(((3, 10), (11, 18), (19, 36), (37, 54), (55, 86), (87, 118)), start=2):
        if first <= number <= last:
            offset = number - first + 1
            if row <= 3:
                return row, offset if offset <= 2 else offset + 10
            if row <= 5:
                return row, offset
            if 3 <= offset <= 17:
                return row + 2, offset
            return row, offset if offset <= 2 else offset - 14
    raise ValueError(f"there is no element {number}; expected 1 to 118.")
