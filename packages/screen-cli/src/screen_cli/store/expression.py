"""Filter and gate expressions: ``stable and max_msd >= 0.076``, in SQL and in Python.

Names are columns; the grammar is Python's: numbers, strings, ``and or not``, comparisons (chained too),
``+ - * /``, ``in (…)``, parentheses. Nothing else is accepted, so a filter can run no code.

Both readings agree: wherever :func:`evaluate` gives an answer, the SQL of :func:`to_sql` gives the same.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Collection, Mapping

from screen_cli.errors import FilterError, MissingValueError, UnknownColumnError, unknown_name

Value = bool | int | float | str

_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[..., bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("=", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_BINARY: dict[type[ast.operator], tuple[str, Callable[..., int | float]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("* 1.0 /", operator.truediv),  # SQL divides whole numbers without remainder
}
_LARGEST = 200
_EXAMPLE = "Write it like: stable and kappa_total_w_mk < 1"


def to_sql(expression: str, columns: Collection[str]) -> tuple[str, list[Value]]:
    """Translate a condition to SQL.

    Returns
    -------
    (str, list)
        Condition with ``?`` placeholders, and their values.

    Raises
    ------
    FilterError
        Syntax outside the grammar, or an unknown column (with the nearest one).
    """
    tree, names = _parse(expression)
    _check_names(names, columns)
    values: list[Value] = []
    return _truth_sql(tree, values), values


def value_to_sql(expression: str, columns: Collection[str]) -> tuple[str, list[Value]]:
    """Translate what rows are sorted by, a column or arithmetic of columns, to SQL (see :func:`to_sql`)."""
    tree, names = _parse(expression)
    _check_names(names, columns)
    values: list[Value] = []
    return _sql(tree, values), values


def evaluate(expression: str, row: Mapping[str, object]) -> bool:
    """Evaluate a condition on one row.

    Raises
    ------
    FilterError
        As :func:`to_sql`; also when a needed value is missing, or text is compared with a number.
    """
    tree, names = _parse(expression)
    _check_names(names, row)
    for name in names:
        if row[name] is None:
            raise MissingValueError(f"column '{name}' has no value, needed by '{expression}'.")
    try:
        return bool(_value(tree, row))
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise FilterError(f"cannot evaluate '{expression}': {error}.") from error


def names_in(expression: str) -> tuple[str, ...]:
    """Names that an expression uses.

    Raises
    ------
    FilterError
        Syntax outside the grammar.
    """
    return _parse(expression)[1]


def _check_names(names: Collection[str], columns: Collection[str]) -> None:
    """Refuse a name that is no column."""
    for name in names:
        if name not in columns:
            raise UnknownColumnError(str(unknown_name("column", name, columns)), name)


@functools.lru_cache(maxsize=64)
def _parse(expression: str) -> tuple[ast.expr, tuple[str, ...]]:
    """Parse to a syntax tree within the grammar, and the names in it."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise FilterError(f"cannot parse the filter {expression[:_LARGEST]!r}: {reason}. {_EXAMPLE}") from error
    except (RecursionError, MemoryError) as error:
        raise FilterError(f"the filter '{expression[:50]}…' is nested too deeply. {_EXAMPLE}") from error
    if sum(1 for _ in ast.walk(tree)) > _LARGEST:
        raise FilterError(f"the filter '{expression[:50]}…' is too long: more than {_LARGEST} names and numbers.")
    _check(tree)
    return tree, tuple(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def _check(node: ast.expr, *, inside: bool = False) -> None:
    """Refuse what is outside the grammar; ``inside`` arithmetic or a comparison, ``and`` and ``or`` are too."""
    match node:
        case ast.BoolOp(_, operands) if not inside:
            for operand in operands:
                _check(operand)
        case ast.UnaryOp(ast.Not(), operand):
            _check(operand)
        case ast.UnaryOp(ast.USub(), operand):
            _check(operand, inside=True)
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            _check(left, inside=True)
            _check(right, inside=True)
        case ast.Compare(left, comparisons, comparators):
            _check(left, inside=True)
            for comparison, right in zip(comparisons, comparators, strict=True):
                _check_comparison(comparison, right, last=right is comparators[-1])
        case ast.Name():
            pass
        case ast.Constant(value) if isinstance(value, (int, float, str)):
            _check_constant(value)
        case _:
            raise FilterError(
                f"'{ast.unparse(node)}' is not allowed in a filter. Allowed: column names, numbers, strings, "
                "and, or, not, comparisons, in (...), + - * /."
            )


def _check_comparison(comparison: ast.cmpop, right: ast.expr, *, last: bool) -> None:
    """Refuse comparisons without sense."""
    if isinstance(comparison, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.Tuple, ast.List)) or not last:
            raise FilterError(f"'in {ast.unparse(right)}' needs a list at its end: in (1, 2, 3) or in ('a', 'b').")
        for element in right.elts:
            _check(element, inside=True)
    elif type(comparison) not in _COMPARE:
        raise FilterError("'is' is not allowed in a filter; use == or !=.")
    else:
        _check(right, inside=True)


