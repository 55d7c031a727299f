"""A run directory of any size through the store's own API, with made-up but physical-looking numbers, in seconds."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.spacegroup import crystal

from screen_cli.config import settings_from_dict
from screen_cli.stages.relax import Relaxed
from screen_cli.store.record import Record
from screen_cli.store.records import RecordStore
from screen_cli.store.run_directory import RunDirectory

PROTOTYPES: dict[str, tuple[int, list[tuple[float, float, float]], float]] = {
    # name: space group, one position per element, lattice constant
    "zincblende": (216, [(0, 0, 0), (0.25, 0.25, 0.25)], 5.9),
    "half-heusler": (216, [(0, 0, 0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)], 6.1),
    "cscl": (221, [(0, 0, 0), (0.5, 0.5, 0.5)], 3.9),
    "perovskite": (221, [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], 4.6),
    "rocksalt": (225, [(0, 0, 0), (0.5, 0.5, 0.5)], 5.8),
    "full-heusler": (225, [(0, 0, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)], 6.4),
    "elpasolite": (225, [(0, 0, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (0.24, 0, 0)], 9.2),
    "laves": (227, [(0.125, 0.125, 0.125), (0.5, 0.5, 0.5)], 7.4),
}
_ELEMENTS = [
    *range(3, 10),
    *range(11, 18),
    *range(19, 36),
    *range(37, 43),
    *range(44, 54),
    *range(55, 58),
    *range(72, 84),
]
_SOFT = {3: 1.6, 11: 2.2, 19: 2.6, 37: 2.8, 55: 3.0, 17: 1.7, 35: 1.8, 53: 1.9, 81: 1.7, 7: 1.5, 80: 1.4}
_TEMPERATURES = np.array([100.0, 200.0, 300.0, 400.0, 600.0, 800.0])


def write_synthetic_run(
    root: Path,
    n_crystals: int,
    *,
    n_records: int | None = None,
    seed: int = 0,
    descriptors: bool = True,
    bonding: bool = True,
    committee: bool = False,
) -> RunDirectory:
    """Write a run of ``n_crystals`` in every state the report knows.

    About 2 % filtered, 3 % failed, 1 % pending, 40 % unstable; κ falls with MSD to the power −1.7. Only the first
    ``n_records`` have records, the rest a row in the index.
    """
    settings = settings_from_dict(
        {"title": f"{n_crystals} made-up crystals", "calculator": {"name": "emt"}}, origin="the synthetic run"
    )
    random = np.random.default_rng(seed)
    names = list(PROTOTYPES)
    with mock.patch.object(os, "fsync"):  # nobody mourns a made-up run
        run = RunDirectory.create(root, settings)
        index = run.index()
        crystals = [_crystal(names[number % len(names)], random) for number in range(n_crystals)]
        rows = [_base_row(number, name, atoms) for number, (name, atoms) in enumerate(crystals)]
        index.add_structures(rows)
        for number, (name, atoms) in enumerate(crystals):
            store = run.store if n_records is None or number < n_records else None
            extras = {"descriptors": descriptors, "bonding": bonding, "committee": committee}
            _write_crystal(store, index, rows[number], name, atoms, random, **extras)
        index.close()
    return run


@functools.cache
def _prototype(name: str) -> Atoms:
    """Primitive cell with elements 1, 2, ... on the sites."""
    group, positions, a = PROTOTYPES[name]
    symbols = [chemical_symbols[number] for number in range(1, len(positions) + 1)]
    return crystal(symbols, positions, spacegroup=group, cellpar=[a] * 3 + [90] * 3, primitive_cell=True)


def _crystal(name: str, random: np.random.Generator) -> tuple[str, Atoms]:
    """Decorate a prototype with random elements."""
    atoms = _prototype(name).copy()
    chosen = random.choice(_ELEMENTS, size=len(PROTOTYPES[name][1]), replace=False)
    atoms.numbers = chosen[atoms.numbers - 1]
    atoms.set_cell(atoms.cell * random.uniform(0.9, 1.1), scale_atoms=True)
    return name, atoms


def _base_row(number: int, name: str, atoms: Atoms) -> dict[str, Any]:
    formula = atoms.symbols.formula.reduce()[0].format("metal")
    identity = hashlib.sha256(f"{number} {formula} {name}".encode()).hexdigest()[:12]
    return {
        "id": identity,
        "formula": formula,
        "space_group": PROTOTYPES[name][0],
        "n_atoms": len(atoms),
        "provider": "prototypes",
        "provider_id": f"{name}-{formula}-{number}",
        "state": "pending",
    }


def _write_crystal(
    store: RecordStore | None,
    index: Any,
    row: dict[str, Any],
    name: str,
    atoms: Atoms,
    random: np.random.Generator,
    *,
    descriptors: bool,
    bonding: bool,
    committee: bool,
) -> None:
    """Write structure, records and row of one crystal."""
    identity = row["id"]
    structure = {
        **{key: row[key] for key in ("id", "provider", "provider_id", "formula", "space_group")},
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
        "metadata": {"prototype": name},
    }
    if store:
        store.write_structure(identity, structure)
    luck = random.random()
    if luck < 0.01:
        return  # pending
    if luck < 0.03:
        index.update(identity, "filtered", stage="filter", reason="energy above hull: 0.213 eV/atom above 0.1")
        return
    if luck < 0.05:
        reason = (
            f"CalculatorError: the largest force component is {random.uniform(100, 900):.3g} eV/Å, above the limit 100"
        )
        if store:
            store.quarantine(identity, {"id": identity, "stage": "forces", "reason": reason, "traceback": "Traceback"})
        index.update(identity, "failed", stage="forces", reason=reason)
        return
    softness = float(np.mean([_SOFT.get(int(number), 1.0) for number in atoms.numbers]))
    max_msd = 0.022 * softness**2.2 * random.lognormal(0, 0.35)
    unstable = luck < 0.45
    lowest = -random.lognormal(-0.5, 0.8) if unstable else -1e-8
    scalars: dict[str, Any] = {
        "a": float(atoms.cell.cellpar()[0]),
        "trusted": bool(random.random() > 0.03),
        "residual": float(random.lognormal(-6, 0.5)),
        "stable": not unstable,
        "min_frequency_thz": lowest,
        "cv_j_mol_k": 24.5 * len(atoms),
        "vs_m_s": float(2500 / softness * random.lognormal(0, 0.2)),
        "p3": float(0.004 * random.lognormal(0, 0.5)),
        "max_msd": max_msd,
        "passed_gate": not unstable,
        "gate_audited": False,
    }
    records: dict[str, Callable[[], Record]] = {
        "relax": lambda: _relaxed(atoms, row["space_group"]),
        "harmonic": lambda: _harmonic(atoms, max_msd, lowest, random),
    }
    state, stage, reason = "done", "", ""
    if unstable:
        state, stage, reason = "skipped", "gate", f"unstable: lowest frequency {lowest:.3f} THz"
    elif luck < 0.46:
        state, stage, reason = "failed", "conductivity", "PhysicsError: kappa_p has 6 values that are not finite"
    else:
        particle = float(1.8 * (max_msd / 0.076) ** -1.7 * random.lognormal(0, 0.55))
        wave = float(0.09 * particle**0.35 * random.lognormal(0, 0.6))
        values = {"kappa_p_w_mk": particle, "kappa_c_w_mk": wave, "kappa_total_w_mk": particle + wave}
        values["kappa_temperature_k"] = 300.0
        if committee and luck < 0.9:
            factor = float(1.05 + random.random())
            scalars |= {"kappa_interval_factor": factor, "kappa_total_sigma_w_mk": (particle + wave) * np.log(factor)}
        scalars |= values
        records["conductivity"] = lambda: Record(values, _conductivity(len(atoms), max_msd, values, random))
        if descriptors:
            vector = np.concatenate([_prototype_vector(name), [softness, max_msd], random.normal(0, 0.3, 20)])
            records["property_descriptor"] = lambda: Record({}, {"descriptor": vector})
        if bonding:
            scalars["cohp_bonding_ev"] = float(random.lognormal(1.2, 0.5) / softness)
            scalars["cohp_antibonding_ev"] = float(random.lognormal(-2, 0.6) * softness)
    if store:
        for record_stage, make in records.items():
            store.write(identity, record_stage, "00", make(), seconds=1.0)
    keys = dict.fromkeys(records, "00") if store else {}
    times = dict.fromkeys(records, (1.0, 900))
    index.update(identity, state, stage=stage, reason=reason, scalars=scalars, keys=keys, stage_times=times)


def _relaxed(atoms: Atoms, space_group: int) -> Record:
    """Record of a relaxation that changed nothing."""
    a, b, c = (float(length) for length in atoms.cell.lengths())
    return Relaxed(
        cell=atoms.cell.array.copy(),
        positions=atoms.positions.copy(),
        numbers=atoms.numbers.astype(np.int64),
        volume=float(atoms.cell.volume),
        volume_change=0.0,
        space_group=space_group,
        n_relax_steps=0,
        relax_converged=True,
        fell_back_to_symmetric=False,
        fmax_final=0.0,
        a=a,
        b=b,
        c=c,
    ).to_storage()


def _harmonic(atoms: Atoms, max_msd: float, lowest: float, random: np.random.Generator) -> Record:
    """Make up bands that start linearly at Γ, their histogram as DOS, and displacements."""
    n_bands, points = 3 * len(atoms), 51
    corners = [0.0, 1.0, 1.35, 1.7, 2.8, 3.6, 4.1]
    path = np.concatenate([np.linspace(start, stop, points) for start, stop in itertools.pairwise(corners)])
    top = 3.0 + 9.0 * random.random() / (1 + 8 * max_msd)
    levels = np.sort(np.concatenate([np.zeros(3), random.uniform(0.35, 1.0, n_bands - 3)])) * top
    wave = 0.5 * (1 - np.cos(2 * np.pi * path / 2.8))
    widths = np.concatenate([random.uniform(0.2, 0.45, 3), random.uniform(-0.15, 0.15, n_bands - 3)]) * top
    bands = levels[None, :] + np.abs(wave[:, None]) ** 0.5 * widths[None, :]
    if lowest < -0.01:
        bands[:, 0] += lowest * wave
    grid = np.linspace(min(bands.min(), 0), 1.05 * bands.max(), 201)
    elements = np.unique(atoms.numbers)
    histogram = np.exp(-0.5 * ((grid[:, None, None] - bands[None, ::6, :]) / (0.02 * top)) ** 2).mean(axis=1)
    weights = random.dirichlet(np.ones(len(elements)), size=n_bands)
    by_element = (histogram @ weights).T / (0.02 * top * np.sqrt(2 * np.pi))
    soft = np.array([_SOFT.get(int(number), 1.0) for number in elements])
    msd = max_msd * soft / soft.max()
    arrays = {
        "band_distances": path,
        "band_qpoints": np.zeros((len(path), 3)),
        "band_frequencies": bands,
        "band_starts": np.arange(0, 6 * points + 1, points),
        "band_connected": np.array([1, 0, 1, 1, 1, 0]),
        "dos_frequencies": grid,
        "dos": by_element.sum(axis=0),
        "dos_elements": elements,
        "dos_by_element": by_element,
    }
    labels = [
        r"$\Gamma$",
        r"$\mathrm{X}$",
        r"$\mathrm{U}$",
        r"$\mathrm{K}$",
        r"$\Gamma$",
        r"$\mathrm{L}$",
        r"$\mathrm{W}$",
        r"$\mathrm{X}$",
    ]
    data = {
        "band_labels": labels,
        "msd_by_element": {chemical_symbols[number]: float(value) for number, value in zip(elements, msd, strict=True)},
    }
    return Record(data, arrays)


def _conductivity(
    n_atoms: int, max_msd: float, values: dict[str, float], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Make up κ(T) and modes on 35 points."""
    frequency = np.sort(random.uniform(0.4, 10.0, (35, 3 * n_atoms)), axis=1)
    gamma = 0.004 * (1 + max_msd / 0.05) * (1 + frequency / 10) ** 2 * random.lognormal(0, 0.4, frequency.shape)
    kelvin = _TEMPERATURES[:, None] / 300
    diagonal = np.array([1.0, 1, 1, 0, 0, 0])
    share = random.dirichlet(np.ones(frequency.size)).reshape(frequency.shape)
    particle, wave = values["kappa_p_w_mk"], values["kappa_c_w_mk"]
    arrays = {
        "temperatures": _TEMPERATURES,
        "kappa_p": particle / kelvin * diagonal,
        "kappa_c": wave * kelvin**0.5 * diagonal,
        "frequency": frequency,
        "gamma": gamma[None] * kelvin[:, :, None],
        "mode_kappa_p": (particle / kelvin[:, :, None, None]) * share[None, :, :, None] * diagonal,
        "mode_kappa_c": wave * np.full((len(_TEMPERATURES), *frequency.shape, 1), 1 / frequency.size) * diagonal,
    }
    return {**arrays, "kappa_total": arrays["kappa_p"] + arrays["kappa_c"]}


def _prototype_vector(name: str) -> np.ndarray:
    """Place prototypes apart in descriptor space."""
    return np.random.default_rng(list(PROTOTYPES).index(name)).normal(0, 1.0, 42)
