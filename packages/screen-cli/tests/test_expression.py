"""Filter expressions: the same meaning in SQL and in Python, and no way to run code."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.errors import FilterError
from screen_cli.store.expression import evaluate, to_sql

NAMES = ("kappa", "msd", "stable")
numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))


def leaves():
    comparison = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    return st.builds(lambda a, op, b: f"{a} {op} {b}", st.sampled_from(NAMES), comparison, numbers)


expressions = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a} and {b})", inner, inner),
        st.builds(lambda a, b: f"({a} or {b})", inner, inner),
        st.builds(lambda a: f"(not {a})", inner),
    ),
    max_leaves=6,
)


@given(expressions, numbers, numbers, st.booleans())
def test_sql_and_python_agree(expression, kappa, msd, stable):
    row = {"kappa": kappa, "msd": msd, "stable": stable}
    condition, values = to_sql(expression, NAMES)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (kappa, msd, stable)")
    database.execute("INSERT INTO t VALUES (?, ?, ?)", (kappa, msd, int(stable)))
    found = database.execute(f"SELECT count(*) FROM t WHERE {condition}", values).fetchone()[0]
    database.close()
    assert bool(found) == evaluate(expression, row)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "kappa.__class__",
        "(lambda: 1)()",
        "[x for x in kappa]",
        "kappa ** 2",
        "kappa is msd",
        "f'{kappa}'",
    ],
)
def test_code_is_refused(expression):
    with pytest.raises(FilterError):
        to_sql(expression, NAMES)
    with pytest.raises(FilterError):
        evaluate(expression, {"kappa": 1.0, "msd": 1.0, "stable": True})


def test_unknown_column_names_the_nearest():
    with pytest.raises(FilterError, match="Did you mean 'kappa'"):
        to_sql("kapa < 1", NAMES)


def test_chained_comparison_and_membership():
    assert evaluate("1 < kappa < 3 and formula in ('NaCl', 'MgO')", {"kappa": 2.0, "formula": "MgO"})
    assert not evaluate("1 < kappa < 3", {"kappa": 3.5})


def test_missing_value_is_an_error_in_a_gate():
    with pytest.raises(FilterError, match="has no value"):
        evaluate("kappa < 1", {"kappa": None})
