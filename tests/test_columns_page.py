"""docs/reference/columns.md is what the code says, and no column of a stage is missing there."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path

import pytest

from screen_cli.report.tables.columns import known_quantities, reference_table
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import Forces
from screen_cli.stages.gate import GateDecision
from screen_cli.stages.harmonic import Harmonic
from screen_cli.stages.relax import Relaxed
from screen_cli.stages.warm.cell import WarmCell
from screen_cli.stages.warm.renormalise import Renormalised
from screen_cli.stages.warm.selection import Selection
from screen_cli.store.index import BASE_COLUMNS
from screen_cli.store.record import TypedRecord, column

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "columns.md"
RECORDS = (
    Relaxed,
    Displaced,
    Forces,
    ForceConstants,
    Harmonic,
    GateDecision,
    Conductivity,
    Selection,
    Renormalised,
    WarmCell,
)


def scalars(record: type[TypedRecord]) -> set[str]:
    """Names of the JSON values that become columns: numbers, truth values and texts."""
    hints = typing.get_type_hints(record)
    names = {field.name: hints[field.name] for field in dataclasses.fields(record) if not field.metadata}
    for name in dir(record):
        declared = getattr(record, name)
        if isinstance(declared, column):
            names[declared.name or name] = typing.get_type_hints(declared.fget)["return"]
    plain = {int, float, str, bool, type(None)}
    simple = (None, typing.Union, types.UnionType)
    return {
        name
        for name, hint in names.items()
        if typing.get_origin(hint) is typing.Literal
        or (typing.get_origin(hint) in simple and set(typing.get_args(hint) or [hint]) <= plain)
    }


def test_the_page_is_made_from_the_code() -> None:
    assert reference_table() in PAGE.read_text(encoding="utf-8"), (
        "write reference_table() into docs/reference/columns.md"
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_column_of_a_stage_is_explained(record: type[TypedRecord]) -> None:
    assert scalars(record), record
    assert scalars(record) <= known_quantities().keys()


def test_every_column_of_the_index_is_explained() -> None:
    assert set(BASE_COLUMNS) - {"keys"} <= known_quantities().keys()
