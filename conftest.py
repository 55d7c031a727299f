"""Property tests draw the same data in every run, and know no deadline (``make soak`` explores further).

Long files come first, so that two workers end together.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("steady")

LONG_FILES = (
    "test_training.py", "test_resilience.py", "test_model_environments.py", "test_loop.py", "test_expansion.py",
    "test_report_page.py", "test_engines.py", "test_wheels.py", "test_force_constants.py", "test_kinds.py",
    "test_self_consistent.py", "test_pipeline.py", "test_cli.py", "test_labelling.py", "test_phono3py.py",
    "test_scale.py", "test_parsl.py",
)  # fmt: skip
"""Files of a third of a minute and more: two workers that take them first end at the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first; the order within a file, and of the others, stays."""
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
