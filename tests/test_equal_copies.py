"""What several packages need, none of which may import another, stands in each of them with the same text."""

from __future__ import annotations

from pathlib import Path

import pytest

SOURCES = sorted(path for path in Path(__file__).parents[1].glob("packages/*/src/*") if path.is_dir())
COPIES = {
    "settings_file.py": {"screen_cli", "sdnnff_calc", "al_committee"},
    "guard.py": {"screen_cli", "al_committee"},
    "xyz_header.py": {"screen_cli", "sdnnff_calc", "al_committee"},
    "xyz_counts.py": {"sdnnff_calc", "al_committee"},
    "recursion.py": {"screen_cli", "sdnnff_calc", "al_committee", "phon_wigner"},
    "figure_file.py": {"screen_cli", "sdnnff_calc", "al_committee", "phon_wigner"},
    "damaged_npz.py": {"screen_cli", "al_committee"},
    "tetrahedra.py": {"screen_cli", "phon_wigner"},
    "paper.mplstyle": {"screen_cli", "sdnnff_calc", "al_committee", "phon_wigner"},
}
"""Files and the packages that have one; but for the name of the package in imports they are equal."""


@pytest.mark.parametrize("name", COPIES)
def test_the_copies_of_a_file_are_equal(name: str) -> None:
    copies = {source.name: list(source.rglob(name)) for source in SOURCES}
    assert {package for package, paths in copies.items() if paths} == COPIES[name]
    assert all(len(paths) <= 1 for paths in copies.values())
    texts = {
        path.read_text(encoding="utf-8").replace(f"from {package}.", "from PACKAGE.")
        for package, paths in copies.items()
        for path in paths
    }
    assert len(texts) == 1


ONLY_THERE = {
    "recursion.py": ("setrecursionlimit",),
    "xyz_header.py": (),
    "figure_file.py": ("savefig(content", "paper.mplstyle", "FigureCanvasAgg(", "def label_few_ticks"),
}
"""What a copied file does for its package, nothing else does by itself."""


@pytest.mark.parametrize("name", ONLY_THERE)
def test_what_a_copied_file_does_is_done_nowhere_else(name: str) -> None:
    others = [path for source in SOURCES for path in source.rglob("*.py") if path.name != name]
    for words in ONLY_THERE[name]:
        assert [str(path) for path in others if words in path.read_text(encoding="utf-8")] == []


def test_pages_of_a_screening_and_of_a_loop_wear_one_dress() -> None:
    sheets = [
        next(path for source in SOURCES for path in source.glob(place))
        for place in ("**/web/style.css", "**/loop/pages/page.css")
    ]
    colours = [path.read_text(encoding="utf-8").split(":root[data-theme")[0].split("* {")[0] for path in sheets]
    assert "--accent" in colours[0]
    assert colours[0] == colours[1]
