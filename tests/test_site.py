"""The built site (make docs) in a real browser, as a reader uses it: formulas, search, copying, dark pages, phones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
HARNESS = ROOT / "packages" / "screen-cli" / "tests" / "headless_browser.py"
PAGES = ("index", "theory/wigner", "reference/settings", "reference/command-line", "howto/run-a-screening", "gallery")

specification = importlib.util.spec_from_file_location("headless_browser", HARNESS)
headless = importlib.util.module_from_spec(specification)
specification.loader.exec_module(headless)


@pytest.fixture(scope="module")
def browser():
    executable = headless.find_chromium()
    if executable is None or not (SITE / "index.html").is_file():
        pytest.skip("needs Chromium, and the site of make docs")
    with headless.Browser(executable) as page:
        yield page


def open_page(browser, name, query=""):
    browser.call("Page.navigate", url="about:blank")  # a search that is left in its middle complains
    browser.wait_for("location.href === 'about:blank'")
    browser.messages.clear()
    browser.call("Page.navigate", url=(SITE / f"{name}.html").resolve().as_uri() + query)
    browser.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")


def test_formulas_are_set_without_a_network(browser):
    browser.requests.clear()
    open_page(browser, "theory/wigner")
    browser.wait_for("document.querySelectorAll('mjx-container[display=true] mjx-mfrac').length > 5")
    assert browser.run("document.querySelectorAll('mjx-merror').length") == 0
    assert [url for url in browser.requests if url.startswith("http")] == []


def test_code_can_be_copied(browser):
    open_page(browser, "start/script")
    browser.wait_for("document.querySelectorAll('button.copybtn').length > 0")
    blocks = browser.run("document.querySelectorAll('div.highlight pre').length")
    assert browser.run("document.querySelectorAll('button.copybtn').length") == blocks > 0


@pytest.mark.parametrize(("words", "page"), [("wigner", "theory/wigner"), ("walltime", "reference/command-line")])
def test_search_finds_pages(browser, words, page):
    open_page(browser, "search", f"?q={words}")
    links = "[...document.querySelectorAll('#search-results li a')].map(link => link.href)"
    browser.wait_for(f"{links}.some(link => link.includes('{page}.html'))", seconds=20)


@pytest.mark.parametrize("width", [420, 1400])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_wider_than_its_window(browser, page, width):
    browser.resize(width, 900)
    open_page(browser, page)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.messages == []


def test_dark_pages_are_dark(browser):
    open_page(browser, "index")
    browser.run("document.body.dataset.theme = 'dark'")
    dark = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    browser.run("document.body.dataset.theme = 'light'")
    light = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(dark[:3]) < 60
    assert min(light[:3]) > 200
