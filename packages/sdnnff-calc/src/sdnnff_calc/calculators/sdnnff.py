"""The force field as an ASE calculator.

``atoms → environments → network → results``: three steps, one function each.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.calculators.results import Result, Results, to_results
from sdnnff_calc.data.structure_label import in_structure
from sdnnff_calc.errors import ConfigError, EmptyInputError
from sdnnff_calc.geometry.closest_pairs import check_pairs, limits_of
from sdnnff_calc.geometry.elements import check_elements
from sdnnff_calc.geometry.environments import EdgeArrays, collate_edges
from sdnnff_calc.geometry.neighbours import VerletList
from sdnnff_calc.models.architectures import build_network, peak_numbers
from sdnnff_calc.models.checkpoint import Model, load_model
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.heads import evaluate
from sdnnff_calc.models.repulsive_core import RepulsiveCore
from sdnnff_calc.models.trained_labels import TrainedLabels

if TYPE_CHECKING:
    from sdnnff_calc.calculators.committee_calculator import SDNNFFCommittee

__all__ = ["SDNNFF"]

_log = logging.getLogger(__name__)

_ENERGIES = ("energy", "free_energy")
ELEMENTS_TOPIC = "element_energies_ev_per_atom"
"""Of a model's card: energies of the elements in their own structures by whatever labelled its crystals."""


def _own(model: Model, dtype: str | None) -> Model:
    """Copy a model that is somebody's, in this precision."""
    if dtype is None or model.dtype == getattr(torch, dtype):
        return dataclasses.replace(model, network=copy.deepcopy(model.network))
    network = build_network(model.config, getattr(torch, dtype), seed=0)  # its tables in full precision
    network.load_state_dict(model.network.state_dict())
    return dataclasses.replace(model, network=network)


