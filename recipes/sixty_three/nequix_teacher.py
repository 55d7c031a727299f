"""Nequix as a teacher that labels many small periodic cells in one call, on one core.

The convolution is the package's own, summed in another order. In a small cell all neighbours of an atom are images of
a few atoms, so what an image contributes (radial weight times spherical harmonic) is summed over images before it is
multiplied with the features of the atom that it is an image of; and since the last radial layer is linear, it comes
after that sum. Equal to the package's own torch code to rounding, and five to seven times faster for ten atoms
(``benchmarks/results/sixty-three.md``).
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from e3nn import o3
from vesin import ase_neighbor_list

L_OF = [slice(0, 1), slice(1, 4), slice(4, 9), slice(9, 16)]


class NequixTeacher:
    """Energies, forces and stresses of small periodic cells, many at a time.

    Parameters
    ----------
    model_path
        The file of weights, in the package's torch format.
    batch_atoms
        About so many atoms in one pass.
    """

    def __init__(self, model_path: str | Path, batch_atoms: int = 80) -> None:
        from nequix.torch_impl.model import load_model

        self.path, self.batch_atoms = Path(model_path), batch_atoms
        self.model, self.config = load_model(self.path, False)
        self.model.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.index = {z: k for k, z in enumerate(self.config["atomic_numbers"])}
        self.layers = [_Layer(layer) for layer in self.model.layers]

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the labels."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        return {"calculator": "nequix", "model": self.path.stem, "sha256": digest}

    def predict(self, structures: Sequence[Atoms]) -> list[dict[str, Any]]:
        """Evaluate periodic cells; those with equally many atoms share a pass."""
        groups: dict[int, list[int]] = defaultdict(list)
        for k, atoms in enumerate(structures):
            groups[len(atoms)].append(k)
        results: list[dict[str, Any]] = [{} for _ in structures]
        for n_atoms, members in groups.items():
            size = max(1, self.batch_atoms // n_atoms)
            for low in range(0, len(members), size):
                part = members[low : low + size]
                for k, result in zip(part, self._run([structures[k] for k in part]), strict=True):
                    results[k] = result
        return results

    def _run(self, cells: list[Atoms]) -> list[dict[str, Any]]:
        """Evaluate cells with equally many atoms."""
        g, n = len(cells), len(cells[0])
        found = []
        for atoms in cells:
            i, j, vector = ase_neighbor_list("ijD", atoms, self.config["cutoff"])
            pair = np.asarray(j, dtype=np.int64) * n + np.asarray(i, dtype=np.int64)  # sender first
            order = np.argsort(pair, kind="stable")
            pair = pair[order]
            counts = np.bincount(pair, minlength=n * n)
            place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
            found.append((pair, place, np.asarray(vector)[order]))
        width = max(int(place.max(initial=0)) + 1 for _, place, _ in found)
        padded = np.full((g, n * n, width, 3), 10.0)  # beyond the cutoff: contributes nothing
        for k, (pair, place, vector) in enumerate(found):
            padded[k, pair, place] = vector
        edges = torch.tensor(padded.reshape(-1, 3), dtype=torch.float32, requires_grad=True)
        species = torch.tensor([[self.index[z] for z in atoms.numbers] for atoms in cells])
        energies = self._energies(edges, species.reshape(-1), g, n, width).reshape(g, n)
        (gradient,) = torch.autograd.grad(energies.sum(), edges)
        pull = gradient.double().numpy().reshape(g, n, n, width, 3)
        vectors = padded.reshape(g, n, n, width, 3)
        forces = pull.sum(axis=(1, 3)) - pull.sum(axis=(2, 3))  # a vector points from receiver to sender
        virial = np.einsum("gsrki,gsrkj->gij", vectors, pull)
        total = energies.detach().double().sum(dim=1).numpy()
        results = []
        for k, atoms in enumerate(cells):
            stress = 0.5 * (virial[k] + virial[k].T) / atoms.get_volume()
            voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            results.append({"energy": float(total[k]), "forces": forces[k], "stress": voigt})
        return results

    def _energies(self, edges: torch.Tensor, species: torch.Tensor, g: int, n: int, width: int) -> torch.Tensor:
        """Energy of each atom."""
        from nequix.torch_impl.model import bessel_basis, polynomial_cutoff

        model = self.model
        features = torch.nn.functional.one_hot(species, model.n_species).to(edges.dtype)
        distance = torch.linalg.norm(edges, dim=-1)
        radial = bessel_basis(distance, model.radial_basis_size, model.cutoff)
        radial = radial * polynomial_cutoff(distance, model.cutoff, model.radial_polynomial_p)[:, None]
        harmonics = o3.spherical_harmonics([0, 1, 2, 3], edges, normalize=True, normalization="component")
        for layer in self.layers:
            features = layer(features, harmonics, radial, g, n, width)
        energies = model.readout(features) * model.scale + model.shift
        return energies[:, 0] + model.atom_energies[species]


class NequixCalculator(Calculator):
    """The teacher for ASE and ``screen-cli`` (calculator ``ase:nequix_teacher.NequixCalculator``).

    Parameters
    ----------
    path
        The file of weights; default: what ``SIXTY_THREE_TEACHER`` names.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, path: str | Path = "") -> None:
        super().__init__()
        self.teacher = NequixTeacher(path or os.environ["SIXTY_THREE_TEACHER"])
        self.parameters = dict(self.teacher.settings)

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes
    ) -> None:
        """Compute everything at once."""
        super().calculate(atoms, properties, system_changes)
        (found,) = self.teacher.predict([self.atoms])
        self.results = {**found, "free_energy": found["energy"]}


