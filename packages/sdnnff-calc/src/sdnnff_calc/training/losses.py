r"""What training minimises.

.. math:: L = w_F ⟨|F−F^*|²/3s_F²⟩ + w_E ⟨(ΔE/n)²⟩/s² + w_σ ⟨|Δσ V/n|²⟩/9s² + w_Φ ⟨|Φv−Φ^*v|²⟩/⟨|Φ^*v|²⟩

with the force scale s, in eV/Å for forces and eV for energies. s_F = s^{1−p} s_i^p with the root mean square force
component s_i of the atom's own structure (at least s/10) and p = ``structure_scaling``: at p = 0 stiff crystals and
large displacements decide, at p = 1 every structure counts alike. With ``loss = "absolute"`` the first three means are
of lengths instead of squares, |F−F*|/s_F, |ΔE/n|/s and |Δσ V/n|/s: a few crystals that are hard to learn sway it less.
The last term is the force-constant loss: random vectors v probe the second-order force constants Φ* without ever
forming the model's own Hessian.

References
----------
The force-constant (Hessian) loss as used for phonons: Koker et al., arXiv:2601.07742 (PFT).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.compressed import plain_copy
from sdnnff_calc.data.phonon_files import load_yaml, units_of
from sdnnff_calc.data.samples import LabelledBatch
from sdnnff_calc.errors import DataError, MissingExtraError, SdnnffError
from sdnnff_calc.geometry.environments import Environments, build_environments
from sdnnff_calc.models.heads import Prediction, Statistics, force_constant_product
from sdnnff_calc.models.network import Network

__all__ = [
    "ForceConstantTarget",
    "force_constant_files",
    "force_constant_loss",
    "force_constant_target",
    "force_loss",
    "read_force_constants",
]


_ENDINGS = (".yaml", ".yml", ".yaml.xz", ".yaml.gz", ".yaml.bz2")
_LEAST_FORCE_CONSTANT = 1e-3
"""eV/Å²; those of a bond are of the order of 1. Errors are measured relative to the force constants."""


def force_loss(prediction: Prediction, batch: LabelledBatch, statistics: Statistics, config: TrainingConfig) -> Tensor:
    """Evaluate the force, energy and stress terms of the module's formula.

    Parameters
    ----------
    prediction : Prediction
        From the model.
    batch : LabelledBatch
        Labels; NaN energies and stresses are skipped, and stresses of structures without a volume.
    statistics : Statistics
        Gives the force scale.
    config : TrainingConfig
        Gives the weights.

    Returns
    -------
    Tensor, shape (), dimensionless
    """
    scale = statistics.force_scale
    n_atoms = torch.tensor(batch.env.n_atoms_each, dtype=batch.forces.dtype, device=batch.forces.device)
    error = (prediction.forces - batch.forces) / scale
    if config.structure_scaling > 0.0:
        square = batch.forces.new_zeros(len(n_atoms)).index_add(0, batch.env.structure, batch.forces.square().mean(-1))
        own = (square / n_atoms).sqrt().clamp_min(0.1 * scale) / scale
        error = error / own.pow(config.structure_scaling)[batch.env.structure, None]
    loss = config.force_weight * _mean_size(error, config.loss)
    if config.energy_weight > 0.0 and prediction.energies is not None:
        known = torch.isfinite(batch.energies)
        if bool(known.any()):
            error = (prediction.energies - batch.energies)[known].to(loss.dtype) / n_atoms[known] / scale
            loss = loss + config.energy_weight * _mean_size(error.unsqueeze(-1), config.loss)
    if config.stress_weight > 0.0 and prediction.stresses is not None:
        known = torch.isfinite(batch.stresses).all(dim=-1).all(dim=-1) & torch.isfinite(batch.env.volumes)
        if bool(known.any()):
            volume = (batch.env.volumes / n_atoms)[known, None, None]
            error = (prediction.stresses - batch.stresses)[known] * volume / scale
            loss = loss + config.stress_weight * _mean_size(error.flatten(1), config.loss)
    return loss


def _mean_size(error: Tensor, loss: str) -> Tensor:
    """Average squared components, or the lengths of the rows; shape (n, n_components)."""
    if loss == "squared":
        return error.square().mean()
    lengths: Tensor = torch.linalg.vector_norm(error, dim=-1)  # its gradient at zero is zero
    return lengths.mean()


@dataclass(frozen=True)
class ForceConstantTarget:
    """An undisplaced supercell with its second-order force constants.

    Attributes
    ----------
    env : Environments
        Its environments.
    matrix : Tensor
        Φ*, shape (3·n_atoms, 3·n_atoms), eV/Å².
    """

    env: Environments
    matrix: Tensor


def force_constant_target(
    atoms: Atoms, fc2: NDArray[np.float64], cutoff: float, dtype: torch.dtype, device: torch.device | str
) -> ForceConstantTarget:
    """Prepare a target from a supercell and its full fc2, shape (n_atoms, n_atoms, 3, 3), eV/Å²."""
    n = len(atoms)
    if fc2.shape != (n, n, 3, 3):
        raise DataError(f"fc2 has shape {fc2.shape}, expected {(n, n, 3, 3)}: give the full, not the compact, form.")
    matrix = torch.from_numpy(np.ascontiguousarray(fc2.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)))
    env = build_environments([atoms], cutoff, dtype, device)
    return ForceConstantTarget(env, matrix.to(device=device, dtype=dtype))


def force_constant_files(names: Iterable[str]) -> list[Path]:
    """List phonopy YAML files, those in folders included.

    Raises
    ------
    DataError
        For a folder that holds none.
    """
    files: list[Path] = []
    for path in map(Path, names):
        found = sorted(f for f in path.iterdir() if f.name.endswith(_ENDINGS)) if path.is_dir() else [path]
        if not found:
            raise DataError(f"the folder {path} holds no phonopy YAML file.")
        files += found
    return files


def read_force_constants(
    path: str | Path, cutoff: float, dtype: torch.dtype, device: torch.device | str
) -> ForceConstantTarget:
    """Read a phonopy YAML file with force constants (or with forces, then solved for).

    The working directory is another while phonopy reads: not for threads that open files by relative names.

    Raises
    ------
    MissingExtraError
        When phonopy is not installed.
    DataError
        When the file holds none, or nothing but zeros.
    """
    try:
        import phonopy
    except ImportError as error:
        raise MissingExtraError(
            "the force-constant loss reads phonopy files: pip install 'sdnnff-calc[phonopy]'."
        ) from error
    try:
        # phonopy's loader runs code that YAML names: it is given a copy in which a safe loader has found plain data.
        # It looks for FORCE_CONSTANTS and the like where it stands: let it stand where there is none.
        with plain_copy(Path(path), ".yaml", iter) as copy, contextlib.chdir(copy.parent):
            load_yaml(copy)
            phonon = phonopy.load(copy, is_compact_fc=False, log_level=0)
    except SdnnffError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # phonopy raises many kinds
        raise DataError(f"{path}: phonopy cannot load it ({error}).") from error
    if phonon.force_constants is None:
        raise DataError(f"{path} holds neither force constants nor forces.")
    units = units_of(phonon.calculator, Path(path))
    cell = phonon.supercell
    atoms = Atoms(
        numbers=cell.numbers,
        positions=units.distance_to_A * cell.positions,
        cell=units.distance_to_A * cell.cell,
        pbc=True,
    )
    fc2 = units.force_to_eVperA / units.distance_to_A * np.asarray(phonon.force_constants)
    largest = float(np.abs(fc2).max())
    if not largest > _LEAST_FORCE_CONSTANT:  # not for NaN either
        raise DataError(
            f"{path}: the largest force constant is {largest:.1e} eV/Å², so there is nothing to learn. Leave it out."
        )
    return force_constant_target(atoms, fc2, cutoff, dtype, device)


def force_constant_loss(
    model: Network,
    target: ForceConstantTarget,
    statistics: Statistics,
    head: str,
    generator: torch.Generator,
) -> Tensor:
    """Compare Φv with Φ*v on one random vector v: the last term of the module's formula."""
    v = torch.randn(target.env.n_atoms, 3, generator=generator, dtype=target.matrix.dtype).to(target.matrix.device)
    wanted = (target.matrix @ v.reshape(-1)).view(-1, 3)
    got = force_constant_product(model, target.env, statistics, head, v)
    return (got - wanted).square().mean() / wanted.square().mean()
