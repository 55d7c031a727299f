"""Every figure of one crystal, with the data behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from screen_cli.report.figures.crystal.conductivity_curve import data_behind_conductivity, plot_conductivity
from screen_cli.report.figures.crystal.dispersion import data_behind_bands, data_behind_dos, plot_bands
from screen_cli.report.figures.style import save_figure
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.harmonic import Harmonic
from screen_cli.store.atomic_write import write_text


def write_bands(harmonic: Harmonic, stem: Path, *, title: str = "") -> Iterator[Path]:
    """Draw bands with density of states as PNG, SVG and PDF, and write both as CSV; iterate over the files."""
    yield from save_figure(plot_bands(harmonic.bands, harmonic.density_of_states, title=title), stem)
    yield _write(stem, "", data_behind_bands(harmonic.bands))
    yield _write(stem, "-dos", data_behind_dos(harmonic.density_of_states))


def write_conductivity(conductivity: Conductivity, stem: Path, *, title: str = "") -> Iterator[Path]:
    """Draw κ(T) as PNG, SVG and PDF, where there are two temperatures, and write it as CSV; iterate over the files."""
    curves = (conductivity.temperatures, conductivity.kappa_p, conductivity.kappa_c)
    if len(conductivity.temperatures) > 1:
        yield from save_figure(plot_conductivity(*curves, title=title), stem)
    yield _write(stem, "", data_behind_conductivity(*curves))


def _write(stem: Path, more: str, text: str) -> Path:
    """Write a table beside the figure."""
    path = stem.with_name(f"{stem.name}{more}.csv")
    write_text(path, text)
    return path
