"""What factories check before they open a file: that it exists, that it may run code, that nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from ase.calculators.calculator import BaseCalculator

from screen_cli.errors import ConfigError

_WITHOUT_CODE = {".pb", ".safetensors"}
"""Endings of model files whose format holds numbers alone."""


def obeying(calculator: BaseCalculator, options: Mapping[str, object]) -> BaseCalculator:
    """Give the calculator back if it knows the options; ASE's base class stores those that nobody asks for.

    Raises
    ------
    TypeError
        An option has no effect: misspelt, or of another calculator.
    """
    stored = set(getattr(calculator, "parameters", ())) - set(getattr(calculator, "default_parameters", ()))
    unused = sorted(stored & set(options))
    if unused:
        raise TypeError(f"no option is called {', '.join(unused)}")
    return calculator


def trusted(path: str, name: str, trust: bool, known: Iterable[str] = ()) -> Path:
    """Return a checkpoint (file or folder) that exists and that the user trusts: loading it may run code in it.

    Raises
    ------
    ConfigError
        There is no such file, or ``trust`` is not true; the message shows what to compare.
    """
    file = Path(path).expanduser()
    if not file.exists():
        choices = f" Known models: {', '.join(known)}." if known else ""
        raise ConfigError(f"calculator '{name}': there is no file '{path}'.{choices}")
    if trust is not True and file.suffix not in _WITHOUT_CODE:
        raise ConfigError(
            f"calculator '{name}': loading '{path}' may run code that is in it (pickle). If you trust whoever made it, "
            f"set calculator.options.trust = true. Its SHA-256 is {checksum(file)}."
        )
    return file


def checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder."""
    if path.is_file():
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\0{checksum(file)}\0".encode())
    return digest.hexdigest()


def weights_file(path: str | None, name: str, model: str, *, what: str, download: bool, trust: bool) -> str | None:
    """Give the user's file of weights, or None where those of a published model may be downloaded.

    Parameters
    ----------
    path : str or None
        File or folder that the user named.
    name : str
        Of the calculator.
    model : str
        Name of the published model.
    what : str
        What would be downloaded and from where, in a phrase.
    download, trust : bool
        What the user allows.

    Raises
    ------
    ConfigError
        Neither a file nor the download is given, the file is not trusted, or ``model`` is a file.
    """
    if path is not None:
        return str(trusted(path, name, trust))
    if not download:
        raise no_download(name, what)
    refuse_path(model, name)
    return None


def refuse_path(model: str, name: str) -> None:
    """Refuse a file where the name of a published model is expected."""
    if Path(model).expanduser().exists() and model:
        raise ConfigError(f"calculator '{name}': model is the name of a published model; give a file as path.")


def no_download(name: str, what: str) -> ConfigError:
    """Refuse a silent download."""
    return ConfigError(
        f"calculator '{name}' would have to download {what}. Give the file with calculator.options.path, or allow "
        "the download with calculator.options.download = true."
    )
