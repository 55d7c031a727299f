"""One style for every figure: sizes, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from screen_cli.report.figures.figure_file import FORMATS, figure_content
from screen_cli.store.atomic_write import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.39
"""Width of a journal's column, inches: 8.6 cm."""

KAPPA = "κ (W m⁻¹ K⁻¹)"
"""How the axis of a conductivity is named."""

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B4FA3", "#8C564B")
"""Okabe and Ito's colours without their black and yellow, and two darker ones; most frequent category first."""

OTHER = "#8A929C"
"""Categories beyond the list, and points without a value."""


def sequential(n_colours: int = 24, *, dark: bool = False) -> list[str]:
    """Return viridis, dark to light, as hex strings.

    Without its palest tenth, which white paper swallows, or (``dark``) without its darkest fifth.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    viridis = colormaps["viridis"]
    low, high = (0.22, 1.0) if dark else (0.0, 0.92)
    return [to_hex(viridis(low + (high - low) * index / (n_colours - 1))) for index in range(n_colours)]


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, each file whole or not at all.

    Parameters
    ----------
    figure : Figure
    stem : Path
        Name of the files without their endings.
    """
    paths = []
    for form in FORMATS:
        paths.append(stem.with_name(f"{stem.name}.{form}"))
        write_bytes(paths[-1], figure_content(figure, form))
    return paths
