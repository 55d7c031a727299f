"""The league as a page of its own: the ranking, and every model on every material, each with a link to its crystal."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from screen_cli.bench.league import LeagueRow
from screen_cli.bench.results import BenchResult
from screen_cli.bench.score import MaterialScore

_HEADINGS = (
    "rank", "model", "materials", "failed", "SRME [95 %]", "behind the best [95 %]", "SRD", "SRE", "frequency error, %",
    "frequency slope", "mean Grüneisen parameter", "linear expansion, 10⁻⁶/K", "force calls", "memory, MB",
    "s per material", "error of fast: κ, % (materials)", "of SRME",
)  # fmt: skip


def league_page(
    rows: Sequence[LeagueRow],
    results: Sequence[BenchResult],
    problems: Sequence[str],
    reports: Mapping[str, str] | None = None,
) -> str:
    """Write the league as one file of HTML, which needs nothing from the network.

    Parameters
    ----------
    rows : sequence of LeagueRow
    results : sequence of BenchResult
        Those that were ranked.
    problems : sequence of str
        What weakens the comparison, a sentence each.
    reports : mapping of str to str, optional
        Address of the report of a run by the label of its result, as seen from the page; materials link into it.
    """
    reports = reports or {}
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in _HEADINGS)
    body = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in _cells(row, reports)) + "</tr>" for row in rows)
    notes = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in problems)
    return _PAGE.format(
        head=head,
        body=body,
        notes=f"<ul>{notes}</ul>" if notes else "",
        materials=_material_table(rows, {result.label: result for result in results}, reports),
        reference=html.escape(str(results[0].reference.get("file", "none"))),
        temperature=f"{results[0].temperature_k:g}",
        links=" Every number leads to its crystal." if reports else "",
    )


def _cells(row: LeagueRow, reports: Mapping[str, str]) -> list[str]:
    """Contents of one row of the ranking."""
    behind = "" if row.rank == 1 else f"{row.behind:+.3f} [{row.behind_low:+.3f}, {row.behind_high:+.3f}]"
    error = _number(row.fast_kappa_error_percent, ".1f")
    return [
        str(row.rank),
        _link(reports.get(row.label, ""), row.label),
        str(row.n_materials),
        str(row.n_failed),
        f"{row.srme:.3f} [{row.srme_low:.3f}, {row.srme_high:.3f}]",
        behind + (" *" if row.is_clearly_behind else ""),
        f"{row.srd:+.3f}",
        f"{row.sre:.3f}",
        _number(row.frequency_error_percent, ".1f"),
        _number(row.frequency_slope, ".3f"),
        _number(row.gruneisen_mean, ".2f"),
        _number(row.thermal_expansion_per_mk, ".1f"),
        _number(row.n_force_calls, ".0f"),
        _number(row.peak_mb, ".0f"),
        _number(row.seconds, ".0f"),
        f"{error} ({row.n_exact})" if error else "",
        _number(row.fast_srme_error, ".3f"),
    ]


def _material_table(rows: Sequence[LeagueRow], results: Mapping[str, BenchResult], reports: Mapping[str, str]) -> str:
    """SRME of every model on every material."""
    scores = [results[row.label].scores for row in rows]
    head = "".join(f"<th scope='col'>{html.escape(row.label)}</th>" for row in rows)
    lines = []
    for key in sorted(set.union(*(set(side) for side in scores)), key=lambda key: _name(scores, key)):
        cells = [
            f"<td>{_score(side.get(key), reports.get(row.label, ''))}</td>"
            for row, side in zip(rows, scores, strict=True)
        ]
        lines.append(f"<tr><th scope='row'>{html.escape(_name(scores, key))}</th>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th scope='col'>material</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _score(score: MaterialScore | None, report: str) -> str:
    """SRME of one model on one material, as a link to the crystal where there is a report."""
    if score is None:
        return ""
    text = "failed" if score.verdict == "failed" else _number(score.srme, ".3f") or score.verdict
    crystal = f"{report}#/crystal/{quote(score.structure_id)}" if report and score.structure_id else ""
    return _link(crystal, text)


def _link(address: str, text: str) -> str:
    """Text, as a link where there is an address."""
    shown = html.escape(text)
    return f"<a href='{html.escape(address)}'>{shown}</a>" if address else shown


def _number(value: float | None, form: str) -> str:
    """Format a number; nothing where there is none."""
    return "" if value is None else format(value, form)


def _name(scores: Sequence[Mapping[str, MaterialScore]], key: str) -> str:
    """Name and prototype of a material."""
    score = next(side[key] for side in scores if key in side)
    return f"{score.name} {score.prototype}".strip()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Force fields on thermal conductivity</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8886; white-space: nowrap; }}
thead th {{ white-space: normal; vertical-align: bottom; }}
th:first-child, td:nth-child(2) {{ text-align: left; }}
</style></head><body>
<h1>Force fields on thermal conductivity</h1>
<p>Mean SRME of κ at {temperature} K over the same materials, against {reference}: 0 is perfect, 2 is nothing in common.
Intervals are bootstrap intervals over the materials; * marks a model whose distance from the best leaves out zero.</p>
<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
{notes}
<h2>SRME of every material</h2>
<p>An empty cell: the model did not get this material.{links}</p>
<div>{materials}</div>
</body></html>
"""
