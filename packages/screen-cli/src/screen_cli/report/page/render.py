"""The page: everything in one HTML file that needs no network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import cast

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from screen_cli.report.figures import style
from screen_cli.report.figures.specification import ElementMap, Figure, Missing, Scatter, table_position
from screen_cli.report.funnel import Loss, Step, count_funnel, group_reasons
from screen_cli.report.gate import PAPER, PAPER_STEPS
from screen_cli.report.material import Material
from screen_cli.report.page.packing import pack, round_to_digits, significant
from screen_cli.report.tables.columns import Quantity, full_names, quantity_of, temperatures_of
from screen_cli.report.tables.terminal import MAIN_COLUMNS
from screen_cli.store.record import Json, Scalar
from screen_cli.store.row import Row
from screen_cli.store.run_directory import Manifest, RunDirectory

_SCRIPTS = ("base", "axes", "scatter", "elements", "query", "table", "structure", "curves", "crystal", "main")
_MOST_REASONS = 60
_NAMED = ("phono3py", "symfc", "hiphive", "phon-wigner", "sdnnff-calc", "torch")
_ALWAYS = ("id", "formula", "state", "stable", "kappa_total_w_mk")  # the funnel's buttons search for them


def render_page(material: Material, figures: Sequence[Figure], folder: Path) -> str:
    """Put a report together.

    Parameters
    ----------
    material : Material
    figures : sequence of Figure
    folder : Path
        Where the page will lie: links to the records are relative to it.

    Returns
    -------
    str
        HTML.
    """
    run, manifest = material.run, material.run.manifest()
    title = run.settings.title or f"Screening run {run.root.resolve().name}"
    page = files("screen_cli.report.page").joinpath("web")
    script = "\n".join(page.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    return Template(page.joinpath("report.html").read_text(encoding="utf-8")).substitute(
        generator=f"screen-cli {version('screen-cli')}",
        title=html.escape(title),
        subtitle=html.escape(_subtitle(material, manifest)),
        style=page.joinpath("style.css").read_text(encoding="utf-8").strip(),
        script=script,
        script_hash=_hash_of(script),
        funnel=_funnel(count_funnel(material.rows), with_paper=material.with_paper),
        paper=_paper() if material.with_paper else "",
        warnings=_warnings(material.rows),
        missing=_missing([figure for figure in figures if isinstance(figure, Missing)]),
        reasons=_reasons(material.rows),
        costs=_costs(run),
        versions=_versions(manifest),
        manifest=html.escape(json.dumps(manifest, indent=1, ensure_ascii=False)),
        payload=pack(_payload(material, figures, title, folder)),
        details="\n".join(
            f"{row['id']} {crystal.packed}"
            for row, crystal in zip(material.rows, material.crystals, strict=True)
            if crystal.packed
        ),
    )


def _hash_of(script: str) -> str:
    """Source expression of the only script that a browser may run on the page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _payload(material: Material, figures: Sequence[Figure], title: str, folder: Path) -> dict[str, object]:
    """Give what the scripts start from."""
    columns = page_columns(material)
    symbols = sorted({symbol for crystal in material.crystals for symbol in crystal.elements})
    root = os.path.relpath(material.run.root.resolve(), folder.resolve())
    return {
        "title": title,
        "versions": _tools(material.run.manifest()),
        "root": "" if root == "." else f"{Path(root).as_posix()}/",
        "palette": {
            "categories": style.CATEGORIES,
            "other": style.OTHER,
            "sequential": style.sequential(),
            "sequential_dark": style.sequential(dark=True),
        },
        "radii": {symbol: round(float(covalent_radii[atomic_numbers[symbol]]), 2) for symbol in symbols},
        "symbols": {atomic_numbers[symbol]: symbol for symbol in symbols},
        "columns": [dataclasses.asdict(column) for column in columns],
        "data": {column.name: [significant(row.get(column.name), 6) for row in material.rows] for column in columns},
        "figures": [figure_json(figure) for figure in figures if not isinstance(figure, Missing)],
    }


@dataclass(frozen=True)
class PageColumn:
    """A column of the page's table.

    Parameters
    ----------
    name : str
        Of the index.
    title, full, hint : str
        Heading, name with temperature and unit, and meaning.
    unit : str
        As it is printed, ``W m⁻¹ K⁻¹``.
    format : str
        Format specification of the number; empty for text, ``yes`` for true and false.
    shown : bool
        At first.
    """

    name: str
    title: str
    full: str
    unit: str
    format: str
    hint: str
    shown: bool


