"""The optional second door: ASE's experimental plugin collection (ASE 3.29; absent quietly elsewhere).

ASE 3.29 gives its record no public name; this is the only module that imports it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["__ase_plugins__"]


def _plugins() -> set[Any]:
    """Give the calculator's record, or nothing where ASE has no such records."""
    try:
        from ase._4.plugins.plugin import CalculatorPlugin
    except ImportError:
        return set()
    citation = "Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3"
    return {CalculatorPlugin(name="sdnnff", citation=citation, implementation="sdnnff_calc.calculators.sdnnff.SDNNFF")}


__ase_plugins__ = _plugins()
