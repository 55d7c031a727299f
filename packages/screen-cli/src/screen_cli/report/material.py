"""Everything a report is made of, read from the run directory once."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.errors import RecordError, StructureError
from screen_cli.report.descriptors import descriptor_of, read_descriptors
from screen_cli.report.page import details
from screen_cli.report.page.packing import pack
from screen_cli.report.reference import Reference, read_reference
from screen_cli.store.record import Json, Record
from screen_cli.store.row import Row, number, stage_keys, text, whole_number
from screen_cli.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from screen_cli.crystal.structure import Structure

logger = logging.getLogger(__name__)

_HUNDREDS = 300
"""Crystals from which shares of a run can be held against the 77,091 of the paper."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report is asked for.

    Parameters
    ----------
    reference : Path, optional
        Values to compare with (:func:`screen_cli.report.reference.read_reference`).
    descriptors : Path, optional
        Vectors for t-SNE (:func:`screen_cli.report.descriptors.read_descriptors`); default: those in the records.
    max_megabytes : float
        Size of the curves that are embedded, MB; those of the crystals with the lowest κ first.
    where : str
        Only the crystals that satisfy this expression.
    with_paper : bool, optional
        Whether the SDNNFF paper's numbers stand beside the run's; default: where there are hundreds of crystals.
    """

    reference: Path | None = None
    descriptors: Path | None = None
    max_megabytes: float = 1.4
    where: str = ""
    with_paper: bool | None = None


@dataclass(frozen=True)
class Crystal:
    """What the records hold beyond a row.

    Parameters
    ----------
    packed : str
        What its page needs (:func:`screen_cli.report.page.packing.pack`): files of its records, metadata and, unless
        left out, structure and curves.
    elements : list of str
        Symbols, from the structure.
    msd_by_element : dict of str to float
        Å², at the first temperature of the harmonic stage.
    metadata : mapping of str to value
        From the source.
    descriptor : ndarray or None
        float64 (n_features,).
    """

    packed: str = ""
    elements: list[str] = field(default_factory=list)
    msd_by_element: dict[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Json] = field(default_factory=dict)
    descriptor: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Material:
    """Rows and what belongs to them.

    Parameters
    ----------
    run : RunDirectory
    rows : list of mapping
        Of the index.
    crystals : list of Crystal
        One per row.
    reference : Reference or None
    with_paper : bool
        Whether the SDNNFF paper's numbers stand beside the run's.
    """

    run: RunDirectory
    rows: list[Row]
    crystals: list[Crystal]
    reference: Reference | None = None
    with_paper: bool = False

    @property
    def msd_kelvin(self) -> float:
        """Temperature of ``max_msd`` and of the MSD by element, K."""
        return float(self.run.settings.harmonic.temperatures[0])

    def column(self, name: str) -> NDArray[np.float64]:
        """One numeric column, float64 (n_rows,), NaN where there is no number."""
        values = [row.get(name) for row in self.rows]
        return np.array([value if isinstance(value, (int, float)) else np.nan for value in values], dtype=np.float64)


def read_material(run: RunDirectory, options: ReportOptions) -> Material:
    """Read a run; a damaged record leaves a gap in its crystal's page, never stops the report."""
    rows = run.rows(options.where)
    crystals = _read_crystals(run, rows, int(1e6 * options.max_megabytes))
    if options.descriptors is not None:
        vectors = read_descriptors(options.descriptors, rows)
        crystals = [replace(crystal, descriptor=vector) for crystal, vector in zip(crystals, vectors, strict=True)]
    reference = None if options.reference is None else read_reference(options.reference, rows)
    with_paper = len(rows) >= _HUNDREDS if options.with_paper is None else options.with_paper
    return Material(run, rows, crystals, reference, with_paper)


def _read_crystals(run: RunDirectory, rows: Sequence[Row], room: int) -> list[Crystal]:
    """Read every crystal, curves included while there is room for them (bytes): lowest κ first."""

    def rank(index: int) -> tuple[bool, float, bool]:
        kappa = number(rows[index], "kappa_total_w_mk")
        return kappa is None, kappa or 0.0, rows[index].get("stable") is None

    found: dict[int, Crystal] = {}
    for index in _progress(sorted(range(len(rows)), key=rank)):
        crystal = _read_crystal(run, rows[index], with_details=room > 0)
        room -= len(crystal.packed)
        found[index] = crystal
    return [found[index] for index in range(len(rows))]


