"""The README's Python runs as shown, with a small model in place of a trained one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdnnff_calc.checkpoint import save_model
from sdnnff_calc.testing import toy_model

README = Path(__file__).parent.parent / "README.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("phonopy")
    monkeypatch.chdir(tmp_path)
    save_model(toy_model("conservative-1"), "model.pt")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["frequencies"].shape[1] == 6  # type: ignore[attr-defined]
    assert names["forces_of_members"].shape == (2, 54, 3)  # type: ignore[attr-defined]
