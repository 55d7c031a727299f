"""A data set to publish: tables, crystals, settings and a README that says what every column is, in one zip file."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from screen_cli.errors import MissingExtraError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.report.tables.columns import quantity_of, temperatures_of
from screen_cli.report.tables.exporters import columns_of, write_csv, write_extxyz, write_parquet
from screen_cli.store.row import Row

if TYPE_CHECKING:
    from screen_cli.store.run_directory import RunDirectory

_KEPT = ("settings", "versions", "python")
_WRITERS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("crystals.csv", "one line for each crystal, empty where there is no value", write_csv),
    ("crystals.parquet", "the same, typed", write_parquet),
    ("crystals.extxyz", "the crystals, relaxed where that stage finished, with their columns", write_extxyz),
)
_WORDS = """\
# {title}

{n_rows} crystals{made_with}.

## Files

| file | what it holds | SHA-256 |
|---|---|---|
{files}

## What a value is worth

Everything is computed, by the force field, not by DFT, and with its errors. `trusted` and `kappa_trusted` are false
where a fit or κ should not be believed; `state` and `reason` say why a crystal has no value. Crystals that are not
`stable` have imaginary frequencies at 0 K, and no κ.

## Columns

In `crystals.csv` and `crystals.parquet`. Temperatures stand in the names.

| column | unit | meaning |
|---|---|---|
{columns}

## Licence

{licence}

## How to cite

{cite}
"""


@dataclass(frozen=True)
class About:
    """What a run does not know of the data set made of it.

    Parameters
    ----------
    licence : str
        Of the data, e.g. ``"CC-BY-4.0"``; the README says where none is given.
    creator : str
        Whom to name.
    """

    licence: str = ""
    creator: str = ""


def write_dataset(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None, about: About = About()) -> None:
    """Write a zip file with CSV, Parquet (where pyarrow is installed), extended XYZ, settings and README.

    Parameters
    ----------
    rows : iterable of mapping
    path : Path
        The zip file.
    run : RunDirectory, optional
        Where the rows come from; without one there are no settings and no force field to name.
    about : About
        Licence and creator.
    """
    name_of_set = "dataset" if run is None else run.root.resolve().name
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        if run is not None:
            settings = {key: value for key, value in run.manifest().items() if key in _KEPT}
            (Path(folder) / "settings.json").write_text(
                json.dumps(settings, indent=1, sort_keys=True), encoding="utf-8"
            )
            made["settings.json"] = "every setting of the run, and the versions of what computed it"
        for name, what, writer in _WRITERS:
            try:
                writer(rows, Path(folder) / name, run=run)
            except MissingExtraError:
                continue
            made[name] = what
        readme = _readme(rows, run, [_described(Path(folder) / name, what) for name, what in made.items()], about)
        (Path(folder) / "README.md").write_text(readme, encoding="utf-8")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("README.md", *made):
                archive.write(Path(folder) / name, f"{name_of_set}/{name}")


def _described(file: Path, what: str) -> str:
    """Line of the table of files."""
    with file.open("rb") as content:
        return f"| `{file.name}` | {what} | `{hashlib.file_digest(content, 'sha256').hexdigest()}` |"


def _readme(rows: Iterable[Row], run: RunDirectory | None, files: list[str], about: About) -> str:
    """README.md of a data set."""
    kelvin = {} if run is None else temperatures_of(run)
    columns = []
    for name in columns_of(rows):
        quantity = quantity_of(name)
        columns.append(f"| `{quantity.full_name(kelvin)}` | {quantity.symbol} | {quantity.meaning} |")
    title, made_with, weights, sources = _origin(run)
    licence = f"The data: {about.licence}." if about.licence else "None is given: ask who made the data."
    return _WORDS.format(
        title=title,
        n_rows=f"{sum(1 for _ in rows):,}",
        made_with=made_with,
        files="\n".join(files),
        columns="\n".join(columns),
        licence=licence + weights,
        cite="\n".join((f"- The data: {about.creator or 'its authors'}, *{title}*.", *sources)),
    )


def _origin(run: RunDirectory | None) -> tuple[str, str, str, list[str]]:
    """Title, what computed the data, the licence of the force field, and what to cite besides the data."""
    cite = ["- screen-cli, phono3py and the papers of its CITATION.cff."]
    if run is None:
        return "Data set", "", "", cite
    settings, manifest = run.settings, run.manifest()
    options = "".join(f", {key} = {value}" for key, value in settings.calculator.options.items())
    version = manifest["versions"].get("screen-cli", "")
    made_with = f", computed with screen-cli {version} and the force field `{settings.calculator.name}{options}`"
    registry = installed_plugins()
    licence = ""
    if settings.calculator.name in registry.names("calculators"):
        calculator = registry.get("calculators", settings.calculator.name)
        licence = f" The force field: {calculator.licence}." if calculator.licence else ""
        cite += [f"- The force field: {calculator.citation}"] if calculator.citation else []
    return settings.title or run.root.resolve().name, f"{made_with}, on {manifest['created'][:10]}", licence, cite