def _check_constant(value: Value) -> None:
    """Refuse numbers that no column can hold, and text that no file can."""
    if isinstance(value, str):
        if not value.isprintable():
            raise FilterError(f"{value!r} in a filter holds characters that cannot be printed.")
    elif abs(value) > 1e308 or not math.isfinite(value):
        raise FilterError(f"the number {str(value)[:20]} in a filter is too large.")


def _truth_sql(node: ast.expr, values: list[Value]) -> str:
    """Translate a node where its truth counts: of numbers and text as Python has it."""
    match node:
        case ast.BoolOp(op, operands):
            word = " AND " if isinstance(op, ast.And) else " OR "
            return "(" + word.join(_truth_sql(operand, values) for operand in operands) + ")"
        case ast.UnaryOp(ast.Not()) | ast.Compare():
            return _sql(node, values)
    return f"({_sql(node, values)} NOT IN (0, ''))"


def _sql(node: ast.expr, values: list[Value]) -> str:
    """Translate a node where its value counts."""
    match node:
        case ast.UnaryOp(ast.Not(), operand):
            return f"(NOT {_truth_sql(operand, values)})"
        case ast.UnaryOp(ast.USub(), operand):
            return f"(-{_sql(operand, values)})"
        case ast.BinOp(left, op, right):
            first = _sql(left, values)
            return f"({first} {_BINARY[type(op)][0]} {_sql(right, values)})"
        case ast.Compare(left, comparisons, comparators):
            terms = []
            for comparison, right in zip(comparisons, comparators, strict=True):
                first = _sql(left, values)
                word = "IN" if isinstance(comparison, ast.In) else "NOT IN"
                sign = _COMPARE[type(comparison)][0] if type(comparison) in _COMPARE else word
                terms.append(f"{first} {sign} {_sql(right, values)}")
                left = right
            return "(" + " AND ".join(terms) + ")"
        case ast.Tuple(elements) | ast.List(elements):
            return "(" + ", ".join(_sql(element, values) for element in elements) + ")"
        case ast.Name(name):
            return f'"{name}"'
        case ast.Constant(value):
            assert isinstance(value, (int, float, str))  # _check has seen to it
            values.append(float(value) if isinstance(value, int) and abs(value) >= 2**63 else value)
            return "?"
        case _:
            return _truth_sql(node, values)


def _value(node: ast.expr, row: Mapping[str, object]) -> object:
    """Evaluate a node that :func:`_check` has seen."""
    match node:
        case ast.BoolOp(op, operands):
            truths = (bool(_value(operand, row)) for operand in operands)
            return all(truths) if isinstance(op, ast.And) else any(truths)
        case ast.UnaryOp(ast.Not(), operand):
            return not _value(operand, row)
        case ast.UnaryOp(_, operand):
            return -_number(_value(operand, row))
        case ast.BinOp(left, op, right):
            return _BINARY[type(op)][1](_number(_value(left, row)), _number(_value(right, row)))
        case ast.Compare(left, comparisons, comparators):
            for comparison, right in zip(comparisons, comparators, strict=True):
                if not _holds(_value(left, row), comparison, right, row):
                    return False
                left = right
            return True
        case ast.Name(name):
            return row[name]
        case ast.Constant(value):
            return value
    raise AssertionError(ast.dump(node))


def _holds(left: object, comparison: ast.cmpop, right: ast.expr, row: Mapping[str, object]) -> bool:
    """Evaluate one comparison."""
    if isinstance(right, (ast.Tuple, ast.List)):
        among = any(left == _value(element, row) for element in right.elts)
        return among if isinstance(comparison, ast.In) else not among
    return bool(_COMPARE[type(comparison)][1](left, _value(right, row)))


def _number(value: object) -> int | float:
    """Give the value, if it is a number."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value
