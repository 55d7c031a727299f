"""The names that others build on: exported, importable, annotated, and listed on the reference page."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import sdnnff_calc

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sdnnff-api.md"


@pytest.mark.parametrize("name", sdnnff_calc.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(sdnnff_calc, name) is not None


def test_the_reference_page_lists_what_is_exported() -> None:
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside this package")
    listed = set(re.findall(r"^   sdnnff_calc\.(\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert listed == set(sdnnff_calc.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SDNFF'"):
        _ = sdnnff_calc.SDNFF


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, sdnnff_calc, sdnnff_calc.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", sdnnff_calc.__all__)
def test_no_parameter_of_a_public_function_is_bare_any(name: str) -> None:
    found = getattr(sdnnff_calc, name)
    if not inspect.isfunction(found):
        return
    hints = typing.get_type_hints(found)
    assert set(hints) >= set(inspect.signature(found).parameters)
    assert typing.Any not in hints.values()
