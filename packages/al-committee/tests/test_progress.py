"""Progress: bars on a terminal, silence elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from al_committee.cli.terminal import RichProgress, log_to_terminal
from al_committee.loop.progress import NoProgress


def test_bar_shows_count_and_rate():
    rich = pytest.importorskip("rich.console", reason="rich is the extra 'progress'")
    file = io.StringIO()
    progress = RichProgress(rich.Console(file=file, force_terminal=True, width=120))
    with progress.step("scoring", 4) as advance:
        for _ in range(4):
            advance(1)
    assert "scoring" in file.getvalue()
    assert "4/4" in file.getvalue()
    with progress.step("training", None) as advance:  # a length nobody knows
        advance(1)
    assert "training" in file.getvalue()


def test_without_a_terminal_there_is_none(capsys):
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    try:
        assert isinstance(log_to_terminal(logging.INFO), NoProgress)
        logging.getLogger("al_committee").info("round 1")
        captured = capsys.readouterr()
        assert "round 1" in captured.err
        assert captured.out == ""
    finally:
        root.handlers = handlers
        root.setLevel(level)
