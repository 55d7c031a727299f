"""The README's Python runs as shown, on the weights in the wheel; only the committee's members are stand-ins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdnnff_calc.models.checkpoint import save_model
from sdnnff_calc.testing import toy_model

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of ASE, in the words that its releases of 2023 know
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("phonopy")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {}
    for block in blocks:
        if "load_committee(" in block:
            assert not list(tmp_path.rglob("*.pt"))  # what ran so far needed no file of ours
            for seed in (0, 1):
                save_model(toy_model("conservative-1", seed=seed), tmp_path / "run" / f"member-{seed}" / "model.pt")
        exec(compile(block, str(README), "exec"), names)
    assert names["crystal"].cell.cellpar()[0] == pytest.approx(5.64 / np.sqrt(2.0), rel=0.03)  # measured at 300 K
    assert np.isfinite(names["supercell"].get_velocities()).all()
    assert names["frequencies"].shape[1] == 6
    assert names["frequencies"].min() > -0.1
    assert 4.0 < names["frequencies"].max() < 9.0
    first, second = names["forces_of_members"]
    assert first.shape == (54, 3)
    assert not np.allclose(first, second, atol=1e-3)
