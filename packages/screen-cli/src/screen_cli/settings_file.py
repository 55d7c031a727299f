"""Settings from TOML: frozen records that check themselves, errors with lines, pages made from the records.

The same file stands in each package that reads settings, since none of them depends on another; a test holds the
copies equal. A record is declared with :func:`settings_record` and :func:`setting` (pydantic does the checking):

>>> @settings_record
... class RelaxSettings:
...     fmax: float = setting(1e-4, "Largest force component, eV/Å.", gt=0)
>>> RelaxSettings(fmax=0.01).fmax
0.01
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import os
import re
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, dataclass_transform, overload

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ArgsKwargs, ErrorDetails

from screen_cli.errors import ConfigError, nearest_hint

_MOST_BYTES = 64 << 20  # a list of a million names; what has no end is no file of settings

Record = TypeVar("Record")
Value = TypeVar("Value")
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""What JSON holds."""


@overload
def setting(default: type[Value], description: str, **limits: float | str) -> Value: ...
@overload
def setting(default: Value, description: str, **limits: float | str) -> Value: ...
def setting(default: object, description: str, **limits: float | str) -> object:
    """Declare one key: its default, what it means (with its unit), and its limits.

    Parameters
    ----------
    default : object
        Value where the file is silent; dicts, lists and whole records are copied for each record.
    description : str
        A sentence for the commented file and the reference page.
    **limits : float or str
        As pydantic's ``Field``: ``gt``, ``ge``, ``lt``, ``le``, ``min_length``, ``max_length``, ``pattern``.
    """
    given: dict[str, Any] = {"description": description, **limits}
    if isinstance(default, type):
        return Field(default_factory=default, **given)
    if isinstance(default, (dict, list)):
        return Field(default_factory=lambda: type(default)(default), **given)
    return Field(default, **given)


@dataclass_transform(frozen_default=True)
def settings_record(record: type[Record]) -> type[Record]:
    """Make a class a frozen record of settings: unknown keys, wrong types, NaN and infinity are refused.

    Raises
    ------
    ConfigError
        When a record is made with a value that its declaration refuses.
    """
    rules = ConfigDict(extra="forbid", allow_inf_nan=False)
    hints = typing.get_type_hints(record, include_extras=True)
    record.__annotations__ = {key: _strict(hints[key]) for key in record.__annotations__}
    made: Any = checked_dataclass(frozen=True, config=rules)(record)
    unchecked = made.__init__

    @functools.wraps(unchecked)
    def make(self: object, *values: object, **named: object) -> None:
        try:
            unchecked(self, *map(_plain, values), **{key: _plain(value) for key, value in named.items()})
        except ValidationError as error:
            raise ConfigError(" ".join(_sentences(error, made, _no_line))) from error

    made.__init__ = make
    return typing.cast("type[Record]", made)


# -- files -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SettingsFile:
    """A TOML file, read.

    Parameters
    ----------
    path : pathlib.Path
    tables : dict
        What it says.
    text : str
        Its text, for the numbers of lines.
    """

    path: Path
    tables: dict[str, object]
    text: str

    def line_of(self, keys: Sequence[str | int]) -> int:
        """Give the line of a key, or of the innermost table around it; 0 where the file does not name it."""
        lines = dict(_key_lines(self.text))
        names = tuple(key for key in keys if isinstance(key, str))
        while names and names not in lines:
            names = names[:-1]
        return lines.get(names, 0)


def read_settings_file(path: Path | str) -> SettingsFile:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        It cannot be read, is not UTF-8, or is not TOML; the message names the line.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device never end
            raise ConfigError(f"{path} is no file but a folder, pipe or device. Give the path of a TOML file.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"{path} holds more than {_MOST_BYTES >> 20} MB. Is it the right file?")
        text = content.decode("utf-8-sig")
        return SettingsFile(path, tomllib.loads(text), text)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read the settings {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error or 'nested too deeply'}.") from error


def make_settings(record: type[Record], tables: Mapping[str, object], origin: str | SettingsFile) -> Record:
    """Check nested tables against a record.

    Parameters
    ----------
    record : type
        A class made by :func:`settings_record`.
    tables : mapping
        Nested tables. ``""`` stands for None where None is allowed, since TOML has no null.
    origin : str or SettingsFile
        Where they come from; a file's lines are named in errors.

    Raises
    ------
    ConfigError
        Every fault at once: unknown keys with the nearest known one, wrong types, values out of range.
    """
    where = str(origin.path if isinstance(origin, SettingsFile) else origin)
    line_of = origin.line_of if isinstance(origin, SettingsFile) else _no_line
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{where}: expected a table of settings, got {tables!r}.")
    try:
        validator: Any = record.__pydantic_validator__  # type: ignore[attr-defined]
        made: Record = validator.validate_python(ArgsKwargs((), _empty_to_none(record, _plain(tables))))
    except ValidationError as error:
        raise ConfigError(f"{where}: " + " ".join(_sentences(error, record, line_of))) from error
    if odd := list(_odd_values(_plain(tables))):
        raise ConfigError(f"{where}: " + " ".join(odd))
    return made


def apply_override(tables: dict[str, object], override: str) -> None:
    """Set one ``table.key=value`` in nested tables; the value in TOML syntax, bare words count as text.

    Raises
    ------
    ConfigError
        There is no ``=``, or a name on the way is no table.
    """
    dotted, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override '{override}' has no '='. Write it as table.key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        value = text.strip()
    *parents, leaf = dotted.strip().split(".")
    for parent in parents:
        inner = tables.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override '{override}': '{parent}' is not a table.")
        tables = inner
    tables[leaf] = value


def parse_options(items: Sequence[str]) -> dict[str, object]:
    """Read ``key=value`` items as :func:`apply_override` does, into one dict."""
    options: dict[str, object] = {}
    for item in items:
        apply_override(options, item)
    return options


def settings_to_dict(record: object) -> dict[str, Plain]:
    """Turn a record into nested plain dicts and lists, ready for JSON."""
    plain: dict[str, Plain] = json.loads(json.dumps(dataclasses.asdict(typing.cast("Any", record))))
    return plain


# -- pages made from the records ---------------------------------------------------------------------------------------


def commented_file(record: type, heading: Sequence[str] = ()) -> str:
    """Write a TOML file that shows every key with its meaning and its default, commented out."""
    lines = [f"# {line}".rstrip() for line in heading]
    tables = _tables(record)
    for name, info in _fields(record).items():
        if name not in tables:
            lines += ["", f"# {info.description}", f"# {name} = {_toml(_default(info))}"]
    for name, table in tables.items():
        lines += ["", f"# {_fields(record)[name].description}", f"[{name}]"]
        for key, info in _fields(table).items():
            lines += [f"# {info.description}", f"# {key} = {_toml(_default(info))}"]
    return "\n".join(lines).lstrip("\n") + "\n"


def reference_table(record: type) -> list[str]:
    """Write the Markdown table of one record: key, values, default, meaning."""
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for key, info in _fields(record).items():
        meaning = " ".join(str(info.description).split()).replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{key}` | {_values(info)} | `{_toml(_default(info))}` | {meaning} |")
    return lines


def reference_page(record: type, title: str, opening: Sequence[str]) -> str:
    """Write the Markdown page of all tables of a record."""
    lines = [f"# {title}", "", *opening]
    for name, table in _tables(record).items():
        lines += ["", f"## [{name}]", "", str(_fields(record)[name].description), "", *reference_table(table)]
    return "\n".join(lines) + "\n"


# -- details -----------------------------------------------------------------------------------------------------------


def _no_line(keys: Sequence[str | int]) -> int:
    """Know no lines."""
    return 0


def _odd_values(value: object, name: str = "") -> Iterator[str]:
    """Say what is no number and no text, however deep in a table of options it stands."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _odd_values(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _odd_values(item, f"{name}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name} is {value}, expected a finite number."
    elif isinstance(value, str) and "\0" in value:
        yield f"{name} is {value!r}, which holds a null character."


def _fields(record: type) -> dict[str, FieldInfo]:
    """Give the declared keys of a record."""
    fields: dict[str, FieldInfo] = record.__pydantic_fields__  # type: ignore[attr-defined]
    return fields


def _strict(kind: Any) -> Any:
    """Refuse text for numbers and true for 1, at any depth of an annotation; lists may stand for tuples."""
    if kind in (bool, int, float, str):
        return typing.Annotated[kind, Strict()]
    origin, inner = typing.get_origin(kind), tuple(map(_strict, typing.get_args(kind)))
    if origin in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, inner)
    return origin[inner] if origin in (list, tuple, dict) else kind


def _tables(record: type) -> dict[str, type]:
    """Give the keys of a record that are records themselves."""
    return {key: info.annotation for key, info in _fields(record).items() if _is_record(info.annotation)}


def _is_record(kind: object) -> typing.TypeGuard[type]:
    """Tell whether an annotation is a record of settings."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_fields__")


def _default(info: FieldInfo) -> object:
    """Give the default of a key."""
    return info.get_default(call_default_factory=True, validated_data={})


def _plain(value: Any) -> Any:
    """Turn NumPy scalars and paths, at any depth, into what TOML would have given."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return value.item()
    return value


def _empty_to_none(record: type, tables: Mapping[str, object]) -> dict[str, object]:
    """Read ``""`` as None where a key may be None and its default is."""
    fields, tables_of_record, cleaned = _fields(record), _tables(record), dict(tables)
    for key, value in tables.items():
        info = fields.get(key)
        if info is not None and value == "" and info.default is None:
            cleaned[key] = None
        elif key in tables_of_record and isinstance(value, Mapping):
            cleaned[key] = _empty_to_none(tables_of_record[key], value)
    return cleaned


def _sentences(error: ValidationError, record: type, line_of: Callable[[Sequence[str | int]], int]) -> Iterator[str]:
    """Say each fault in a sentence, with its line where one is known."""
    for item in error.errors(include_url=False):
        keys = [part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
        line = line_of(keys)
        place = f"line {line}: " if line else ""
        yield place + _sentence(item, keys, record)


def _sentence(item: ErrorDetails, keys: Sequence[str | int], record: type) -> str:
    """Say one fault."""
    dotted, kind, got = ".".join(map(str, keys)), item["type"], reprlib.repr(item["input"])
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = list(_fields(_innermost(record, keys[:-1])))
        return f"unknown key '{dotted}'. {nearest_hint(str(keys[-1]), known)}"
    if kind == "value_error":
        text = str(item["ctx"]["error"])
        return f"{dotted}: {text}" if dotted else text
    if kind in ("dataclass_type", "dict_type"):
        return f"'{dotted}' must be a table, got {got}."
    expected = re.sub(r"^Input should be |^Value should be ", "", item["msg"])
    for symbolic, said in _BOUNDS.items():
        expected = expected.replace(symbolic, said)
    if kind == "literal_error":
        choices = [choice.strip(" '") for choice in re.split(r", | or ", expected)]
        return f"{dotted} is {got}, expected {expected}. {nearest_hint(str(item['input']), choices)}"
    return f"{dotted} is {got}, expected {expected}."


def _innermost(record: type, keys: Sequence[str | int]) -> type:
    """Follow keys into nested records, as far as they go."""
    for key in keys:
        inner = _tables(record).get(str(key))
        if inner is None:
            break
        record = inner
    return record


_BOUNDS = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}
_HEADER = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _key_lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Find the line of each table and key of a TOML text (of inline tables: the line they stand on)."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header.group(1))
            yield table, number
        elif key := _KEY.match(line):
            yield (*table, *_parts(key.group(1))), number


def _parts(dotted: str) -> tuple[str, ...]:
    """Split a dotted key."""
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _toml(value: object) -> str:
    """Spell a default in TOML."""
    if value is None:
        return '""'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _values(info: FieldInfo) -> str:
    """Say what a key takes: its choices, or its type in words with its limits."""
    kind = info.annotation
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{_toml(choice)}`" for choice in typing.get_args(kind))
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limits = [
        f"{sign} {getattr(part, name):g}"
        for part in info.metadata
        for name, sign in signs.items()
        if hasattr(part, name)
    ]
    return " ".join([_in_words(kind), *limits])


def _in_words(kind: object) -> str:
    """Name a type as a user would."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (list, tuple):
        item = _in_words(typing.get_args(kind)[0])
        return f"list of {item if item == 'text' else item + 's'}"
    words: dict[object, str] = {bool: "true, false", int: "integer", float: "number", str: "text"}
    return words.get(kind, "table")