def page_columns(material: Material) -> list[PageColumn]:
    """Columns of the page's table.

    Shown are the usual ones that have a value and those of the run's properties; ``id`` is always there.
    """
    from screen_cli.plugins.manager import installed_plugins

    hints: dict[str, str] = {}
    registry = installed_plugins()
    for name in material.run.settings.properties.names:
        if name in registry.records["properties"]:
            hints |= dict(registry.get("properties", name).columns)
    filled = dict.fromkeys(
        name for row in material.rows for name, value in row.items() if value is not None and value != ""
    )
    usual = {column.name: column for column in MAIN_COLUMNS}
    names = [name for name in usual if name in filled] + [name for name in filled if name not in (*usual, "keys")]
    names += [name for name in _ALWAYS if name not in names]
    temperatures = temperatures_of(material.run)
    full = full_names(names, temperatures)
    columns = []
    for name in names:
        quantity = quantity_of(name)
        text = any(isinstance(row.get(name), str) for row in material.rows)
        kelvin = temperatures.get(quantity.stage)
        meaning = hints.get(name) or quantity.meaning or name
        columns.append(
            PageColumn(
                name=name,
                title=_two_lines(usual[name].heading(temperatures)) if name in usual else full[name],
                full=full[name],
                unit=quantity.symbol,
                format="" if text else usual[name].format if name in usual else _format_of(quantity),
                hint=meaning if kelvin is None else f"{meaning}, at {kelvin:g} K",
                shown=name in filled and (name in usual or name in hints),
            )
        )
    return columns


def _format_of(quantity: Quantity) -> str:
    """Format of a column that the table does not show at first."""
    return "yes" if quantity.is_yes_or_no else ".4g"


def _two_lines(heading: str) -> str:
    """Symbol on the first line, temperature and unit on the second."""
    symbol, *rest = heading.split("\n")
    return "\n".join([symbol, *([", ".join(rest)] if rest else [])])


def figure_json(figure: Scatter | ElementMap) -> dict[str, Json]:
    """Turn a figure into JSON with four significant digits."""
    if isinstance(figure, ElementMap):
        cells: dict[str, list[float]] = {
            symbol: list(table_position(number)) for number, symbol in enumerate(chemical_symbols) if 0 < number <= 103
        }
        for symbol, (mean, count) in figure.values.items():
            cells[symbol] = [*table_position(atomic_numbers[symbol]), round_to_digits(mean, 4), count]
        return {**dataclasses.asdict(figure), "values": None, "cells": cells}
    return {name: _plain(value) for name, value in dataclasses.asdict(figure).items()}


