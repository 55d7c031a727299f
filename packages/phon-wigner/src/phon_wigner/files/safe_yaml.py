"""Read YAML of strangers as data and nothing else.

phonopy's and phono3py's own loaders use PyYAML's unsafe loader, which calls any function that the file names. Here the
file is read with the safe loader; what phonopy and phono3py get is the dictionary.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, cast

from phon_wigner.errors import InputFileError
from phon_wigner.file_access.reading import PathLike, existing_file, read_all, reading

_ANCHOR = re.compile(rb"(?:^|[\s\[{,:-])[&*][A-Za-z0-9_]", re.MULTILINE)


def load_yaml(path: PathLike) -> dict[str, object]:
    """Return the mapping that a YAML file holds; ``.gz``, ``.xz`` and ``.bz2`` are unpacked.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict[str, object]
        Strings, numbers, lists and dictionaries only.

    Raises
    ------
    InputFileError
        The file is missing, too large, not YAML, not a mapping, asks for a Python object, or repeats itself by
        anchors (which phonopy and phono3py never write, and which can make a small file a huge one).
    """
    import yaml
    from phonopy.file_IO import get_io_module_to_decompress

    fix = "Give a YAML file that phono3py or phonopy wrote."
    found = existing_file(path, "the YAML file", fix)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with reading(path, "YAML", fix):
        with get_io_module_to_decompress(found).open(found, "rb") as handle:
            content = read_all(cast(IO[bytes], handle))
        if _ANCHOR.search(content) and _repeats(content):
            raise ValueError("it uses anchors, which no phonopy or phono3py file has")
        document = yaml.load(content, Loader=loader)
    if not isinstance(document, dict):
        raise InputFileError(f"{Path(path)} holds no YAML mapping but {type(document).__name__}. {fix}")
    return {str(key): value for key, value in document.items()}


def _repeats(content: bytes) -> bool:
    """Whether a YAML text truly holds an anchor or an alias, comments and quoted text aside."""
    import yaml

    events = yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return any(isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) for event in events)
