"""Colours of the report, one set for the page and for the figures of papers; safe for colour-blind readers."""

from __future__ import annotations

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
