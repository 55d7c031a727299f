"""The calculator: bad input, skin reuse, batches, checkpoints by name."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.errors import (
    ConfigError,
    EmptyInputError,
    ModelNotFoundError,
    NonFiniteError,
    OverlappingAtomsError,
    UnknownElementError,
)
from sdnnff_calc.geometry.neighbours import VerletList, find_edges
from sdnnff_calc.models.checkpoint import Model, save_model
from sdnnff_calc.testing import SMALL_CONFIGS, toy_model
from sdnnff_calc.training.evaluation import embed, evaluate_forces


def test_isolated_atom_feels_nothing(any_model: Model) -> None:
    atoms = Atoms("Cu", calculator=SDNNFF(any_model))
    assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_pair_feels_a_force_along_its_axis(any_model: Model) -> None:
    direction = np.array([1.0, 2.0, -0.5]) / np.linalg.norm([1.0, 2.0, -0.5])
    forces = SDNNFF(any_model).predict([Atoms("NaCl", [[0, 0, 0], 2.5 * direction])])[0]["forces"]
    assert np.abs(forces).max() > 1e-5
    assert np.allclose(np.cross(forces, direction), 0.0, atol=1e-6)


def test_overlapping_atoms_are_refused(any_model: Model) -> None:
    with pytest.raises(OverlappingAtomsError, match=r"atoms 0 and 1 are 0\.050"):
        SDNNFF(any_model).predict([Atoms("NaCl", [[0, 0, 0], [0.05, 0, 0]])])


def test_overlap_is_found_by_the_kept_list_too(any_model: Model) -> None:
    atoms = Atoms("NaCl", [[0, 0, 0], [0.45, 0, 0]], calculator=SDNNFF(any_model, skin=1.0))
    atoms.get_forces()
    atoms.positions[1, 0] = 0.1
    with pytest.raises(OverlappingAtomsError):
        atoms.get_forces()


def test_unknown_element_is_named(any_model: Model) -> None:
    with pytest.raises(UnknownElementError, match=r"not trained on Xe.*Na, Al, Cl, Cu"):
        SDNNFF(any_model).predict([bulk("Xe", "fcc", a=6.2)])


def test_the_one_bad_structure_of_a_list_is_named(salt: Atoms) -> None:
    model = toy_model("direct-1")
    calculator, committee = SDNNFF(model), Committee([model], "cpu")
    close = Atoms("NaCl", [[0, 0, 0], [0.05, 0, 0]])
    for ask in (calculator.predict, committee.predict_committee, lambda atoms: embed(calculator, atoms)):
        with pytest.raises(OverlappingAtomsError, match=r"^structure 1 \(ClNa\): atoms 0 and 1 are 0\.050"):
            ask([salt, close, salt])
    xenon = bulk("Xe", "fcc", a=6.2)
    xenon.info["origin"] = "data.extxyz@7"
    with pytest.raises(UnknownElementError, match=r"^structure 1 \(Xe, data.extxyz@7\): .* not trained on Xe"):
        calculator.predict([salt, xenon])
    with pytest.raises(UnknownElementError, match=r"^structure 0: the model was not trained on Z=200"):
        calculator.predict([Atoms(numbers=[200])])


def test_another_head_is_advised_where_it_would_help(salt: Atoms) -> None:
    for name in ("direct-1", "grid"):
        salt.calc = SDNNFF(toy_model(name))
        with pytest.raises(PropertyNotImplementedError, match="gives forces. Train an e-sdnnff with head = 'conserv"):
            salt.get_stress()
    salt.calc = SDNNFF(toy_model("conservative-1"))
    for ask in (salt.get_stresses, salt.get_charges):
        with pytest.raises(PropertyNotImplementedError, match=r"forces, stress\.$"):
            ask()


def test_empty_input_is_refused(any_model: Model) -> None:
    calculator = SDNNFF(any_model)
    with pytest.raises(EmptyInputError):
        calculator.predict([])
    with pytest.raises(EmptyInputError):
        calculator.predict([Atoms()])
    with pytest.raises(EmptyInputError):
        evaluate_forces(calculator, [])
    with pytest.raises(EmptyInputError):
        embed(calculator, [])
    with pytest.raises(ConfigError, match=r"give \[atoms\]"):
        calculator.predict(bulk("Cu"))


def test_a_committee_asks_for_a_list_too(salt: Atoms) -> None:
    committee = Committee([toy_model("direct-1")], "cpu")
    with pytest.raises(ConfigError, match=r"predict_committee takes a list of structures.*give \[atoms\]"):
        committee.predict_committee(salt)  # type: ignore[arg-type]
    assert len(committee.predict_committee([salt])["forces"]) == 1


@pytest.mark.parametrize("where", ["positions", "cell"])
def test_nan_is_refused(any_model: Model, where: str) -> None:
    atoms = bulk("Cu", cubic=True)
    if where == "positions":
        atoms.positions[0, 0] = np.nan
    else:
        atoms.cell[0, 0] = np.inf
    with pytest.raises(NonFiniteError):
        SDNNFF(any_model).predict([atoms])


def test_periodic_direction_without_cell_is_refused(any_model: Model) -> None:
    with pytest.raises(OverlappingAtomsError, match="direction 2 is periodic"):
        SDNNFF(any_model).predict([Atoms("Cu", cell=[4, 4, 0], pbc=True)])


def test_slab_has_no_images_through_the_vacuum(any_model: Model) -> None:
    thin, thick = (fcc111("Cu", (1, 1, 3), vacuum=v) for v in (0.5, 30.0))
    a, b = SDNNFF(any_model).predict([thin, thick])
    assert np.allclose(a["forces"], b["forces"], atol=1e-5)
    assert "stress" not in a
    if any_model.config.head == "conservative":
        thin.calc = SDNNFF(any_model)
        thin.get_potential_energy()
        with pytest.raises(PropertyNotImplementedError, match="three periodic directions"):
            thin.get_stress()


def test_distances_against_a_brute_force_sum_over_images() -> None:
    atoms = Atoms("NaCl", [[0.1, 0.2, 0.3], [1.9, 1.1, 0.8]], cell=[[2.9, 0, 0], [1.2, 3.1, 0], [0.4, -0.9, 3.3]])
    atoms.pbc = True
    cutoff = 7.0
    edges = find_edges(atoms, cutoff)
    count = 0
    for shift in np.ndindex(13, 13, 13):
        d = atoms.positions[None] - atoms.positions[:, None] + (np.array(shift) - 6) @ atoms.cell.array
        r = np.linalg.norm(d, axis=-1)
        count += int(((r < cutoff) & (r > 1e-9)).sum())
    assert len(edges.centre) == count
    assert np.all(np.diff(edges.centre) >= 0)


_BAD_GEOMETRIES = """
import numpy as np
from ase import Atoms
from sdnnff_calc.errors import SdnnffError
from sdnnff_calc.geometry.neighbours import find_edges

