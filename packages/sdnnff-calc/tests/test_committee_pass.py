"""What members share, and the blocked product: equal to the plain way, forwards and backwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.geometry.density import harmonics
from sdnnff_calc.geometry.environments import build_environments
from sdnnff_calc.geometry.shared_geometry import harmonic_gradients
from sdnnff_calc.models import blocked_product as blocked_module
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.blocked_product import blocked_product
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import Statistics, evaluate
from sdnnff_calc.models.sphere_product import SphereProduct
from sdnnff_calc.testing import SMALL_CONFIGS, toy_model


@pytest.mark.parametrize("l_max", [1, 2, 4])
def test_gradients_of_solid_harmonics(l_max: int) -> None:
    """∇(r^l Y_lm) from the constants equals finite differences."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(5, 3)))
    degree = torch.tensor([l for l in range(l_max + 1) for _ in range(2 * l + 1)])  # noqa: E741

    def solid(points: torch.Tensor, below: int = 0) -> torch.Tensor:
        r = points.norm(dim=-1, keepdim=True)
        n = (l_max + 1 - below) ** 2
        return harmonics(points / r, l_max)[:, :n] * r ** degree[:n]

    exact = (solid(x, below=1) @ harmonic_gradients(l_max)).view(5, -1, 3)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-5
        numeric = (solid(x + step) - solid(x - step)) / 2e-5
        assert float((numeric - exact[:, :, axis]).abs().max()) < 1e-8


@pytest.mark.parametrize("n_factors", [2, 3])
@pytest.mark.parametrize("l_out", [0, 1])
def test_blocked_product_and_its_gradient(n_factors: int, l_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values and gradients as SphereProduct's, over several blocks."""
    torch.manual_seed(0)
    plain = SphereProduct(2, l_out, n_factors).double()
    monkeypatch.setattr(blocked_module, "_BLOCK_BYTES", 8 * len(plain.evaluate) * 4 * n_factors * 3)
    factors = torch.randn(9, 10, 4 * n_factors, dtype=torch.float64, requires_grad=True)
    wanted = plain(factors)
    got = blocked_product(factors, plain.evaluate, plain.project, n_factors)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(wanted)
    (wanted_gradient,) = torch.autograd.grad(wanted, factors, weight)
    (gradient,) = torch.autograd.grad(got, factors, weight)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-12, atol=1e-12)


def mixed_batch(elements: list[str]) -> list[Atoms]:
    """Displaced crystals, so that atoms of one batch see different elements."""
    rng = np.random.default_rng(1)
    structures = [bulk(a + b, "cesiumchloride", a=3.4) * (2, 2, 2) for a in elements for b in elements if a != b]
    for atoms in structures:
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    return structures


@pytest.mark.parametrize("name", sorted(SMALL_CONFIGS))
@pytest.mark.parametrize("elements", [["Cu", "Au"], ["Al", "Cu", "Ag", "Au", "Ni"]], ids=["few", "many"])
def test_members_agree_with_their_own_calculators(name: str, elements: list[str]) -> None:
    """In float64 to 1e-10, also when a batch holds more elements than a model has element channels."""
    config = SMALL_CONFIGS[name]
    if config.kind == "e-sdnnff":
        config = dataclasses.replace(config, n_element_channels=3)
    numbers = sorted({int(z) for a in mixed_batch(elements) for z in a.numbers})
    statistics = [Statistics(force_scale=0.5 + k, mean_neighbours=20.0 + k) for k in range(3)]
    models = []
    for k in range(3):
        network = build_network(config, torch.float64, k)
        if hasattr(network, "mean_neighbours"):
            network.mean_neighbours.fill_(statistics[k].mean_neighbours)
        if hasattr(network, "feature_mean"):
            generator = torch.Generator().manual_seed(k)
            network.feature_mean.copy_(torch.rand(network.feature_mean.shape, generator=generator))
            network.feature_deviation.copy_(0.5 + torch.rand(network.feature_mean.shape, generator=generator))
        models.append(Model(network, config, tuple(numbers), statistics[k]))
    structures = mixed_batch(elements)
    found = Committee(models, "cpu").predict_committee(structures)
    for k, model in enumerate(models):
        alone = SDNNFF(model, device="cpu").predict(structures)
        for index, result in enumerate(alone):
            np.testing.assert_allclose(found["forces"][index][k], result["forces"], rtol=0, atol=1e-10)
            if found["energies"] is not None:
                np.testing.assert_allclose(found["energies"][k][index], result["energy"], rtol=1e-10)
                np.testing.assert_allclose(found["stresses"][k][index], result["stress"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SMALL_CONFIGS))
@pytest.mark.parametrize("elements", [["Cu", "Au"], ["Al", "Cu", "Ag", "Au", "Ni"]], ids=["few", "many"])
def test_a_model_gives_what_it_was_trained_to_give(name: str, elements: list[str]) -> None:
    """The pass without a graph for the weights, which calculators use, against the one of the training, in float64."""
    model = toy_model(name, "float64")
    env = build_environments(mixed_batch(elements), model.config.cutoff, torch.float64)
    arguments = (model.network, env, model.statistics, model.config.head)
    found, wanted = evaluate(*arguments), evaluate(*arguments, training=True)
    torch.testing.assert_close(found.forces, wanted.forces.detach(), rtol=1e-9, atol=1e-11)
    if wanted.energies is not None and wanted.stresses is not None:
        torch.testing.assert_close(found.energies, wanted.energies.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.stresses, wanted.stresses.detach(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", list(SMALL_CONFIGS))
def test_a_committee_of_isolated_atoms_feels_nothing(name: str) -> None:
    committee = Committee([toy_model(name, seed=0), toy_model(name, seed=1)], "cpu")
    results = committee.predict_committee([Atoms("Cu"), Atoms("NaCl", [[0, 0, 0], [0, 0, 30.0]])])
    assert [f.shape for f in results["forces"]] == [(2, 1, 3), (2, 2, 3)]
    assert not np.concatenate(results["forces"], axis=1).any()


def test_a_committee_offers_stress_when_its_members_do() -> None:
    """What relaxing a cell with a committee needs; members of two architectures too."""
    names = ["conservative-1", "conservative-2"]
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=0)
    models = [toy_model(name, "float64") for name in names]
    committee = Committee(models, "cpu")
    assert committee.has_stress
    assert not committee.shares_architecture
    found = committee.predict_committee([atoms])["stresses"]
    for k, model in enumerate(models):
        np.testing.assert_allclose(found[k, 0], SDNNFF(model, device="cpu").predict([atoms])[0]["stress"], atol=1e-12)
    assert not Committee([toy_model("direct-1")], "cpu").has_energy
    assert Committee([toy_model("direct-1")], "cpu").predict_committee([atoms])["stresses"] is None
