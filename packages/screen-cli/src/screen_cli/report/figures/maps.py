"""Maps over all crystals: elements, bonding, and descriptors in the plane."""

from __future__ import annotations

import numpy as np

from screen_cli.errors import MissingExtraError
from screen_cli.report.descriptors import FEWEST, embed_in_plane
from screen_cli.report.figures.colourings import colourings
from screen_cli.report.figures.specification import Axis, ElementMap, Figure, Missing, Scatter
from screen_cli.report.material import Material

_MOST_MAPPED = 10_000  # minutes of t-SNE


def msd_by_element(material: Material) -> list[Figure]:
    """Mean over the crystals of each element's mean square displacement (paper: Fig. S4)."""
    name, title = "msd-by-element", "Which elements rattle"
    sums: dict[str, list[float]] = {}
    for row, crystal in zip(material.rows, material.crystals, strict=True):
        if row.get("stable"):
            for symbol, value in crystal.msd_by_element.items():
                sums.setdefault(symbol, []).append(value)
    if not sums:
        return [Missing(name, title, "No stable crystal has mean square displacements yet.")]
    values = {symbol: (float(np.mean(found)), len(found)) for symbol, found in sorted(sums.items())}
    caption = "Mean square displacement of an element's atoms, averaged over the stable crystals that hold it."
    label = f"mean square displacement at {material.msd_kelvin:g} K (Å²)"
    return [ElementMap(name, title, caption, label, values)]


def bonding_map(material: Material) -> list[Figure]:
    """Antibonding against bonding integrals of COHP, coloured by κ (paper: Fig. 5); one map for each source of them."""
    name, title = "bonding-map", "Bonding and antibonding"
    bonding, antibonding = material.column("cohp_bonding_ev"), material.column("cohp_antibonding_ev")
    known = np.isfinite(bonding) & np.isfinite(antibonding)
    if not known.any():
        return [Missing(name, title, "No COHP integrals: add the property 'cohp' (LOBSTER's files, or GPAW).")]
    sources = np.array([str(row.get("cohp_source") or "lobster") for row in material.rows])
    figures: list[Figure] = []
    for source in sorted(set(sources[known])):
        points = np.flatnonzero(known & (sources == source))
        figures.append(
            Scatter(
                name if not figures else f"{name}-{len(figures) + 1}",
                title,
                f"COHP integrated over the occupied states, mean over the bonds of a crystal, by {_program(source)}. "
                "In the paper, weak bonding with strong antibonding has κ < 3 W m⁻¹ K⁻¹ only.",
                Axis("bonding (eV per pair)"),
                Axis("antibonding (eV per pair)"),
                points,
                bonding[points],
                antibonding[points],
                colourings(material, points, "κ", "max MSD", "space group"),
            )
        )
    return figures


def _program(source: str) -> str:
    """Name of a source of COHP in words."""
    program, _, basis = source.partition(" ")
    names = {"lobster": "LOBSTER", "gpaw-lcao": "GPAW-LCAO"}
    return f"{names.get(program, program)}{f' ({basis})' if basis else ''}"


def descriptor_map(material: Material) -> list[Figure]:
    """t-SNE of the descriptor vectors, coloured by space group, κ and MSD (paper: Fig. S5)."""
    name, title = "descriptor-map", "Map of the crystals"
    shapes = [crystal.descriptor.shape for crystal in material.crystals if crystal.descriptor is not None]
    if not shapes:
        reason = (
            "No descriptor vectors. Add the property 'descriptor' to the run (properties.names), or give "
            "--descriptors FILE."
        )
        return [Missing(name, title, reason)]
    common = max(set(shapes), key=shapes.count)
    chosen = [i for i, c in enumerate(material.crystals) if c.descriptor is not None and c.descriptor.shape == common]
    if len(chosen) < FEWEST:
        return [Missing(name, title, f"Only {len(chosen)} crystals have descriptors; a map needs {FEWEST}.")]
    n_all = len(chosen)
    if n_all > _MOST_MAPPED:
        chosen = sorted(np.random.default_rng(0).choice(chosen, _MOST_MAPPED, replace=False).tolist())
    points = np.array(chosen, dtype=np.int64)
    drawn = "" if n_all == len(chosen) else f" {len(chosen):,} of {n_all:,} crystals, drawn at random."
    try:
        plane = embed_in_plane(np.array([material.crystals[index].descriptor for index in chosen]))
    except MissingExtraError as error:
        return [Missing(name, title, str(error))]
    return [
        Scatter(
            name,
            title,
            f"t-SNE of {common[0]} descriptors of each crystal: neighbours are alike, the axes mean nothing.{drawn}",
            Axis("t-SNE 1", ticks=False),
            Axis("t-SNE 2", ticks=False),
            points,
            plane[:, 0],
            plane[:, 1],
            colourings(material, points, "space group", "κ", "max MSD", "prototype"),
        )
    ]