def _plain(value: object) -> Json:
    """Round numbers, turn arrays into lists."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return significant(cast("Scalar | None", value), 4)


# -- parts that need no script ---------------------------------------------------------------------


def _subtitle(material: Material, manifest: Manifest) -> str:
    """Which force field, which solver, when."""
    settings = material.run.settings
    options = ", ".join(f"{key} = {value}" for key, value in settings.calculator.options.items())
    parts = [f"Calculator {settings.calculator.name}{f' ({options})' if options else ''}"]
    if settings.conductivity.enabled:
        parts.append(f"conductivity solver {settings.conductivity.solver} ({settings.conductivity.method})")
    count = f"{len(material.rows):,} crystal{'' if len(material.rows) == 1 else 's'}"
    return "; ".join([*parts, f"started {manifest['created'][:10]}", count]) + "."


def _paper() -> str:
    """Say what «paper» stands for, wherever it stands on the page."""
    return f'<p class="soft">“Paper” is {html.escape(PAPER)}: the same shares for 77,091 cubic crystals.</p>'


def _funnel(steps: Sequence[Step], *, with_paper: bool) -> str:
    """Bars of the funnel, with what was lost before each."""
    total = max(steps[0].count, 1)
    parts = []
    before = None
    for step in steps:
        lost = "".join(_loss(loss) for loss in step.losses)
        if lost:
            parts.append(f'<ul class="losses">{lost}</ul>')
        share = f"{100 * step.count / before:.1f} % of those before" if before else ""
        if share and with_paper and step.label in PAPER_STEPS:
            share += f" (paper: {100 * PAPER_STEPS[step.label]:.1f} %)"
        parts.append(
            f'<span class="label"><button type="button" data-query="{html.escape(step.query)}" '
            f'title="Show in the table">{html.escape(step.label)}</button></span>'
            f'<span class="track"><i style="width:{100 * step.count / total:.2f}%"></i></span>'
            f'<span class="count"><b>{step.count:,}</b><span class="soft">{share}</span></span>'
        )
        before = step.count
    return "".join(parts)


def _loss(loss: Loss) -> str:
    """One line about crystals that left the funnel."""
    reasons = [reason.removeprefix(f"{loss.label}: ") for reason, _ in loss.reasons]
    if len(reasons) > 1:
        reasons = [f"{count:,} × {reason}" for reason, (_, count) in zip(reasons, loss.reasons, strict=True)]
    text = "; ".join(reasons)
    shown = text if len(text) <= 150 else f"{text[:150]}…"
    kind = ' class="failed"' if loss.name.startswith("failed") else ""
    return (
        f'<li{kind}><button type="button" data-query="{html.escape(loss.query)}" title="{html.escape(text)}">'
        f"<b>−{loss.count:,}</b> {html.escape(loss.label)}{f': {html.escape(shown)}' if shown else ''}</button></li>"
    )


def _warnings(rows: Sequence[Row]) -> str:
    """Crystals whose force constants the fit itself does not trust."""
    rough = [row["formula"] for row in rows if row.get("trusted") in (0, False)]
    if not rough:
        return ""
    what = "1 crystal" if len(rough) == 1 else f"{len(rough):,} crystals"
    names = html.escape(", ".join(str(name) for name in rough[:12]) + (" …" if len(rough) > 12 else ""))
    return (
        f'<p class="warning"><b>Do not trust κ of {what}:</b> their forces are too rough for the fit '
        f"(column <code>residual</code>): {names}</p>"
    )


def _missing(figures: Sequence[Missing]) -> str:
    """Give what is not drawn, and what it needs."""
    items = "".join(f"<li><b>{html.escape(one.title)}</b>: {html.escape(one.reason)}</li>" for one in figures)
    return f'<h3 style="margin-top:1.4rem">Not drawn</h3><ul class="missing">{items}</ul>' if items else ""


def _reasons(rows: Sequence[Row]) -> str:
    """Why crystals failed, were filtered or skipped, grouped."""
    groups = group_reasons(rows)
    if not groups:
        return "<p>Every crystal went all the way.</p>"
    lines = "".join(
        f'<tr><td>{count:,}</td><td><span class="state {html.escape(state)}">{html.escape(state)}</span></td>'
        f"<td>{html.escape(stage)}</td><td>{html.escape(reason)}</td></tr>"
        for state, stage, reason, count in groups[:_MOST_REASONS]
    )
    rest = len(groups) - _MOST_REASONS
    more = f'<p class="soft">and {rest} rarer reasons; the table has them all.</p>' if rest > 0 else ""
    names = "".join(f'<th scope="col">{name}</th>' for name in ("crystals", "state", "stage", "reason"))
    head = f"<thead><tr>{names}</tr></thead>"
    return f'<table class="reasons">{head}<tbody>{lines}</tbody></table>{more}'


def _costs(run: RunDirectory) -> str:
    """Time and bytes of each stage."""
    index = run.index(read_only=True)
    try:
        costs = index.stage_costs()
    finally:
        index.close()
    lines = "".join(
        f"<tr><td>{count:,}</td><td>{html.escape(stage.replace('_', ' '))}</td><td>{_duration(seconds)}</td>"
        f"<td>{seconds / max(count, 1):.2f} s</td><td>{_bytes(size)}</td></tr>"
        for stage, count, seconds, size in costs
    )
    names = ("crystals", "stage", "time", "each", "on disk")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    table = f'<table class="reasons"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return table if lines else ""


def _duration(seconds: float) -> str:
    """Write a time in the two units that tell it best."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bytes(size: float) -> str:
    """Write a size in kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _tools(manifest: Manifest) -> str:
    """Name what computed the run, with versions, in one line."""
    versions = manifest["versions"]
    names = [name for name in ("screen-cli", *_NAMED) if name in versions]
    return ", ".join(f"{name} {versions[name]}" for name in names)


def _versions(manifest: Manifest) -> str:
    """When the run began, where, and with which packages."""
    started = html.escape(manifest["created"].replace("T", " ").replace("+0000", " UTC"))
    packages = ", ".join(f"{html.escape(name)} {html.escape(text)}" for name, text in manifest["versions"].items())
    return f"<p>Started {started} with Python {html.escape(manifest['python'])}: {packages}.</p>"
