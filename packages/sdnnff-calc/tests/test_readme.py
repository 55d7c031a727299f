"""The README's Python runs as shown, on the weights in the wheel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of ASE, in the words that its releases of 2023 know
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("phonopy")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["crystal"].cell.cellpar()[0] == pytest.approx(5.64 / np.sqrt(2.0), rel=0.03)  # measured at 300 K
    assert np.isfinite(names["supercell"].get_velocities()).all()
    assert names["frequencies"].shape[1] == 6
    assert names["frequencies"].min() > -0.1
    assert 4.0 < names["frequencies"].max() < 9.0
    assert names["expected_error"].shape == (54,)
    assert (names["expected_error"] > 0.0).any()
