"""The documentation against the code: commands exist, settings are complete, links lead somewhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from screen_cli.config import load_settings, reference
from screen_cli.plugins.manager import installed_plugins
from sdnnff_calc.cli import settings_reference

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]  # make docs checks the links of the site
PAGES = [*READMES, *sorted(ROOT.glob("docs/**/*.md"))]


def test_settings_reference_is_up_to_date():
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert page.strip() == reference().strip(), "run: make docs"


def test_reference_of_training_settings_is_up_to_date():
    page = (ROOT / "docs" / "reference" / "training-settings.md").read_text()
    assert page == settings_reference.reference(), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    known = set(installed_plugins().records["commands"]) | {"morse-table"}
    for command in re.findall(r"^screen-cli ([a-z][a-z-]*)", page.read_text(), flags=re.MULTILINE):
        assert command in known, f"{page.name} shows 'screen-cli {command}'"


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not link.startswith(("http", "mailto")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def anchors(page):
    """Names that a page's headings have on GitHub."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_exist(page):
    for link, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
        if not link.startswith(("http", "mailto")):
            target = page.parent / link if link else page
            assert anchor in anchors(target), f"{page.name} links to {link}#{anchor}"


def test_interface_of_sdnnff_calc_names_what_exists():
    page = (ROOT / "docs/reference/sdnnff-api.md").read_text()
    names = set(re.findall(r"^   (sdnnff_calc\.[\w.]+\w)$", page, flags=re.MULTILINE))
    assert len(names) > 20
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_demo_configuration_is_valid():
    assert load_settings(ROOT / "examples" / "demo.toml").source.name == "demo"
