"""The property ``cohp``: reads LOBSTER's files, or has GPAW compute."""

from __future__ import annotations

from collections.abc import Mapping

from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError
from screen_cli.properties.cohp import lcao, lobster
from screen_cli.properties.cohp.bonding import Bonding
from screen_cli.stages.relax import Relaxed
from screen_cli.store.record import Json, record_from

SOURCES = ("lobster", "gpaw")


def cohp(
    records: Mapping[str, object],
    *,
    structure: Structure,
    source: str = "lobster",
    folder: str = "",
    **options: object,
) -> Bonding:
    """Average bonding and antibonding integrals over the bonds of a crystal.

    Parameters
    ----------
    records : mapping of str to typed record
        ``relax``, whose cell GPAW computes; LOBSTER's files need none.
    structure : Structure
        The crystal; its id, provider id or formula names its folder of LOBSTER's files.
    source : {"lobster", "gpaw"}
    folder : str
        Folder that holds one folder for each crystal (LOBSTER).
    **options : object
        Fields of :class:`screen_cli.properties.cohp.lcao.GpawSettings` (GPAW).

    Raises
    ------
    ConfigError
        The source or an option is unknown, or the folder does not exist.
    StructureError, CalculatorError
        The files are damaged; or GPAW refuses the crystal, which then has no numbers.
    """
    settings = _settings(source, folder, options)
    if settings is None:
        return lobster.read_bonding(structure, folder)
    return lcao.compute_bonding(record_from(records, "relax", Relaxed).atoms, settings)


def fingerprint(structure: Structure, source: str = "lobster", folder: str = "", **options: object) -> Json:
    """Give what the property depends on: checksums of LOBSTER's files, or the versions of GPAW and its data."""
    settings = _settings(source, folder, options)
    return lobster.checksums(structure, folder) if settings is None else lcao.identity(settings)


def _settings(source: str, folder: str, options: Mapping[str, object]) -> lcao.GpawSettings | None:
    """Read the settings of GPAW; None for LOBSTER's files."""
    if source not in SOURCES:
        raise ConfigError(f"property 'cohp': source = '{source}', expected one of {', '.join(SOURCES)}.")
    if source == "gpaw":
        if folder:
            raise ConfigError("property 'cohp': folder is LOBSTER's, and source = 'gpaw' computes. Leave one out.")
        return lcao.GpawSettings.from_options(options)
    if options:
        raise ConfigError(
            f"property 'cohp': {', '.join(sorted(options))}: an option of source = 'gpaw'; LOBSTER's files need folder."
        )
    return None
