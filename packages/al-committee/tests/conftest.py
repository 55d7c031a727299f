"""Shared by the tests of al-committee."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_label_folder(tmp_path, monkeypatch):
    """No test reads or writes the user's labels."""
    monkeypatch.setenv("AL_COMMITTEE_LABELS", str(tmp_path / "labels-of-this-test"))
