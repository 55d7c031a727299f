"""The record: what a stage hands on, typed, and what the store keeps: values, arrays and documents by name.

A stage declares its result as a frozen dataclass derived from :class:`TypedRecord`::

    @dataclass(frozen=True, kw_only=True, eq=False)
    class Relaxed(TypedRecord):
        volume: float                                        # a JSON value
        energy_ev_per_atom: float | None = None              # left out of the file when None
        cell: NDArray[np.float64] = array(np.float64, 3, 3)  # a dataset of the HDF5 file

:meth:`TypedRecord.to_storage` and :meth:`TypedRecord.from_storage` are the only place where typed records and files
meet; dtype and shape of every array, and the type of every value, are checked on the way.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, TypeVar, cast, get_type_hints, overload

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError, RecordError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Scalar: TypeAlias = bool | int | float | str
Json: TypeAlias = "Scalar | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True)
class Record:
    """Named values, arrays and documents: the storage form of a result, and the result of a plugin's property.

    Parameters
    ----------
    data : mapping of str to value
        Small JSON values (numbers, strings, booleans, short lists, nested dicts). Scalars at the top level
        become columns of the results table.
    arrays : mapping of str to ndarray
        Everything larger. Written to one HDF5 file with one dataset per name, so that phono3py's names
        (``fc2``, ``fc3``, ``p2s_map``, ``kappa`` ...) open with phono3py's own tools.
    documents : mapping of str to str
        Text files by suffix, for instance ``{"yaml": <phono3py_disp.yaml>}``.
    """

    data: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)

    def check_finite(self, stage: str) -> None:
        """Refuse NaN and infinity anywhere in the record.

        Raises
        ------
        PhysicsError
            Names the value and how many of its elements are not finite.
        """
        for name, values in self.arrays.items():
            if np.issubdtype(values.dtype, np.inexact) and not np.isfinite(values).all():
                n_bad = int(np.count_nonzero(~np.isfinite(values)))
                raise PhysicsError(
                    f"{stage}: {n_bad} of {values.size} values of '{name}' are not finite; nothing was written."
                )
        _check_json(self.data, stage)

    @classmethod
    def of_dataclass(cls, result: DataclassInstance) -> Record:
        """Give the storage form of a plugin's own frozen dataclass: its arrays as arrays, the rest as JSON values."""
        values = {item.name: getattr(result, item.name) for item in dataclasses.fields(result)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        return cls({name: _plain(value) for name, value in values.items() if name not in arrays}, arrays)

    def to_storage(self) -> Record:
        """Return itself: what is named freely is its own storage form."""
        return self

    @classmethod
    def from_storage(cls, record: Record) -> Record:
        """Return the stored record as it is."""
        return record

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return an array as float64; shape and unit are those of its name.

        Raises
        ------
        RecordError
            There is none of that name.
        """
        if name not in self.arrays:
            raise RecordError(f"the record has no array '{name}' (it has {sorted(self.arrays)}).")
        return np.asarray(self.arrays[name], dtype=np.float64)


# -- declaration of fields -------------------------------------------------------------------------


@dataclass(frozen=True)
class ArrayField:
    """How one array of a typed record is stored.

    Parameters
    ----------
    name : str
        Dataset on disk.
    dtype : numpy.dtype
    shape : tuple of int and str
        Sizes; a name stands for one size throughout the record, e.g. ``("n_temps", 6)``.
    optional : bool
        None where there is no such array.
    copies : tuple of str
        Further datasets with the same content, under the names that phono3py's tools read.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str, ...]
    optional: bool = False
    copies: tuple[str, ...] = ()


ScalarType = TypeVar("ScalarType", bound=np.generic)
PartT = TypeVar("PartT", bound="TypedRecord")


@overload
def array(
    dtype: type[ScalarType],
    *shape: int | str,
    optional: Literal[False] = False,
    name: str = "",
    copies: tuple[str, ...] = (),
) -> NDArray[ScalarType]: ...
@overload
def array(
    dtype: type[ScalarType],
    *shape: int | str,
    optional: Literal[True],
    name: str = "",
    copies: tuple[str, ...] = (),
) -> NDArray[ScalarType] | None: ...
def array(
    dtype: type[np.generic], *shape: int | str, optional: bool = False, name: str = "", copies: tuple[str, ...] = ()
) -> object:
    """Declare an array (see :class:`ArrayField`); its dataset has the name of the field unless ``name`` is given."""
    described = {"array": (name, np.dtype(dtype), shape, optional, copies)}
    return field(default=None, metadata=described) if optional else field(metadata=described)


def nullable() -> None:
    """Declare a JSON value that is written as ``null`` where it is None; other optional values are left out."""
    declared: None = field(default=None, metadata={"nullable": True})
    return declared


def document(suffix: str) -> str:
    """Declare a text file beside the record, e.g. ``document("yaml")``."""
    declared: str = field(metadata={"document": suffix})
    return declared


@overload
def part(record_class: type[PartT], suffix: str = "", *, optional: Literal[False] = False) -> PartT: ...
@overload
def part(record_class: type[PartT], suffix: str = "", *, optional: Literal[True]) -> PartT | None: ...
def part(record_class: type[TypedRecord], suffix: str = "", *, optional: bool = False) -> object:
    """Declare a typed record inside this one; its names on disk end in ``suffix``."""
    described = {"part": (record_class, suffix, optional)}
    return field(default=None, metadata=described) if optional else field(metadata=described)


class column(property):
    """A property that is written as a JSON value too, unless it is None: a column that follows from other fields."""

    name: str = ""
    nullable: bool = False


def column_named(name: str = "", *, nullable: bool = False) -> Callable[[Callable[..., Json]], column]:
    """Declare a :class:`column` whose name on disk is not that of the property, or that is written as ``null``."""

    def declare(function: Callable[..., Json]) -> column:
        declared = column(function)
        declared.name, declared.nullable = name, nullable
        return declared

    return declare


class columns(property):
    """A property whose items are written as JSON values too: columns whose names a record's arrays decide."""


class TypedRecord:
    """Base of the typed records: frozen dataclasses that convert to and from :class:`Record`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    def __post_init__(self) -> None:
        """Refuse arrays of another dtype or shape.

        Raises
        ------
        RecordError
        """
        sizes: dict[str, int] = {}
        for name, described in _declared(type(self)).arrays.items():
            _check_array(f"{type(self).__name__}.{name}", getattr(self, name), described, sizes)

    def to_storage(self) -> Record:
        """Spread the fields over JSON values, arrays and documents."""
        data: dict[str, Json] = {}
        arrays: dict[str, NDArray[np.generic]] = {}
        documents: dict[str, str] = {}
        for name, described in _declared(type(self)).arrays.items():
            values = getattr(self, name)
            if values is not None:
                arrays |= dict.fromkeys((described.name, *described.copies), values)
        for item in dataclasses.fields(self):
            content = getattr(self, item.name)
            if "part" in item.metadata and content is not None:
                inner, suffix = content.to_storage(), item.metadata["part"][1]
                data |= {f"{name}{suffix}": value for name, value in inner.data.items()}
                arrays |= {f"{name}{suffix}": value for name, value in inner.arrays.items()}
            elif "document" in item.metadata:
                documents[item.metadata["document"]] = content
            elif not item.metadata.keys() & {"array", "part"} and (content is not None or "nullable" in item.metadata):
                data[item.name] = _plain(content)
        for name, declared in _declared(type(self)).columns.items():
            if getattr(self, name) is not None or declared.nullable:
                data[declared.name or name] = _plain(getattr(self, name))
        for name in _declared(type(self)).families:
            data |= {key: _plain(value) for key, value in getattr(self, name).items()}
        return Record(data, arrays, documents)

    @classmethod
    def from_storage(cls, record: Record) -> Self:
        """Collect the fields from a stored record.

        Raises
        ------
        RecordError
            A value, array or document is missing or of another type, dtype or shape.
        """
        return cls._collect(record, "")

    @classmethod
    def _collect(cls, record: Record, suffix: str) -> Self:
        """Collect the fields, names on disk ending in ``suffix``."""
        found: dict[str, object] = {}
        arrays = _declared(cls).arrays
        for item in dataclasses.fields(cls):
            if item.name in arrays:
                found[item.name] = record.arrays.get(f"{arrays[item.name].name}{suffix}")
            elif "part" in item.metadata:
                inner, ending, optional = item.metadata["part"]
                is_there = any(f"{name}{ending}" in record.arrays for name in inner.stored_arrays())
                found[item.name] = inner._collect(record, ending) if is_there or not optional else None
            elif "document" in item.metadata:
                found[item.name] = record.documents.get(item.metadata["document"])
                if found[item.name] is None:
                    raise RecordError(
                        f"the stored {cls.__name__} has no document '{item.metadata['document']}' (it has "
                        f"{sorted(record.documents)}). Make it again from the stage before."
                    )
            elif f"{item.name}{suffix}" in record.data:
                found[item.name] = _value(cls, item.name, record.data[f"{item.name}{suffix}"])
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise RecordError(
                    f"the stored {cls.__name__} has no value '{item.name}{suffix}' (it has {sorted(record.data)}). It "
                    "was made by another version: compute it again in a new run directory."
                )
        return cls(**found)

    @classmethod
    def stored_arrays(cls) -> list[str]:
        """Names on disk of the arrays that are always there."""
        return [described.name for described in _declared(cls).arrays.values() if not described.optional]


RecordT = TypeVar("RecordT")


def record_from(records: Mapping[str, object], stage: str, record_class: type[RecordT]) -> RecordT:
    """Return the record of a stage, of the class that its reader expects.

    Raises
    ------
    RecordError
        There is none, or it is of another class.
    """
    record = records.get(stage)
    if not isinstance(record, record_class):
        found = "nothing" if record is None else f"a {type(record).__name__}"
        raise RecordError(f"'{stage}' gave {found}, expected a {record_class.__name__}.")
    return record


def declared_arrays(record_class: type[TypedRecord]) -> dict[str, ArrayField]:
    """Arrays that a class of records declares, by field."""
    return _declared(record_class).arrays


def check_shape(name: str, values: NDArray[np.generic], shape: Sequence[int | str], sizes: dict[str, int]) -> None:
    """Compare a shape with its declaration; sizes by name are learned on the way.

    Raises
    ------
    RecordError
        Names the array, its shape and the expected one.
    """
    expected = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in shape)
    matches = len(expected) == values.ndim and all(
        isinstance(size, str) or size == found for size, found in zip(expected, values.shape, strict=True)
    )
    if not matches:
        wanted = f"({', '.join(str(size) for size in expected)}{',' if len(expected) == 1 else ''})"
        raise RecordError(f"{name} has shape {values.shape}, expected {wanted}.")
    for size, found in zip(shape, values.shape, strict=True):
        if isinstance(size, str):
            sizes.setdefault(size, found)


def _check_array(name: str, values: object, described: ArrayField, sizes: dict[str, int]) -> None:
    """Compare one array with its declaration."""
    if values is None and described.optional:
        return
    if not isinstance(values, np.ndarray):
        found = "is missing" if values is None else f"is a {type(values).__name__}"
        raise RecordError(f"{name} {found}, expected an array of {described.dtype} with shape {described.shape}.")
    if values.dtype != described.dtype:
        raise RecordError(f"{name} has dtype {values.dtype}, expected {described.dtype}.")
    check_shape(name, values, described.shape, sizes)


@dataclass(frozen=True)
class _Declared:
    """What a class of typed records declares: arrays, columns, and the validators of its JSON values."""

    arrays: dict[str, ArrayField]
    columns: dict[str, column]
    families: list[str]
    hints: dict[str, object]
    adapters: dict[str, Any] = field(default_factory=dict)


_DECLARED: dict[type[TypedRecord], _Declared] = {}


def _declared(record_class: type[TypedRecord]) -> _Declared:
    """Read the declarations of a class, once."""
    if record_class not in _DECLARED:
        arrays = {}
        for item in dataclasses.fields(record_class):
            if "array" in item.metadata:
                name, dtype, shape, optional, copies = item.metadata["array"]
                arrays[item.name] = ArrayField(name or item.name, dtype, shape, optional, copies)
        attributes = {name: getattr(record_class, name, None) for name in dir(record_class)}
        singles = {name: item for name, item in attributes.items() if isinstance(item, column)}
        families = [name for name, item in attributes.items() if isinstance(item, columns)]
        _DECLARED[record_class] = _Declared(arrays, singles, families, get_type_hints(record_class))
    return _DECLARED[record_class]


def _value(record_class: type[TypedRecord], name: str, value: Json) -> object:
    """Read a JSON value as its field's type."""
    from pydantic import TypeAdapter, ValidationError

    declared = _declared(record_class)
    if name not in declared.adapters:
        declared.adapters[name] = TypeAdapter(cast("Any", declared.hints[name]))
    try:
        return declared.adapters[name].validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise RecordError(
            f"the stored {record_class.__name__} has {name} = {value!r}, which is not of its type: "
            f"{error.errors()[0]['msg'].lower()}. Compute it again in a new run directory."
        ) from error


def _plain(value: object) -> Json:
    """Turn tuples, dataclasses and NumPy scalars inside JSON data into plain values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, np.generic):
        plain: Scalar = value.item()
        return plain
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return cast("Json", value)


def _check_json(value: object, path: str) -> None:
    """Walk JSON data and refuse non-finite floats."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PhysicsError(f"{path} is {value}; nothing was written.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_json(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