@dataclass(frozen=True)
class CrystalPage:
    """What the page of one crystal shows; what a crystal does not have is left out.

    Parameters
    ----------
    files : mapping of str to str
        File of the record of each stage, relative to the run directory.
    metadata : mapping of str to value
        From the source.
    omitted : bool
        Whether structure and curves are left out, for size.
    written : float or None
        When the last of the records was written, seconds since 1970.
    kappa : ConductivityView or None
    modes : ModeView or None
    bands : BandView or None
    structure : StructureView or None
    """

    files: Mapping[str, str]
    metadata: Mapping[str, Json]
    omitted: bool
    written: float | None = None
    kappa: details.ConductivityView | None = None
    modes: details.ModeView | None = None
    bands: details.BandView | None = None
    structure: details.StructureView | None = None

    def to_json(self) -> dict[str, Json]:
        """Fields as the page reads them."""
        fields: dict[str, Json] = {"files": self.files, "metadata": self.metadata, "omitted": self.omitted}
        if self.written is not None:
            fields["written"] = round(self.written)
        views = {"kappa": self.kappa, "modes": self.modes, "bands": self.bands, "structure": self.structure}
        fields |= {name: view.to_json() for name, view in views.items() if view is not None}
        return {name: value for name, value in fields.items() if value}


def _read_crystal(run: RunDirectory, row: Row, *, with_details: bool) -> Crystal:
    """Read the records of one crystal."""
    from screen_cli.crystal.structure import Structure

    keys, identity = stage_keys(row), text(row, "id")
    try:
        structure = Structure.from_dict(run.store.read_structure(identity))
    except (OSError, StructureError):
        return Crystal()  # rejected by the source: there is no crystal to show
    paths = {stage: run.store.path(identity, stage, key) for stage, key in keys.items()}
    page = CrystalPage(
        files={stage: path.relative_to(run.root).as_posix() for stage, path in paths.items()},
        metadata=structure.metadata,
        omitted=not with_details,
        written=max((path.stat().st_mtime for path in paths.values() if path.is_file()), default=None),
    )
    atoms = structure.atoms
    if with_details:
        page, atoms = _with_details(page, structure, functools.partial(run.record, row), row)
    harmonic = run.store.find(identity, "harmonic", keys["harmonic"]) if "harmonic" in keys else None
    properties = (run.record(row, stage) for stage in keys if stage.startswith("property_"))
    descriptors = (descriptor_of(record) for record in properties if record is not None)
    return Crystal(
        packed=pack(page.to_json()),
        elements=sorted(set(atoms.get_chemical_symbols())),
        msd_by_element=cast("dict[str, float]", harmonic.data.get("msd_by_element", {})) if harmonic else {},
        metadata=dict(structure.metadata),
        descriptor=next((descriptor for descriptor in descriptors if descriptor is not None), None),
    )


def _with_details(
    page: CrystalPage, structure: Structure, record_of: Callable[[str], Record | None], row: Row
) -> tuple[CrystalPage, Atoms]:
    """Add curves and structure to the page of a crystal; its atoms, relaxed where that is known."""
    from screen_cli.stages.relax import Relaxed

    atoms, relaxed = structure.atoms, False
    if (record := record_of("relax")) is not None:
        with contextlib.suppress(RecordError):  # of another version: the crystal as its source gave it is shown
            atoms, relaxed = Relaxed.from_storage(record).atoms, True
    if (record := record_of("harmonic")) is not None:
        page = replace(page, bands=details.band_view(record))
    if (record := record_of("conductivity")) is not None:
        kelvin = float(cast("float", record.data.get("kappa_temperature_k", 300.0)))
        page = replace(page, kappa=details.conductivity_view(record), modes=details.mode_view(record, kelvin))
    group = whole_number(row, "space_group")
    return replace(page, structure=details.structure_view(atoms, group, relaxed=relaxed)), atoms


def _progress(items: list[int]) -> Iterable[int]:
    """Show a bar on stderr while reading many crystals."""
    if len(items) < 200:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description="reading records", console=Console(stderr=True), transient=True)
