"""Every setting of a run: frozen records, one documented key per knob; TOML in, the commented file back.

:mod:`screen_cli.settings_file` does the reading and checking; the commented file of ``screen-cli init`` and the
reference page are generated from the descriptions here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from screen_cli.errors import ConfigError
from screen_cli.settings_file import (
    apply_override,
    commented_file,
    make_settings,
    read_settings_file,
    reference_page,
    setting,
    settings_record,
    settings_to_dict,
)

Kelvin = Annotated[float, Strict(), Field(gt=0, le=100_000)]
"""A temperature, K."""
WholeKelvin = Annotated[int, Strict(), Field(ge=0, le=100_000)]
"""A temperature that is part of a name, K."""


@settings_record
class CalculatorSettings:
    """The force field."""

    name: str = setting("sevennet", "Registered calculator (see 'screen-cli plugins') or 'ase:package.module.Class'.")
    options: dict[str, object] = setting({}, 'Keyword options of the calculator, e.g. model = "l3i5".')
    environment: str = setting(
        "",
        "Python environment of the force field: a name of 'screen-cli env list', a folder, or an interpreter; 'here' "
        "for this one. Empty: this one where its library is installed, else what 'screen-cli env create' made for it.",
    )
    magnetic_moments: dict[str, float] = setting(
        {}, "Moments that the atoms of an element begin with, μ_B: { Fe = 2.5 }. DFT codes compute with spin then."
    )


@settings_record
class SourceSettings:
    """Where the crystals come from."""

    name: str = setting("files", "Registered structure source.")
    options: dict[str, object] = setting({}, 'Options of the source, e.g. paths = ["cifs/", "POSCAR"].')


@settings_record
class ReadSettings:
    """Validation of what was read."""

    symprec: float = setting(1e-3, "Distance tolerance of spglib, Å.", gt=0, le=0.5)
    min_distance: float = setting(0.5, "Atoms closer than this (Å) overlap: the structure is refused.", ge=0, le=5)
    max_atoms: int = setting(64, "Largest primitive cell accepted, atoms.", ge=1, le=10_000)
    max_atoms_given: int = setting(2000, "Largest cell of a file that is read at all, atoms.", ge=1, le=100_000)
    max_megabytes: float = setting(256.0, "Largest file that is read, after decompression, MB.", gt=0, le=100_000)
    seconds_per_file: float = setting(60.0, "Seconds that reading one crystal of a file may take.", gt=0, le=86_400)


@settings_record
class FilterSettings:
    """Which crystals are taken; each one dropped is counted with its reason."""

    elements: list[str] = setting([], "Only crystals made of these elements; empty: any.")
    exclude_elements: list[str] = setting([], "No crystal with one of these.")
    max_formation_energy: float | None = setting(None, "Largest formation energy the source gives, eV/atom.")
    max_energy_above_hull: float | None = setting(None, "Largest distance from the convex hull, eV/atom.")
    unknown_energy: Literal["keep", "drop"] = setting(
        "keep", "What to do with crystals whose source gives no such energy."
    )
    space_groups: list[int] = setting([], "Only these space groups; empty: any.")
    prototypes: list[str] = setting([], "Only these prototypes (see 'screen-cli structures prototypes'); empty: any.")
    min_atoms: int = setting(0, "Least atoms in the primitive cell.", ge=0)
    max_atoms: int = setting(0, "Most atoms in the primitive cell; 0: as many as read.max_atoms.", ge=0)
    expression: str = setting(
        "",
        'Further condition on formula, space_group, n_atoms, prototype and metadata of the source, e.g. "n_atoms < 6".',
    )
    duplicates: Literal["exact", "similar"] = setting(
        "exact", "Drop crystals seen before: equal within 1e-3 Å, or those pymatgen's StructureMatcher takes for equal."
    )


@settings_record
class RelaxSettings:
    """Relaxation of cell and positions."""

    enabled: bool = setting(True, "Relax before displacing; false uses the structure as given.")
    fmax: float = setting(
        1e-4,
        "Convergence: largest force component norm, eV/Å (stress is scaled alike).",
        gt=0,
    )
    max_steps: int = setting(500, "Optimiser steps before the structure counts as not converged.", ge=1)
    keep_symmetry: bool = setting(True, "Constrain the space group (ASE FixSymmetry).")
    relax_cell: bool = setting(True, "Relax the cell too (ASE FrechetCellFilter).")
    two_stage: bool = setting(
        False,
        "Relax again without symmetry (lengths only, no shear); the first stage stays where the space group breaks.",
    )
    optimiser: Literal["auto", "bfgs", "fire"] = setting(
        "auto",
        "ASE optimiser; auto: BFGS, for cubic crystals in the few coordinates that symmetry leaves free.",
    )
    accept_unconverged: bool = setting(False, "Go on when max_steps were not enough (relax_converged says so).")
    max_volume_change: float = setting(
        0.5, "Largest accepted |V/V0 - 1|; beyond it the structure is quarantined.", gt=0
    )
    max_force: float = setting(1e3, "A force above this (eV/Å) counts as exploded.", gt=0)


@settings_record
class DisplaceSettings:
    """Displaced supercells."""

    distance: float = setting(0.03, "Displacement of every atom, Å.", gt=0, le=1)
    n_supercells: int | None = setting(None, "Number of displaced supercells; empty: chosen by the rank guard.", ge=1)
    paired: bool = setting(True, "Use ± pairs (u, -u), which cancel the even orders.")
    margin: float = setting(
        1.3,
        "Independent equations over free fc3 parameters that the rank guard demands.",
        ge=1,
    )
    min_pairs: int = setting(6, "At least this many ± pairs (supercells when unpaired).", ge=1)
    supercell_length: float = setting(10.0, "Shortest supercell edge wanted for fc3, Å.", gt=0, le=200)
    max_atoms: int = setting(200, "Largest fc3 supercell, atoms; the edge shrinks to fit.", ge=1)
    dim: list[int] = setting(
        [], "fc3 supercell as multiples of the conventional cell, along the axes of the file where it has that cell."
    )
    dim_fc2: list[int] = setting([], "fc2 supercell likewise; empty: the fc3 supercell serves both.")
    n_supercells_fc2: int | None = setting(
        None, "Displaced fc2 supercells when dim_fc2 is given; empty: rank guard; 0: finite differences there.", ge=0
    )
    pattern: Literal["kind", "crystal"] = setting(
        "kind",
        "Random directions shared by all crystals of one kind, so that their fit is solved once; or drawn for each "
        "crystal.",
    )
    seed: int = setting(0, "Seed of the random directions (combined with the kind, or the structure's id).", ge=0)


@settings_record
class ForcesSettings:
    """Forces on the displaced supercells."""

    batch_size: int = setting(8, "Supercells per call for calculators that predict in batches.", ge=1)
    max_force: float = setting(100.0, "A force above this (eV/Å) counts as exploded.", gt=0)
    subtract_residual: bool = setting(True, "Subtract the forces of the undisplaced supercell and each net force.")


@settings_record
class ForceConstantsSettings:
    """The fit of second- and third-order force constants."""

    solver: str = setting("symfc", "Registered solver: symfc, hiphive, finite-difference, ...")
    options: dict[str, object] = setting({}, 'Options of the solver, e.g. cutoffs = [6.0, 4.5], fit_method = "lasso".')
    third_order: bool = setting(True, "Fit fc3 too; false stops after harmonic properties.")
    holdout: float = setting(0.2, "Share of the supercells kept for the held-out error (0: none).", ge=0, lt=1)
    warn_residual: float = setting(
        0.03, "Relative residual above which the potential counts as rough and κ is not trusted.", gt=0
    )
    warn_residual_even: float = setting(
        0.15,
        "The same limit for the part of the force that fc3 alone explains (± pairs, held out when possible).",
        gt=0,
    )
    warn_fc3_error: float = setting(
        0.05,
        "Relative error of fc3, from what the fit leaves of the same part, above which κ is not trusted (± pairs).",
        gt=0,
    )
    keep: bool = setting(True, "Keep fc2 and fc3 in the store; false writes scalars only (saves most of the disk).")


@settings_record
class HarmonicSettings:
    """Harmonic properties."""

    mesh: list[int] = setting([], "q mesh along primitive axes (formats page); empty: from mesh_length.")
    mesh_length: float = setting(60.0, "Length that fixes the mesh when none is given, Å.", gt=0)
    temperatures: list[Kelvin] = setting([300.0], "Temperatures of c_v and MSD, K.", min_length=1)
    gamma_tolerance_thz: float = setting(0.01, "Acoustic modes at Γ may be imaginary by this much, THz.", ge=0)
    tolerance_thz: float = setting(0.0, "All other modes may be imaginary by this much, THz.", ge=0)
    band_points: int = setting(51, "Points per segment of the band structure.", ge=2, le=10_000)
    dos_points: int = setting(201, "Points of the density of states.", ge=2, le=1_000_000)
    phase_space: bool = setting(True, "Compute the three-phonon phase space P3, of stable crystals.")
    phase_space_mesh: list[int] = setting(
        [], "Mesh of P3; empty: about 1000 points per primitive atom pair, at most 11³."
    )


@settings_record
class GateSettings:
    """Which crystals go on to the conductivity."""

    require_stable: bool = setting(True, "Skip crystals with imaginary modes.")
    expression: str = setting("", 'Further condition on earlier columns, e.g. "max_msd >= 0.076"; empty: none.')
    before_third_order: bool = setting(
        False,
        "Fit fc2 alone first, from a few supercells, and spend the forces for fc3 only on crystals that pass: the "
        "way to screen many crystals of which many are unstable.",
    )
    after_relaxation: str = setting(
        "",
        "Condition on what is known of the relaxed crystal, before any supercell, e.g. "
        '"formation_energy_model_ev_atom <= 0"; empty: none.',
    )
    audit_share: float = setting(
        0.0,
        "Share of the stable crystals the expression holds back that go on all the same, drawn at random.",
        ge=0,
        le=1,
    )
    audit_target: str = setting(
        "kappa_total_w_mk < 1", "What the gate is meant to find; its recall and precision are estimated from the drawn."
    )
    audit_seed: int = setting(0, "Seed of the draw.", ge=0)


@settings_record
class RenormaliseSettings:
    """Force constants at a temperature, for crystals that only warmth holds together."""

    enabled: bool = setting(False, "Search for self-consistent force constants, and go on with them.")
    temperatures: list[WholeKelvin] = setting([300], "Temperatures, whole K; each has stages of its own.", min_length=1)
    select: str = setting(
        "unstable", 'Which crystals: "unstable", "all", or an expression on earlier columns, e.g. "n_atoms <= 5".'
    )
    dim: list[int] = setting(
        [],
        "Supercell as multiples of the conventional cell; empty: that of the fit at 0 K. Even ones hold the edge of "
        "the zone, where many modes are soft.",
    )
    cell: Literal["relaxed", "thermal"] = setting(
        "relaxed",
        "Cell of the search: that of the relaxed crystal, or where the mean stress of the moving atoms vanishes (two "
        "to four coarse searches before the search itself).",
    )
    third_order: bool = setting(True, "Fit fc3 to the same samples, for κ at the temperature.")
    n_pairs: int | None = setting(None, "± pairs of a population; empty: from the number of parameters.", ge=2)
    max_iterations: int = setting(15, "Populations before the search counts as not converged.", ge=1)
    max_supercells: int = setting(600, "Supercells, of all populations of one temperature.", ge=4)
    damping: float = setting(0.5, "Share of the first step of the fixed point that is taken.", gt=0, le=1)
    error_thz: float = setting(0.05, "Standard error of every commensurate frequency to be reached, THz.", gt=0)
    third_order_error: float = setting(0.3, "Standard error of fc3 to be reached, as a share of its norm.", gt=0)
    classical: bool = setting(False, "Sample without zero-point motion.")
    melting_share: float = setting(
        0.25, "Root mean square displacement over the shortest bond at which a crystal counts as molten.", gt=0
    )
    max_disagreement: float = setting(
        0.5,
        "Spread of a committee's forces over their size beyond which the force field does not know the crystal.",
        gt=0,
    )
    compare: bool = setting(
        False,
        "κ also with fc2 at the temperature and fc3 of 0 K, beside the one with both (needs fc3 of 0 K in the same "
        "supercell: gate.before_third_order off, dim empty).",
    )
    seed: int = setting(0, "Seed of the samples (combined with the structure's id).", ge=0)


@settings_record
class ConductivitySettings:
    """Lattice thermal conductivity."""

    enabled: bool = setting(True, "Compute κ.")
    solver: str = setting(
        "auto", "Registered solver: auto (wigner when installed, else standard), standard, wigner, ..."
    )
    method: Literal["rta", "lbte"] = setting("rta", "Relaxation-time approximation or direct solution of the LBTE.")
    mesh: list[int] = setting([], "q mesh along primitive axes (formats page); empty: from q_spacing.")
    q_spacing: float = setting(0.15, "Largest distance of neighbouring q points, 1/Å (2π included).", gt=0)
    ladder: list[float] = setting(
        [],
        "Coarser meshes tried first, as shares of the final one, e.g. [0.5, 0.6, 0.75]; empty: the final one at once.",
    )
    ladder_tolerance: float = setting(
        0.03, "A coarser mesh is enough when the estimate of its relative error (kappa_mesh_error) is below this.", gt=0
    )
    refine_where: str = setting(
        "", 'Crystals that go to the final mesh in any case, e.g. "kappa_total_w_mk < 1"; columns of this stage.'
    )
    temperatures: list[Kelvin] = setting([300.0], "Temperatures, K.", min_length=1)
    isotope: bool = setting(True, "Scattering by the natural isotope mixture.")
    boundary_mfp: float | None = setting(None, "Boundary mean free path, μm; empty: none.", gt=0)
    keep_modes: bool = setting(True, "Keep mode-resolved arrays in the store.")
    options: dict[str, object] = setting({}, 'Options of the solver, e.g. scattering = "phono3py" of wigner.')


@settings_record
class NacSettings:
    """Non-analytical correction."""

    born: str = setting(
        "", "Folder of files NAME.BORN (NAME: of the structure file, with #frame, or id) or FORMULA.BORN; empty: none."
    )
    method: Literal["gonze", "wang"] = setting("gonze", "Gonze-Lee or Wang scheme of phonopy.")


@settings_record
class PropertiesSettings:
    """Extra per-structure properties from plugins."""

    names: list[str] = setting([], "Registered properties to compute.")
    options: dict[str, dict[str, object]] = setting({}, "Options by property name.")


@settings_record
class EngineSettings:
    """Where the tasks run."""

    name: str = setting("local", "Registered engine: serial, local, ...")
    workers: int = setting(0, "Worker processes; 0: one per physical core.", ge=0, le=4096)
    task_time_limit: float = setting(
        7200.0, "Seconds one stage of one structure may take before it is quarantined.", gt=0
    )
    options: dict[str, object] = setting({}, "Options of the engine.")


@settings_record
class RunSettings:
    """One screening run: the whole configuration file."""

    title: str = setting("", "Shown in the report.")
    source: SourceSettings = setting(SourceSettings, "Where the crystals come from.")
    calculator: CalculatorSettings = setting(CalculatorSettings, "The force field.")
    read: ReadSettings = setting(ReadSettings, "Validation.")
    filter: FilterSettings = setting(FilterSettings, "Which crystals are taken; each one dropped is counted.")
    relax: RelaxSettings = setting(RelaxSettings, "Relaxation.")
    displace: DisplaceSettings = setting(DisplaceSettings, "Displaced supercells.")
    forces: ForcesSettings = setting(ForcesSettings, "Forces on the supercells.")
    force_constants: ForceConstantsSettings = setting(ForceConstantsSettings, "Force constants.")
    nac: NacSettings = setting(NacSettings, "Born charges.")
    harmonic: HarmonicSettings = setting(HarmonicSettings, "Harmonic properties.")
    gate: GateSettings = setting(GateSettings, "Gate before the conductivity.")
    renormalise: RenormaliseSettings = setting(RenormaliseSettings, "Force constants at a temperature.")
    conductivity: ConductivitySettings = setting(ConductivitySettings, "Conductivity.")
    properties: PropertiesSettings = setting(PropertiesSettings, "Plugin properties.")
    engine: EngineSettings = setting(EngineSettings, "Engine.")


def load_settings(path: Path | str, overrides: Sequence[str] = ()) -> RunSettings:
    """Read a TOML file into :class:`RunSettings`.

    Parameters
    ----------
    path : path
        The configuration file. Relative paths inside it stay relative to the working directory.
    overrides : sequence of str
        ``"table.key=value"`` with the value in TOML syntax (bare words count as strings).

    Raises
    ------
    ConfigError
        Unreadable file, and every wrong key or value with its line.
    """
    if not Path(path).exists():
        raise ConfigError(f"there is no {path}. Write one with: screen-cli init {path}")
    file = read_settings_file(path)
    for override in overrides:
        apply_override(file.tables, override)
    return make_settings(RunSettings, file.tables, file)


def settings_from_dict(tables: Mapping[str, object], origin: str = "settings") -> RunSettings:
    """Check nested dicts against the records.

    Raises
    ------
    ConfigError
        Every wrong key or value.
    """
    return make_settings(RunSettings, tables, origin)


def override_settings(settings: RunSettings, overrides: Mapping[str, object], origin: str) -> RunSettings:
    """Return settings with some keys replaced, e.g. ``{"conductivity": {"mesh": [19, 19, 15]}}``.

    Raises
    ------
    ConfigError
        As :func:`settings_from_dict`.
    """
    if not overrides:
        return settings
    tables: dict[str, object] = {**settings_to_dict(settings)}
    for table, values in overrides.items():
        known = tables.get(table)
        tables[table] = {**known, **values} if isinstance(known, dict) and isinstance(values, Mapping) else values
    return settings_from_dict(tables, origin)


def template(chosen: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return the commented TOML file that ``screen-cli init`` writes: every key with its default.

    Parameters
    ----------
    chosen : mapping, optional
        Values in TOML by table and key, which stand in the file as they are.
    """
    heading = [
        "Configuration of a screening run. Start it with: screen-cli run CONFIG.toml",
        "Every key is shown with its default; a line that starts with # may stay as it is.",
    ]
    lines, table = [], ""
    for line in commented_file(RunSettings, heading).splitlines():
        table = line[1:-1] if line.startswith("[") else table
        key = line[2:].partition(" = ")[0] if line.startswith("# ") else ""
        value = (chosen or {}).get(table, {}).get(key)
        lines.append(line if value is None else f"{key} = {value}")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return the Markdown reference of all settings, generated from the records."""
    return reference_page(
        RunSettings, "Settings reference", ["Generated by `screen-cli init --reference`; do not edit."]
    )
