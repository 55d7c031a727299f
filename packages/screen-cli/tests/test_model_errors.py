"""What calculators raise becomes a sentence that names the element or the cause."""

from __future__ import annotations

import pytest
from ase.build import bulk

from screen_cli.calculators.model_errors import check_elements, supported_elements, translate_calculator_errors
from screen_cli.errors import CalculatorError, UnsupportedElementError


class Table:
    def __init__(self, **tables):
        self.__dict__.update(tables)


@pytest.mark.parametrize("table", [{"supported_elements": ["Na", "Cl"]}, {"type_map": {11: 0, 17: 1}}])
def test_tables_of_elements_are_understood(table):
    calculator = Table(**table)
    assert supported_elements(calculator) == {"Na", "Cl"}
    check_elements(bulk("NaCl", "rocksalt", a=5.6), calculator)
    with pytest.raises(UnsupportedElementError, match="does not know K of"):
        check_elements(bulk("KCl", "rocksalt", a=6.3), calculator)


def test_silent_calculators_are_not_judged():
    assert supported_elements(Table()) is None


@pytest.mark.parametrize(
    "error",
    [KeyError("K"), KeyError(19), NotImplementedError("No EMT-potential for K"), ValueError("unknown element K")],
)
def test_an_unknown_element_is_named(error):
    atoms = bulk("KCl", "rocksalt", a=6.3)
    atoms.calc = Table()
    with pytest.raises(UnsupportedElementError, match="does not know K"), translate_calculator_errors(atoms):
        raise error


def test_other_failures_are_no_matter_of_elements():
    atoms = bulk("KCl", "rocksalt", a=6.3)
    atoms.calc = Table()
    with pytest.raises(CalculatorError, match="SCF did not converge") as caught, translate_calculator_errors(atoms):
        raise ValueError("SCF did not converge")
    assert not isinstance(caught.value, UnsupportedElementError)
