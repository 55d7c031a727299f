"""What all pages of a run have in common: the dress, tables and numbers. They ask for nothing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files


def whole_page(title: str, body: str, *, reload_s: int = 0) -> str:
    """Put a page together.

    Parameters
    ----------
    title : str
    body : str
        HTML.
    reload_s : int
        Seconds after which the page loads itself again; 0 for never.
    """
    style = files("al_committee.loop.pages").joinpath("page.css").read_text(encoding="utf-8")
    again = f"<script>setTimeout(() => location.reload(), {1000 * reload_s})</script>\n" if reload_s else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{style}</style>\n'
        f"{again}</head>\n<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """Give a table that scrolls sideways where it is wider than the page."""
    first = "".join(f'<th scope="col">{html.escape(cell) or "group"}</th>' for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    inside = f"<table><thead><tr>{first}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">{inside}</div>'


def numbers(values: Mapping[str, str]) -> str:
    """Give the few numbers that matter, large, each over what it is."""
    tiles = "".join(
        f'<div class="number"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="numbers">{tiles}</div>'