def refuse(name, points, cell, pbc):
    try:
        find_edges(Atoms(f"Cu{len(points)}", points, cell=cell, pbc=pbc), 5.0)
        print(f"{name} | accepted", flush=True)
    except SdnnffError as error:
        print(f"{name} | {type(error).__name__}: {error}", flush=True)

pair, four = [[0, 0, 0], [2, 0, 0]], np.diag([4.0, 4.0, 4.0])
refuse("a parallel to b", pair, [[4, 0, 0], [8, 0, 0], [0, 0, 4]], [1, 1, 0])
refuse("cluster, far atom", [[0, 0, 0], [1e6, 0, 0]], np.zeros((3, 3)), False)
refuse("slab, far atom", [[0, 0, 0], [0, 0, 1e6]], np.diag([4.0, 4.0, 0.0]), [1, 1, 0])
refuse("slab FTT, far atom", [[0, 0, 0], [1e5, 0, 0]], four, [0, 1, 1])
refuse("wire, far atom", [[0, 0, 0], [0, 2e4, 0]], four, [1, 0, 0])
refuse("c in the ab plane", pair, [[4, 0, 0], [0, 4, 0], [2, 2, 1e-6]], True)
refuse("wire of 1e-6", pair, np.diag([1e-6, 0.0, 0.0]), [1, 0, 0])
refuse("absurd coordinate", [[0, 0, 0], [1e30, 0, 0]], four, True)
refuse("absurd coordinate, cluster", [[0, 0, 0], [1e308, 0, -1e308]], four, False)
refuse("absurd cell", pair, np.diag([4.0, 4.0, 1e6]), True)
"""


def test_geometry_that_would_stop_python_is_refused() -> None:
    """In a process of its own: vesin would end it, or never return."""
    done = subprocess.run([sys.executable, "-c", _BAD_GEOMETRIES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" | ") for line in done.stdout.splitlines())
    flat, far = "OverlappingAtomsError: direction {} is periodic", "DataError: the atoms span {} Å"
    expected = {
        "a parallel to b": flat.format(0),
        "cluster, far atom": far.format("1e+06"),
        "slab, far atom": far.format("1e+06"),
        "slab FTT, far atom": far.format("1e+05"),
        "wire, far atom": far.format("2e+04"),
        "c in the ab plane": flat.format(2),
        "wire of 1e-6": flat.format(0),
        "absurd coordinate": "DataError: atom 1 has a coordinate of 1e+30 Å",
        "absurd coordinate, cluster": "DataError: atom 1 has a coordinate of 1e+308 Å",
        "absurd cell": "DataError: cell vector 2 has a component of 1e+06 Å",
    }
    assert said.keys() == expected.keys()
    for name, start in expected.items():
        assert said[name].startswith(start), said[name]


@pytest.mark.parametrize(
    ("far", "cell", "pbc"),
    [
        ((0, 0, 9e3), [30, 30, 0], [1, 1, 0]),  # slab: 10 s when searched as vesin would
        ((0, 0, 100), [30, 30, 1e6], [1, 1, 0]),  # its vacuum is not looked at
        ((0, 1e3, 1e3), [30, 0, 0], [1, 0, 0]),  # wire: minutes
        ((300, 300, 300), None, False),  # molecule of 500 Å
        ((5e3, 5e3, 0), None, False),  # flat and wide: a division by zero within vesin
        ((0, 0, 0), [2e3, 2e3, 8], True),
        ((1e7, 0, 0), [30, 30, 30], True),  # 10 Å when wrapped
    ],
)
def test_wide_structures_keep_their_edges(far: tuple[float, ...], cell: object, pbc: object) -> None:
    """A second Cu₂ at a distance sees nothing of the first, whose bond is found once from either end."""
    pair = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.5]])
    positions = np.vstack([pair, pair + np.array(far)]) if any(far) else pair
    atoms = Atoms(f"Cu{len(positions)}", positions, cell=cell, pbc=pbc)
    for cutoff in (0.6, 5.0):  # the first is that of the check of data
        edges = find_edges(atoms, cutoff)
        expected = np.arange(len(atoms)) if cutoff > 2.5 else np.zeros(0, int)
        assert np.array_equal(edges.centre, expected)
        assert np.array_equal(edges.neighbour, expected ^ 1)
        assert not edges.shift.any()
        assert np.allclose(np.abs(edges.vector), [0.0, 0.0, 2.5])


@pytest.mark.parametrize("pbc", [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
def test_low_cells_are_searched_in_full(pbc: list[int]) -> None:
    """Atoms 0.5 Å from their images along each periodic direction: as counted one by one, across a gap or not."""
    positions = [[0.0, 0.0, 0.0]] if all(pbc) else [[0.0, 0.0, 0.0], [0.0, 0.0, 500.0]]
    atoms = Atoms(f"Cu{len(positions)}", positions, cell=[0.5, 0.5, 0.5], pbc=pbc)
    steps = np.arange(-12, 13)
    images = np.array([[x * pbc[0], y * pbc[1], z * pbc[2]] for x in steps for y in steps for z in steps])
    distances = 0.5 * np.linalg.norm(np.unique(images, axis=0), axis=1)
    edges = find_edges(atoms, 5.1)
    assert len(edges.centre) == len(atoms) * int(((distances > 0) & (distances < 5.1)).sum())


@pytest.mark.parametrize("name", list(SMALL_CONFIGS))
def test_skin_gives_the_forces_of_a_fresh_list(name: str) -> None:
    atoms = bulk("Cu", cubic=True).repeat(2)
    any_model = toy_model(name, "float64")
    kept, fresh = SDNNFF(any_model, skin=0.6), SDNNFF(any_model, skin=0.0)
    rng = np.random.default_rng(1)
    for _ in range(6):
        atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
        a = kept.get_property("forces", atoms.copy())
        b = fresh.get_property("forces", atoms.copy())
        assert np.allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())
    assert kept.verlet_list.n_builds < fresh.verlet_list.n_builds == 6


def test_skin_rebuilds_in_time() -> None:
    atoms = bulk("Cu", cubic=True).repeat(2)
    verlet = VerletList(4.0, skin=0.4)
    verlet.edges(atoms)
    atoms.positions[0, 0] += 0.19
    verlet.edges(atoms)
    assert verlet.n_builds == 1
    atoms.positions[0, 0] += 0.02
    assert len(verlet.edges(atoms).centre) == len(find_edges(atoms, 4.0).centre)
    assert verlet.n_builds == 2
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    verlet.edges(atoms)
    assert verlet.n_builds == 3


def test_batches_do_not_mix_structures(any_model: Model, salt: Atoms) -> None:
    structures = [salt, Atoms("Cu"), bulk("Cu"), salt.repeat((2, 1, 1)), bulk("NaCl", "rocksalt", a=5.6)]
    structures[4].rattle(0.05, seed=1)
    calculator = SDNNFF(any_model)
    together = calculator.predict(structures)
    tiny = calculator.predict(iter(structures), memory_gb=1e-9)
    for atoms, a, b in zip(structures, together, tiny, strict=True):
        assert np.allclose(a["forces"], b["forces"], atol=1e-6)
        alone = calculator.get_property("forces", atoms)
        assert np.allclose(a["forces"], alone, atol=1e-6)


def test_damaged_weights_raise_instead_of_giving_nan(any_model: Model, salt: Atoms) -> None:
    next(any_model.network.network.parameters()).data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(NonFiniteError):
        SDNNFF(any_model).predict([salt])


def test_missing_models_are_explained() -> None:
    with pytest.raises(ModelNotFoundError, match=r"no-such-model.*default"):
        SDNNFF("no-such-model.pt")


def test_a_folder_of_models_names_them(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"holds no model.pt of its own. Was it trained\?"):
        SDNNFF(tmp_path)
    for member in (0, 1):
        save_model(toy_model("direct-1"), tmp_path / f"member-{member}" / "model.pt")
    with pytest.raises(ModelNotFoundError, match=r"a model below it, such as '.*member-0.model\.pt'\.$"):
        SDNNFF(tmp_path)
    SDNNFF(tmp_path / "member-0")


def test_wrong_device_and_dtype_are_explained() -> None:
    with pytest.raises(ConfigError, match="device 'warp'"):
        SDNNFF(toy_model("direct-1"), device="warp")
    with pytest.raises(ConfigError, match="float16"):
        SDNNFF(toy_model("direct-1"), dtype="float16")
    with pytest.raises(ConfigError, match=r"skin is -0\.1"):
        SDNNFF(toy_model("direct-1"), skin=-0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_is_converted_as_its_file_is(dtype: str, any_model: Model, salt: Atoms, tmp_path: Path) -> None:
    path = save_model(any_model, tmp_path / "model.pt")
    calculator = SDNNFF(any_model, dtype=dtype)
    assert calculator.model.dtype == getattr(torch, dtype)
    assert any_model.dtype == torch.float32
    forces = [c.predict([salt])[0]["forces"] for c in (calculator, SDNNFF(path, dtype=dtype))]
    assert np.array_equal(*forces)
    rounded = forces[0].astype(np.float32).astype(np.float64)
    assert np.array_equal(forces[0], rounded) == (dtype == "float32")


def test_model_survives_pickling(salt: Atoms) -> None:
    model = toy_model("conservative-1")
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(SDNNFF(model).predict([salt])[0]["forces"], SDNNFF(again).predict([salt])[0]["forces"])


def test_ase_finds_the_calculator_by_name() -> None:
    collection = pytest.importorskip("ase._4.plugins.plugin_collection")
    found = [p for p in collection.PluginCollection.from_entry_points() if p.name == "sdnnff"]
    assert len(found) == 1
    assert found[0].implementation is SDNNFF


def test_results_of_one_structure_are_never_given_for_the_next(salt: Atoms) -> None:
    calculator = SDNNFF(toy_model("conservative-1"))
    calculator.calculate(salt, ["forces"])
    squeezed = salt.copy()
    squeezed.positions[1] = squeezed.positions[0] + 0.1
    for ask in (lambda: calculator.calculate(squeezed, ["forces"]), lambda: calculator.get_forces(squeezed)):
        with pytest.raises(OverlappingAtomsError):
            ask()


def test_a_model_that_is_handed_in_stays_as_it_is(any_model: Model, salt: Atoms) -> None:
    SDNNFF(any_model).predict([salt])
    Committee([any_model, any_model]).predict_committee([salt])
    assert all(parameter.requires_grad for parameter in any_model.network.parameters())


def test_float64_is_exact_though_the_weights_were_saved_in_float32(salt: Atoms, tmp_path: Path) -> None:
    """Quadrature and radii are made anew in full precision: rotation symmetry to rounding errors."""
    model = toy_model("conservative-2")
    turned = salt.copy()
    turned.rotate(37.0, (1.0, 2.0, 3.0), rotate_cell=True)
    rotation = np.linalg.solve(salt.cell.array, turned.cell.array)
    for source in (save_model(model, tmp_path / "m.pt"), model):
        before, after = SDNNFF(source, dtype="float64").predict([salt, turned])
        assert np.allclose(before["forces"] @ rotation, after["forces"], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_of_memory_is_above_zero(limit: float, salt: Atoms) -> None:
    with pytest.raises(ConfigError, match="memory_gb"):
        SDNNFF(toy_model("conservative-1")).predict([salt], memory_gb=limit)
