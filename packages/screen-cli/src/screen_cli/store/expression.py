"""Filter and gate expressions: ``stable and max_msd >= 0.076``, in SQL and in Python.

Names are columns; the grammar is Python's: numbers, strings, ``and or not``, comparisons (chained too),
``+ - * /``, ``in (…)``, parentheses. Nothing else is accepted, so a filter can run no code.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Mapping
from types import CodeType
from typing import Any

from screen_cli.errors import FilterError, unknown_name

_COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "!="}
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def to_sql(expression: str, columns: Collection[str]) -> tuple[str, list[Any]]:
    """Translate an expression to a SQL condition.

    Returns
    -------
    (str, list)
        Condition with ``?`` placeholders, and their values.

    Raises
    ------
    FilterError
        Syntax outside the grammar, or an unknown column (with the nearest one).
    """
    values: list[Any] = []
    return _sql(_parse(expression), columns, values), values


def evaluate(expression: str, row: Mapping[str, Any]) -> bool:
    """Evaluate an expression on one row.

    Raises
    ------
    FilterError
        As :func:`to_sql`; also when a needed value is missing.
    """
    names, code = _compiled(expression)
    for name in names:
        if name not in row:
            raise FilterError(str(unknown_name("column", name, row)))
        if row[name] is None:
            raise FilterError(f"column '{name}' has no value, needed by '{expression}'.")
    try:
        return bool(eval(code, {"__builtins__": {}}, dict(row)))
    except (TypeError, ZeroDivisionError) as error:
        raise FilterError(f"cannot evaluate '{expression}': {error}.") from error


def names_in(expression: str) -> tuple[str, ...]:
    """Names that an expression uses.

    Raises
    ------
    FilterError
        Syntax outside the grammar.
    """
    return _compiled(expression)[0]


@functools.lru_cache(maxsize=64)
def _compiled(expression: str) -> tuple[tuple[str, ...], CodeType]:
    """Names an expression uses, and its code, once the grammar is checked."""
    tree = _parse(expression)
    names = tuple(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))
    _sql(tree, names, [])
    return names, compile(ast.Expression(tree), "<expression>", "eval")


def _parse(expression: str) -> ast.expr:
    """Parse to a syntax tree."""
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise FilterError(
            f"cannot parse '{expression}': {error.msg}. Write it like: stable and kappa_total_w_mk < 1"
        ) from error


def _sql(node: ast.expr, columns: Collection[str], values: list[Any]) -> str:
    """Translate one node."""
    match node:
        case ast.BoolOp(op, operands):
            word = " AND " if isinstance(op, ast.And) else " OR "
            return "(" + word.join(_sql(operand, columns, values) for operand in operands) + ")"
        case ast.UnaryOp(ast.Not(), operand):
            return f"(NOT {_sql(operand, columns, values)})"
        case ast.UnaryOp(ast.USub(), operand):
            return f"(-{_sql(operand, columns, values)})"
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            first = _sql(left, columns, values)
            return f"({first} {_BINARY[type(op)]} {_sql(right, columns, values)})"
        case ast.Compare(left, comparisons, comparators):
            terms = []
            for comparison, right in zip(comparisons, comparators, strict=True):
                first = _sql(left, columns, values)
                terms.append(f"{first} {_operator(comparison)} {_sql(right, columns, values)}")
                left = right
            return "(" + " AND ".join(terms) + ")"
        case ast.Tuple(elements) | ast.List(elements):
            return "(" + ", ".join(_sql(element, columns, values) for element in elements) + ")"
        case ast.Name(name):
            if name not in columns:
                raise FilterError(str(unknown_name("column", name, columns)))
            return f'"{name}"'
        case ast.Constant(value) if isinstance(value, (int, float, str, bool)):
            values.append(value)
            return "?"
    raise FilterError(
        f"'{ast.unparse(node)}' is not allowed in a filter. Allowed: column names, numbers, strings, "
        "and, or, not, comparisons, in (...), + - * /."
    )


def _operator(op: ast.cmpop) -> str:
    """SQL spelling of a comparison."""
    if isinstance(op, ast.In):
        return "IN"
    if isinstance(op, ast.NotIn):
        return "NOT IN"
    if type(op) not in _COMPARE:
        raise FilterError("'is' is not allowed in a filter; use == or !=.")
    return _COMPARE[type(op)]
