"""The settings of a training as a page: ``python -m sdnnff_calc.cli.settings_reference > training-settings.md``."""

from __future__ import annotations

from sdnnff_calc import config
from sdnnff_calc.settings_file import reference_table

__all__ = ["reference"]

_TABLES: dict[str, type] = {
    '[model] with kind = "e-sdnnff"': config.EquivariantConfig,
    '[model] with kind = "sdnnff"': config.GridConfig,
    "[data]": config.DataConfig,
    "[training]": config.TrainingConfig,
    "[finetune]": config.FinetuneConfig,
}


def reference() -> str:
    """Write the Markdown page of all settings from the records."""
    lines = [
        "# Settings of a training",
        "",
        "The tables of the TOML file that `sdnnff train` and `sdnnff finetune` read; `make docs` writes this page from",
        "the code, do not edit it. How to use them: [train a force field](../howto/train-a-force-field.md).",
    ]
    for title, record in _TABLES.items():
        meaning = " ".join(str(record.__doc__).split()).replace("``", "`")
        lines += ["", f"## {title}", "", meaning, "", *reference_table(record)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
