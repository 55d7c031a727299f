"""Discovery: one bad plugin hurts nobody; names are unique; plugins can be limited."""

from __future__ import annotations

import logging
import sys
import types
from importlib.metadata import EntryPoint

import pytest

from screen_cli.errors import DuplicateNameError, MissingExtraError, PluginError, UnknownNameError
from screen_cli.plugins import hookspecs
from screen_cli.plugins.manager import KINDS, load_plugins
from screen_cli.plugins.records import CalculatorPlugin


def plugin(monkeypatch, module_name, source):
    """Install a module made from source and return its entry point."""
    module = types.ModuleType(module_name)
    monkeypatch.setitem(sys.modules, module_name, module)
    exec(source, module.__dict__)
    return EntryPoint(name=module_name, value=module_name, group=hookspecs.ENTRY_POINT_GROUP)


GOOD = """
from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin
@hookimpl
def screen_calculators():
    yield CalculatorPlugin(name="toy", summary="Toy", factory="ase.calculators.lj:LennardJones")
"""


def test_a_good_plugin_is_found_and_loads_lazily(monkeypatch):
    registry = load_plugins([plugin(monkeypatch, "good", GOOD)])
    record = registry.get("calculators", "toy")
    assert record.load().__name__ == "LennardJones"
    assert registry.broken == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        (
            "from screen_cli.plugins.hookspecs import hookimpl\n"
            "@hookimpl\ndef screen_calculators():\n    1/0\n    yield",
            "ZeroDivisionError",
        ),
        (
            "from screen_cli.plugins.hookspecs import hookimpl\n@hookimpl\ndef screen_calculators():\n    yield 'emt'",
            "expected CalculatorPlugin",
        ),
        (
            "from screen_cli.plugins.hookspecs import hookimpl\n@hookimpl\ndef screen_calculators(missing):\n    yield",
            "missing",
        ),
        ("def screen_calculater():\n    pass", "no hook of API version"),
    ],
)
def test_a_broken_plugin_becomes_a_row_and_a_warning(monkeypatch, caplog, source, reason):
    good = plugin(monkeypatch, "good", GOOD)
    bad = EntryPoint(name="bad", value="bad_module", group=hookspecs.ENTRY_POINT_GROUP)
    module = types.ModuleType("bad_module")
    if source.startswith("raise"):

        def load(self):
            if self.name == "bad":
                exec(source)
            return sys.modules[self.value]

        monkeypatch.setattr(EntryPoint, "load", load)
    else:
        exec(source, module.__dict__)
        monkeypatch.setitem(sys.modules, "bad_module", module)
    with caplog.at_level(logging.WARNING):
        registry = load_plugins([bad, good])
    assert "toy" in registry.names("calculators")
    assert [item.name for item in registry.broken] == ["bad"]
    assert reason in registry.broken[0].reason
    assert sum("bad" in record.message for record in caplog.records) == 1


def test_two_plugins_with_one_name_name_both(monkeypatch):
    points = [plugin(monkeypatch, "first", GOOD), plugin(monkeypatch, "second", GOOD)]
    with pytest.raises(DuplicateNameError, match="first.*second"):
        load_plugins(points)


def test_plugins_can_be_limited(monkeypatch):
    points = [
        plugin(monkeypatch, "first", GOOD),
        plugin(monkeypatch, "second", GOOD.replace('"toy"', '"other"')),
    ]
    assert "other" not in load_plugins(points, only=["first"]).names("calculators")
    registry = load_plugins(points, disabled=["first"])
    assert "toy" not in registry.names("calculators")
    assert registry.disabled == ["first"]
    monkeypatch.setenv("SCREEN_DISABLE_PLUGINS", "first, second")
    assert load_plugins(points).disabled == ["first", "second"]
    monkeypatch.setenv("SCREEN_DISABLE_PLUGINS", "")
    monkeypatch.setenv("SCREEN_PLUGINS", "second")
    assert load_plugins(points).disabled == ["first"]


def test_unknown_name_lists_choices_and_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown engine 'serail'. Did you mean 'serial'\? Known: local"):
        load_plugins([]).get("engines", "serail")


def test_missing_extra_names_the_pip_line():
    record = CalculatorPlugin(name="x", summary="", factory="no_such_module:X", pip="screen-cli[x]")
    with pytest.raises(MissingExtraError, match=r"pip install 'screen-cli\[x\]'"):
        record.load()
    with pytest.raises(PluginError, match="expected 'package.module:attribute'"):
        CalculatorPlugin(name="x", summary="", factory="no_colon").load()


def test_every_kind_has_a_hook_with_a_complete_example():
    for kind in KINDS:
        doc = getattr(hookspecs, f"screen_{kind}").__doc__
        assert "A complete plugin::" in doc
        code = doc.split("A complete plugin::")[1].split("\n\n    ``")[0]
        module = code.split("# my_plugin/")[0]
        compile("\n".join(line[8:] for line in module.splitlines()), kind, "exec")
        assert f"def screen_{kind}():" in module
        assert KINDS[kind].__name__ in module
