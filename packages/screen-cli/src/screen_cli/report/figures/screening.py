"""Every figure about the crystals of a run."""

from __future__ import annotations

from collections.abc import Callable

from screen_cli.report.figures.conductivity import coherence_share, kappa_against_msd
from screen_cli.report.figures.maps import bonding_map, descriptor_map, msd_by_element
from screen_cli.report.figures.parity import parity
from screen_cli.report.figures.specification import Figure
from screen_cli.report.material import Material


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
