"""Hypothesis strategies for typed records: arrays, values and documents as the class declares them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from screen_cli.store.record import ArrayField, TypedRecord, declared_arrays

TypedT = TypeVar("TypedT", bound=TypedRecord)

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=30)
_FINITE = st.floats(-1e100, 1e100)  # sums and squares of them are finite too


@st.composite
def typed_records(draw: st.DrawFn, record_class: type[TypedT]) -> TypedT:
    """Draw a typed record: sizes from 0 to 3, finite numbers, optional fields there or not.

    Parameters
    ----------
    record_class : type
        Of the records.
    """
    sizes: dict[str, int] = {}
    arrays = declared_arrays(record_class)
    hints = typing.get_type_hints(record_class)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(record_class):
        if item.name in arrays:
            fields[item.name] = draw(_array(arrays[item.name], sizes))
        elif "part" in item.metadata:
            inner, _, optional = item.metadata["part"]
            fields[item.name] = None if optional and draw(st.booleans()) else draw(typed_records(inner))
        elif "document" in item.metadata:
            fields[item.name] = draw(_TEXT)
        else:
            fields[item.name] = draw(_value(hints[item.name]))
    return record_class(**fields)


@st.composite
def _array(draw: st.DrawFn, described: ArrayField, sizes: dict[str, int]) -> NDArray[np.generic] | None:
    """Draw an array of the declared dtype and shape; sizes by name hold for the whole record."""
    if described.optional and draw(st.booleans()):
        return None
    shape = []
    for size in described.shape:
        if isinstance(size, str) and size not in sizes:
            sizes[size] = draw(st.integers(1, 3))
        shape.append(sizes[size] if isinstance(size, str) else size)
    elements = _FINITE if np.issubdtype(described.dtype, np.floating) else st.integers(-100, 100)
    if described.name.endswith("numbers") or described.name.endswith("elements"):
        elements = st.integers(1, 94)
    drawn: NDArray[np.generic] = draw(hnp.arrays(described.dtype, tuple(shape), elements=elements))
    return drawn


def _value(hint: Any) -> st.SearchStrategy[Any]:
    """Draw a JSON value of a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is float:
        return _FINITE
    if hint is str:
        return _TEXT
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(_value(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_value, inner))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{item.name: _value(hints[item.name]) for item in dataclasses.fields(hint)})
    if inner and type(None) in inner:
        return st.one_of(*[st.none() if part is type(None) else _value(part) for part in inner])
    return st.from_type(hint)


def same_storage(one: TypedRecord, other: TypedRecord) -> bool:
    """Whether two records are stored alike: equal values and documents, arrays equal bit for bit with their dtype."""
    first, second = one.to_storage(), other.to_storage()
    return first.data == second.data and first.documents == second.documents and _same(first.arrays, second.arrays)


def _same(one: Mapping[str, NDArray[np.generic]], other: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether arrays are equal bit for bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )
