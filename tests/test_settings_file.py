"""The settings engine says every fault with its line."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.bench.reference import read_references
from screen_cli.errors import ConfigError, FilterError
from screen_cli.report.reference import read_reference
from screen_cli.settings_file import (
    apply_override,
    commented_file,
    make_settings,
    read_settings_file,
    setting,
    settings_record,
    settings_to_dict,
)


@settings_record
class Inner:
    """A table."""

    width: float = setting(0.5, "Width, Å.", gt=0)
    count: int | None = setting(None, "Number.", ge=1)
    kind: Literal["soft", "hard"] = setting("soft", "Kind.")
    names: tuple[str, ...] = setting((), "Names.")


@settings_record
class Outer:
    """A file."""

    title: str = setting("", "Title.")
    inner: Inner = setting(Inner, "Inner.")


def test_every_fault_at_once_with_its_line(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('title = "a"\n\n[inner]\nwidth = -1\nkind = "sfot"\nnmaes = []\ncount = true\n')
    file = read_settings_file(path)
    with pytest.raises(ConfigError) as caught:
        make_settings(Outer, file.tables, file)
    message = str(caught.value)
    for part in ("line 4: inner.width is -1, expected above 0", "line 5: inner.kind", "Did you mean 'soft'?"):
        assert part in message
    assert "line 6: unknown key 'inner.nmaes'. Did you mean 'names'?" in message
    assert "line 7: inner.count is True" in message


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"[a", b"a = 1\na = 2\n", b"x = " + b"[" * 5000, b"x = 2024-13-45", b"\x00"]
)
def test_files_that_are_not_toml_are_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml"):
        read_settings_file(path)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b'\xef\xbb\xbftitle = "a"\n')
    assert read_settings_file(path).tables == {"title": "a"}


@pytest.mark.parametrize("value", [math.nan, math.inf, "3", True, None, [1.0], 10**400, 0.0])
def test_a_width_is_a_finite_positive_number(value):
    with pytest.raises(ConfigError, match="width"):
        Inner(width=value)


def test_numpy_and_paths_are_taken_for_what_they_are():
    made = make_settings(Outer, {"title": Path("a"), "inner": {"width": np.float32(2), "count": np.int64(3)}}, "x")
    assert (made.title, made.inner.width, made.inner.count) == ("a", 2.0, 3)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
"""A null character is refused wherever it stands."""

records = st.builds(
    Outer,
    title=texts,
    inner=st.builds(
        Inner,
        width=st.floats(min_value=1e-300, allow_nan=False, allow_infinity=False),
        count=st.none() | st.integers(min_value=1),
        kind=st.sampled_from(["soft", "hard"]),
        names=st.lists(texts).map(tuple),
    ),
)


@given(records)
def test_a_record_survives_its_dict(record):
    assert make_settings(Outer, settings_to_dict(record), "x") == record


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_anything_else_is_a_record_or_a_config_error(tables):
    with contextlib.suppress(ConfigError):
        assert isinstance(make_settings(Outer, tables, "x"), Outer)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_any_override_sets_something_or_is_refused(text):
    tables = {}
    with contextlib.suppress(ConfigError):
        apply_override(tables, text)
        assert tables


def test_the_commented_file_shows_each_key():
    page = commented_file(Outer)
    for line in ('# title = ""', "[inner]", "# width = 0.5", '# count = ""', "# names = []"):
        assert line in page


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_is_not_waited_for(make, tmp_path):
    path = tmp_path / "settings.toml"
    make(path)
    with pytest.raises(ConfigError, match="is no file but a folder, pipe or device"):
        read_settings_file(path)
    with pytest.raises(FilterError, match="is no file but a folder, pipe or device"):
        read_reference(path, [])
    with pytest.raises(ConfigError, match="is no file but a folder, pipe or device|holds no .hdf5 file"):
        read_references(path, 300.0)
    if not path.is_dir():
        table = path.rename(path.with_suffix(".hdf5"))
        with pytest.raises(ConfigError, match="is no file but a folder, pipe or device"):
            read_references(table, 300.0)
