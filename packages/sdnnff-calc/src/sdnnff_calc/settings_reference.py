"""The settings of a training as a page: ``python -m sdnnff_calc.settings_reference > training-settings.md``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import typing

from sdnnff_calc import config

__all__ = ["reference"]

_TABLES = {
    '[model] with kind = "e-sdnnff"': config.EquivariantConfig,
    '[model] with kind = "sdnnff"': config.GridConfig,
    "[data]": config.DataConfig,
    "[training]": config.TrainingConfig,
    "[finetune]": config.FinetuneConfig,
}


def reference() -> str:
    """Write the Markdown page of all settings from the records and the docstrings of their fields."""
    lines = [
        "# Settings of a training",
        "",
        "The tables of the TOML file that `sdnnff train` and `sdnnff finetune` read; `make docs` writes this page from",
        "the code, do not edit it. How to use them: [train a force field](../howto/train-a-force-field.md).",
    ]
    meanings = _meanings()
    for title, record in _TABLES.items():
        hints = typing.get_type_hints(record)
        lines += ["", f"## {title}", "", _markdown(str(record.__doc__)), ""]
        lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
        for field in dataclasses.fields(record):
            meaning = meanings[record.__name__, field.name]
            default = json.dumps(field.default)
            lines.append(f"| `{field.name}` | {_values(hints[field.name])} | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"


def _meanings() -> dict[tuple[str, str], str]:
    """Collect the docstrings below the fields, by class and field."""
    found = {}
    for node in ast.parse(inspect.getsource(config)).body:
        for field, text in zip(getattr(node, "body", []), getattr(node, "body", [])[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                name = node.name, ast.unparse(field.target)  # type: ignore[attr-defined]
                found[name] = _markdown(str(ast.literal_eval(text.value)))
    return found


def _markdown(text: str) -> str:
    """Turn a docstring into one line of a table."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _values(kind: typing.Any) -> str:
    """Say what a field takes: its choices, or the type in words."""
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in typing.get_args(kind))
    return {bool: "true, false", int: "integer", float: "number", str: "text"}.get(kind, "list of text")


if __name__ == "__main__":
    print(reference(), end="")
