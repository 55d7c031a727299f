"""Fixtures of the root tests: a fast real pipeline (EMT metals) in temporary run directories."""

from __future__ import annotations

from pathlib import Path

import pytest

FAST = """
[source]
name = "prototypes"
options = {{ entries = [{entries}] }}
[calculator]
name = "emt"
[relax]
fmax = 1e-3
[displace]
dim = [2, 2, 2]
min_pairs = 2
[harmonic]
mesh = [5, 5, 5]
phase_space = false
band_points = 5
[conductivity]
mesh = [3, 3, 3]
[engine]
name = "{engine}"
workers = 2
"""
METALS = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92, "Au": 4.08}


@pytest.fixture(scope="session", autouse=True)
def folders_of_the_tests(tmp_path_factory):
    """Keep the cache of kinds and the environments out of the user's folders, for this process and those it starts."""
    from screen_cli.kinds.cache import shared_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCREEN_KINDS", str(tmp_path_factory.getbasetemp().parent / "kinds"))
        patch.setenv("SCREEN_ENVIRONMENTS", str(tmp_path_factory.getbasetemp().parent / "environments"))
        shared_cache.cache_clear()
        yield


@pytest.fixture(scope="session")
def fast_text():
    """Return a function that gives the configuration of fcc metals with EMT as text."""

    def text(*elements: str, engine: str = "serial") -> str:
        # Cu3Au with one element is fcc: spglib finds the one-atom primitive cell
        entries = ", ".join(
            f'{{ prototype = "cu3au", elements = ["{element}", "{element}"], a = {METALS[element]} }}'
            for element in elements
        )
        return FAST.format(entries=entries, engine=engine)

    return text


@pytest.fixture
def fast_config(fast_text, tmp_path):
    """Return a function that writes such a configuration into the test's folder."""

    def write(*elements: str, engine: str = "serial", extra: str = "") -> Path:
        path = tmp_path / "screen.toml"
        path.write_text(fast_text(*elements, engine=engine) + extra)
        return path

    return write
