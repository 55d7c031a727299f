"""Fixtures: a made-up run with crystals in every state, and its report."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # synthetic_run and headless_browser stand beside the tests


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
def made_up_run(tmp_path_factory):
    """Return a run directory of 90 crystals, some filtered, failed, pending, unstable, the rest with κ."""
    from synthetic_run import write_synthetic_run

    return write_synthetic_run(tmp_path_factory.mktemp("made-up") / "run", 90, seed=7)


@pytest.fixture(scope="session")
def made_up_report(made_up_run):
    """Return the report of that run, not yet written."""
    pytest.importorskip("sklearn", reason="t-SNE needs scikit-learn (extra 'report')")
    from screen_cli.report import Report, ReportOptions

    return Report(made_up_run, ReportOptions(with_paper=True))