class _Layer:
    """A convolution of the package, summed over images first."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.hidden = layer.radial_mlp.layers[:-1]
        self.activation = layer.radial_mlp.activation
        last = layer.radial_mlp.layers[-1].weights
        tp = layer.tp
        self.inputs = [
            (slice_, mul, ir.l) for slice_, (mul, ir) in zip(tp.irreps_in1.slices(), tp.irreps_in1, strict=True)
        ]
        self.paths = []
        low = 0
        for ins in tp.instructions:
            mul, ir1 = tp.irreps_in1[ins.i_in1]
            l2, l3 = tp.irreps_in2[ins.i_in2].ir.l, tp.irreps_out[ins.i_out].ir.l
            coupling = o3.wigner_3j(ir1.l, l2, l3).reshape(-1, 2 * l3 + 1) * ins.path_weight
            coupling = coupling / np.sqrt(layer.avg_n_neighbors)
            weight = last[:, low : low + mul].T.contiguous()
            low += mul
            self.paths.append((ins.i_in1, l2, mul, weight, coupling.to(weight.dtype)))

    def __call__(
        self, features: torch.Tensor, harmonics: torch.Tensor, radial: torch.Tensor, g: int, n: int, width: int
    ) -> torch.Tensor:
        """Features of all atoms, one layer on."""
        layer = self.layer
        messages = layer.linear_1(features)
        hidden = radial
        for linear in self.hidden:
            hidden = self.activation(linear(hidden))
        c = hidden.shape[-1]
        images = torch.bmm(  # (pairs, c, 16): summed over images
            hidden.view(g * n * n, width, c).transpose(1, 2), harmonics.view(g * n * n, width, 16)
        )
        images = images.view(g, n, n, c, 16).permute(0, 3, 1, 4, 2)  # g, c, sender, m, receiver
        by_l = [images[:, :, :, part].reshape(g, c, -1) for part in L_OF]
        senders = [
            messages[:, part].reshape(g, n, mul, 2 * degree + 1).permute(0, 2, 3, 1).contiguous()
            for part, mul, degree in self.inputs
        ]  # g, mul, m1, sender
        out = []
        for i_in1, l2, mul, weight, coupling in self.paths:
            x = senders[i_in1]
            m1, m2 = x.shape[2], 2 * l2 + 1
            a = torch.matmul(weight, by_l[l2]).view(g * mul, n, m2 * n)  # sender; m2, receiver
            t = torch.bmm(x.view(g * mul, m1, n), a)  # m1; m2, receiver
            t = t.view(g, mul, m1 * m2, n).permute(0, 3, 1, 2).reshape(g * n * mul, m1 * m2)
            out.append((t @ coupling).view(g * n, -1))
        gathered = layer.linear_2(torch.cat(out, dim=-1)) + layer.skip(features)
        if layer.layer_norm is not None:
            gathered = layer.layer_norm(gathered)
        return layer.gate(gathered)