class SDNNFF(Calculator):
    """Energy, forces and stress from a trained model.

    Parameters
    ----------
    path : str, Path or Model, optional
        Checkpoint file, training folder, name of a bundled model, a loaded
        :class:`~sdnnff_calc.models.checkpoint.Model`, or None for the default bundled model.
    device : str
        ``auto``, ``cpu``, ``cuda`` …
    dtype : str, optional
        ``float32``, ``float64``, or None for the model's own. A loaded model is copied, and stays as it is.
    skin : float
        Å added to the cutoff of the stored neighbour list; 0 rebuilds it in each call.
    atoms : Atoms, optional
        Structure to attach to, as ASE's calculators take one.
    core : bool, optional
        Hold atoms that come closer than any the model has learned from apart with a repulsive core, and warn, instead
        of refusing them. None: as the checkpoint says, which is yes for models trained since checkpoint format 2 and
        no for older ones, whose published errors and refusals stay as they were.

    Notes
    -----
    Units are ASE's: eV, eV/Å, eV/Å³. ``implemented_properties`` are those that the head gives and that the model was
    trained on; asking for another raises ``PropertyNotImplementedError``. One exception: the energy whose derivative
    the forces are is given on request also where forces alone were trained, since optimisers and molecular dynamics
    need it; it counts from an arbitrary zero and holds at one cell and composition.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    CheckpointError
        When it cannot be read.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012  as ASE declares it

    def __init__(
        self,
        path: str | Path | Model | None = None,
        device: str = "auto",
        dtype: str | None = None,
        skin: float = 0.5,
        atoms: Atoms | None = None,
        *,
        core: bool | None = None,
    ) -> None:
        super().__init__(atoms=atoms)
        if dtype not in (None, "float32", "float64"):
            raise ConfigError(f"dtype is {dtype!r}, expected 'float32', 'float64' or None.")
        if not skin >= 0.0:
            raise ConfigError(f"skin is {skin!r}, expected 0 Å or more.")
        self.device = choose_device(device)
        self.model = _own(path, dtype) if isinstance(path, Model) else load_model(path, self.device, dtype)
        self.network = self.model.network.to(self.device).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._verlet = VerletList(self.model.config.cutoff, skin)
        self._limits = limits_of(self.model.statistics.closest_pairs)
        self._core = RepulsiveCore(self.model.statistics.closest_pairs) if self._wants_core(core) else None
        self._is_outside = self._told_of_energy = False
        self._untrained: Results = {}
        self.implemented_properties = ["forces"]
        if self.model.config.head == "conservative":
            trained = self.model.trained
            if trained is None:
                if not isinstance(path, Model):
                    _log.warning(
                        "this checkpoint does not tell what it was trained on: energy and stress are given, but may "
                        "never have been. Check them, or train it again."
                    )
                trained = TrainedLabels(None, None, None)
            self.implemented_properties = list(trained.properties)

    def _wants_core(self, asked: bool | None) -> bool:
        """Choose between what is asked for and what the checkpoint says."""
        return self.model.repulsive_core if asked is None else asked

    @staticmethod
    def committee(
        models: Sequence[str | Path | Model] | None = None, device: str = "auto", *, scale: float | None = None
    ) -> SDNNFFCommittee:
        """Make a calculator of several models: their mean, and their disagreement on every atom.

        Parameters
        ----------
        models : sequence of (str, Path or Model), optional
            At least two, by default the five bundled ones.
        device : str
            As for this class.
        scale : float, optional
            From disagreement to error; by default what the first model's card says.
        """
        from sdnnff_calc.calculators.committee_calculator import SDNNFFCommittee

        return SDNNFFCommittee(models, device, scale=scale)

    @property
    def element_energies(self) -> dict[str, float]:
        """Energies of the elements in their own structures, eV/atom, by what labelled the model's crystals.

        Empty where the model's card has none. Against these a formation energy has the model's error of the crystal
        alone; the elements themselves, molecules above all, may be outside what a model of crystals knows.
        """
        found = self.model.card.get(ELEMENTS_TOPIC, {})
        return {str(symbol): float(energy) for symbol, energy in found.items()} if isinstance(found, dict) else {}

    @property
    def verlet_list(self) -> VerletList:
        """The neighbour list kept between calls."""
        return self._verlet

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Result | None:
        """Give one result, as ASE asks for it; see :meth:`calculate`."""
        if name in _ENERGIES and name not in self.implemented_properties and self.model.config.head == "conservative":
            super().get_property("forces", atoms, allow_calculation)
            if not self._told_of_energy:
                _log.warning(
                    "this model was never trained on energies: its energy is the integral of its forces, from an "
                    "arbitrary zero, and says nothing of other cells or compositions."
                )
                self._told_of_energy = True
            return self._untrained.get(name)
        self._require(name)
        found: Result | None = super().get_property(name, atoms, allow_calculation)
        return found

    def _require(self, name: str) -> None:
        """Refuse a property that the head does not give, or that was never trained."""
        if name not in self.implemented_properties:
            others_do = name in type(self).implemented_properties
            if others_do and self.model.config.head == "conservative":
                label = "stress" if name == "stress" else "energy"
                raise PropertyNotImplementedError(
                    f"{name} is not available: this model was trained on {self.model.trained.words()}. Train or "  # type: ignore[union-attr]
                    f"fine-tune it with {label}_weight above 0, or hold the cell."
                )
            fix = " Train an e-sdnnff with head = 'conservative'." if others_do else ""
            raise PropertyNotImplementedError(
                f"{name} is not available: this model has a '{self.model.config.head}' head, which gives "
                f"{', '.join(self.implemented_properties)}.{fix}"
            )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model on one structure and fill ``results``.

        Raises
        ------
        PropertyNotImplementedError
            When the head does not give a property, or a stress is asked of a cell that is not fully periodic.
        UnknownElementError, OverlappingAtomsError, EmptyInputError, NonFiniteError, DataError
            For input the model cannot treat, atoms far closer than any it has learned from included.
        """
        super().calculate(atoms, properties, system_changes)
        self.results = {}  # of the structure before
        structure = self.atoms
        if structure is None:
            raise EmptyInputError("calculate got no structure: give atoms, or attach the calculator to some.")
        is_direct = self.model.config.head == "direct"
        wanted = [name for name in properties or ["forces"] if is_direct or name not in _ENERGIES]
        for name in wanted:
            self._require(name)
        if "stress" in wanted and not structure.pbc.all():
            raise PropertyNotImplementedError(
                f"stress needs three periodic directions, this structure has pbc = {structure.pbc.tolist()}."
            )
        check_elements(structure.numbers, self.model.elements)
        edges = EdgeArrays.from_atoms(structure, self.model.config.cutoff, self._verlet.edges(structure))
        if self._core is None:
            check_pairs(edges, self._limits)
        else:
            self._warn_when_outside(edges, self._core.nearest(edges))
        results = self._run([edges])[0]
        self._untrained = {name: results.pop(name) for name in list(results) if name not in self.implemented_properties}
        if not structure.pbc.all():
            results.pop("stress", None)
        self.results = results

    @property
    def is_outside(self) -> bool:
        """Whether the last structure had atoms closer than any the model has learned from, held apart by the core."""
        return self._is_outside

    def _warn_when_outside(self, edges: EdgeArrays, nearest: int | None) -> None:
        """Warn when a structure leaves what the model knows; not again before it has come back."""
        was_outside, self._is_outside = self._is_outside, nearest is not None
        if nearest is None or was_outside:
            return
        i, j = int(edges.centre[nearest]), int(edges.neighbour[nearest])
        names = " and ".join(f"{k} ({chemical_symbols[edges.numbers[k]]})" for k in (i, j))
        _log.warning(
            "outside what it knows: atoms %s are %.2f Å apart, closer than any such pair learned from. The repulsive "
            "core holds them apart; energies and forces there mean nothing more.",
            names,
            np.linalg.norm(edges.vector[nearest]),
        )

    def predict(self, structures: Iterable[Atoms], *, memory_gb: float = 1.0) -> list[Results]:
        """Evaluate many structures in batches.

        Parameters
        ----------
        structures : iterable of Atoms
            Any number of structures, also a generator.
        memory_gb : float
            Approximate limit for one batch, GB.

        Returns
        -------
        list of dict
            For each structure ``forces``, shape (n_atoms, 3), eV/Å, and, from a conservative head, ``energy``
            (eV), ``energies`` (n_atoms,) and, when fully periodic and trained on, ``stress`` (6,), eV/Å³, Voigt order.

        Raises
        ------
        EmptyInputError
            For an empty list.

        Notes
        -----
        Without a core, atoms closer than any the model has learned from are refused by :meth:`calculate` only, where
        the model itself moves them.
        """
        if not memory_gb > 0.0:
            raise ConfigError(f"memory_gb is {memory_gb!r}, expected above 0 GB.")
        if isinstance(structures, Atoms):
            raise ConfigError("predict takes a list of structures, got one structure: give [atoms].")
        results: list[Results] = []
        batch: list[EdgeArrays] = []
        used, size = 0.0, self.model.dtype.itemsize
        per_atom, per_edge = peak_numbers(self.model.config)
        for index, atoms in enumerate(structures):
            with in_structure(index, atoms):
                check_elements(atoms.numbers, self.model.elements)
                edges = EdgeArrays.from_atoms(atoms, self.model.config.cutoff)
            cost = size * (len(edges.numbers) * per_atom + len(edges.centre) * per_edge)
            if batch and used + cost > memory_gb * 1e9:
                results += self._run(batch)
                batch, used = [], 0.0
            batch.append(edges)
            used += cost
        if batch:
            results += self._run(batch)
        if "stress" not in self.implemented_properties:
            for result in results:
                result.pop("stress", None)
        if not results:
            raise EmptyInputError("predict got no structures, expected at least one.")
        return results

    def descriptors(self, atoms: Atoms) -> NDArray[np.float64]:
        """Give the invariants from which the model computes its output.

        Parameters
        ----------
        atoms : Atoms
            One structure.

        Returns
        -------
        ndarray, float64, shape (n_atoms, n_features)
            Dimensionless.
        """
        check_elements(atoms.numbers, self.model.elements)
        edges = EdgeArrays.from_atoms(atoms, self.model.config.cutoff)
        with torch.no_grad():
            values = self.network.descriptors(collate_edges([edges], self.model.dtype, self.device))
        result: NDArray[np.float64] = values.double().cpu().numpy()
        return result

    def batched_committee(self, members: Sequence[object]) -> Committee | None:
        """Fuse calculators of one architecture into a batched evaluator.

        Parameters
        ----------
        members : sequence of object
            Calculators, this one among them.

        Returns
        -------
        Committee or None
            None when some member is of another kind or architecture.
        """
        alike = [m for m in members if type(m) is SDNNFF and m.model.config == self.model.config]
        if len(alike) < len(members):
            return None
        committee = Committee([m.model for m in alike], str(self.device))
        return committee if committee.shares_architecture else None

    def _run(self, structures: Sequence[EdgeArrays]) -> list[Results]:
        """Batch, evaluate, unbatch."""
        env = collate_edges(structures, self.model.dtype, self.device)
        head = self.model.config.head
        prediction = evaluate(self.network, env, self.model.statistics, head, core=self._core)
        return to_results(prediction, env)
