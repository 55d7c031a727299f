"""Force constants: solvers against each other, the judge of the fit, the guard, phono3py's readers."""

from __future__ import annotations

import builtins
import dataclasses
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from screen_cli.config import ConductivitySettings, DisplaceSettings, ForceConstantsSettings
from screen_cli.errors import CalculatorError, ConfigError, MissingExtraError, UnderdeterminedFitError, UnknownNameError
from screen_cli.physics.force_expansion import predict_forces
from screen_cli.solvers.conductivity import StandardSolver
from screen_cli.solvers.force_constants.finite_difference import FiniteDifferenceSolver
from screen_cli.solvers.force_constants.symfc import SymfcSolver
from screen_cli.stages.conductivity import compute_conductivity
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants, fit_force_constants
from screen_cli.stages.forces import Forces

SETTINGS = ForceConstantsSettings()


def crystal() -> Any:
    from ase.build import bulk

    return bulk("Ar", "fcc", a=5.3)


def calculator() -> Any:
    """Nearest-neighbour Lennard-Jones, smooth at its cutoff, so that cutoffs lose nothing."""
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=3.4, epsilon=0.0104, rc=5.0, ro=4.2, smooth=True)


def forces_of(displaced: Displaced, calculator: Any, noise: float = 0.0) -> Forces:
    found = {}
    rng = np.random.default_rng(1)
    for name, supercells in (("forces", displaced.supercells), ("forces_fc2", displaced.supercells_fc2)):
        if supercells is None:
            continue
        forces = []
        for displacement in supercells.displacements:
            atoms = supercells.perfect
            atoms.positions += displacement
            atoms.calc = calculator
            forces.append(atoms.get_forces())
        values = np.array(forces)
        values += noise * rng.standard_normal(values.shape)
        found[name] = values - values.mean(axis=1, keepdims=True)
    return Forces.of_arrays(found)


def displaced_argon(kind: str = "random", **settings: Any) -> Displaced:
    from screen_cli.stages.displace import displace

    return displace(crystal(), DisplaceSettings(**({"dim": [2, 2, 2], "distance": 0.01} | settings)), kind=kind)


@pytest.fixture(scope="module")
def random_set() -> tuple[Displaced, Forces]:
    displaced = displaced_argon()
    return displaced, forces_of(displaced, calculator())


@pytest.fixture(scope="module")
def fits(random_set: tuple[Displaced, Forces]) -> dict[str, ForceConstants]:
    exact = displaced_argon("finite-difference")
    return {
        "symfc": fit_force_constants(*random_set, SETTINGS, SymfcSolver()),
        "finite-difference": fit_force_constants(
            exact, forces_of(exact, calculator()), SETTINGS, FiniteDifferenceSolver()
        ),
    }


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def kappa(displaced: Displaced, fitted: ForceConstants) -> float:
    settings = ConductivitySettings(mesh=[7, 7, 7], temperatures=[40.0], keep_modes=False)
    return compute_conductivity(displaced, fitted, settings, StandardSolver()).kappa_p_w_mk


def test_symfc_agrees_with_finite_differences(
    random_set: tuple[Displaced, Forces], fits: dict[str, ForceConstants]
) -> None:
    fitted, exact = fits["symfc"], fits["finite-difference"]
    assert relative(fitted.fc2, exact.fc2) < 0.01
    assert relative(fitted.fc3, exact.fc3) < 0.02
    # with one fc2: on this mesh its last bit alone, through exact degeneracies, moves κ by up to 4 %
    with_fc3 = dataclasses.replace(fitted, fc2=exact.fc2)
    assert kappa(random_set[0], with_fc3) == pytest.approx(kappa(random_set[0], exact), rel=0.01)


def test_finite_differences_by_symfc(fits: dict[str, ForceConstants]) -> None:
    displaced = displaced_argon("finite-difference")
    fitted = fit_force_constants(
        displaced, forces_of(displaced, calculator()), SETTINGS, FiniteDifferenceSolver(solver="symfc")
    )
    assert relative(fitted.fc3, fits["finite-difference"].fc3) < 0.02
    # both displacements of a pair must enter the prediction, or the residual is of order one
    assert fitted.residual < 0.01


@pytest.mark.parametrize("method", ["ols", "ardr"])
def test_hiphive_agrees(random_set: tuple[Displaced, Forces], fits: dict[str, ForceConstants], method: str) -> None:
    pytest.importorskip("hiphive")
    from screen_cli.solvers.force_constants.hiphive import HiphiveSolver

    solver = HiphiveSolver(cutoffs=[5.0, 5.0], fit_method=method)
    fitted = fit_force_constants(*random_set, SETTINGS, solver)
    assert fitted.fc3.shape == fits["symfc"].fc3.shape
    assert relative(fitted.fc2, fits["symfc"].fc2) < 0.01
    assert relative(fitted.fc3, fits["symfc"].fc3) < 0.03
    assert kappa(random_set[0], fitted) == pytest.approx(kappa(random_set[0], fits["symfc"]), rel=0.05)


def test_hiphive_missing_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from screen_cli.solvers.force_constants.hiphive import HiphiveSolver

    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "hiphive":
            raise ImportError("No module named 'hiphive'", name="hiphive")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'screen-cli\[hiphive\]'"):
        HiphiveSolver()


def test_smooth_fit_is_trusted_and_exact(fits: dict[str, ForceConstants]) -> None:
    fitted = fits["symfc"]
    assert fitted.trusted
    assert fitted.force_constants_warning == ""
    assert fitted.residual < 0.01
    assert fitted.heldout_error_even < 0.05
    assert fitted.n_heldout == 12  # each pair by a fit to all others
    assert fitted.fc3_error < 0.01
    assert fitted.sum_rule_fc2 < 1e-12
    assert fitted.sum_rule_fc3 < 1e-12


def test_noise_shows_in_the_even_part_and_warns(random_set: tuple[Displaced, Forces]) -> None:
    displaced = random_set[0]
    scale = np.sqrt(np.mean(random_set[1].fc3_forces ** 2))
    noisy = forces_of(displaced, calculator(), noise=0.02 * float(scale))
    fitted = fit_force_constants(displaced, noisy, SETTINGS, SymfcSolver())
    assert fitted.residual < SETTINGS.warn_residual  # the whole force hides it
    assert fitted.heldout_error_even > SETTINGS.warn_residual_even
    assert not fitted.trusted
    assert "not trustworthy" in fitted.force_constants_warning


@pytest.mark.parametrize("noise", [0.0005, 0.002])
def test_the_error_of_fc3_that_a_rough_potential_leaves_is_told(
    random_set: tuple[Displaced, Forces], fits: dict[str, ForceConstants], noise: float
) -> None:
    """As large as the difference from the fit without noise, and beyond the limit no κ is trusted."""
    displaced, smooth = random_set
    scale = float(np.sqrt(np.mean(smooth.fc3_forces**2)))
    fitted = fit_force_constants(
        displaced,
        forces_of(displaced, calculator(), noise=noise * scale),
        replace(SETTINGS, holdout=0.0),
        SymfcSolver(),
    )
    assert fitted.fc3_error == pytest.approx(relative(fitted.fc3, fits["symfc"].fc3), rel=0.25)
    assert fitted.trusted == (fitted.fc3_error < SETTINGS.warn_fc3_error)
    if not fitted.trusted:
        assert re.search(r"makes fc3 uncertain by \d+% \(limit 5%\)", fitted.force_constants_warning)


def test_prediction_is_the_taylor_series(random_set: tuple[Displaced, Forces], fits: dict[str, ForceConstants]) -> None:
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc

    from screen_cli.stages.phonon_objects import load_phono3py

    displaced = random_set[0]
    primitive = load_phono3py(displaced).primitive
    action = np.asarray(primitive.atomic_permutations), primitive.p2s_map
    displacement = displaced.supercells.displacements[:1]
    fc2 = fits["symfc"].fc2
    full = compact_fc_to_full_fc(primitive, fc2)
    expected = -np.einsum("ijab,jb->ia", full, displacement[0])
    np.testing.assert_allclose(predict_forces(*action, displacement, fc2)[0], expected, atol=1e-12)
    # index symmetry: the energy derivative of the cubic term agrees with a direct sum for one primitive atom
    fc3 = fits["symfc"].fc3
    atom = primitive.p2s_map[0]
    cubic = predict_forces(*action, displacement, fc2, fc3)[0, atom] - expected[atom]
    direct = -0.5 * np.einsum("jkabc,jb,kc->a", fc3[0], displacement[0], displacement[0])
    np.testing.assert_allclose(cubic, direct, atol=1e-14)


def test_phono3py_reads_the_stored_file(fits: dict[str, ForceConstants], tmp_path: Any) -> None:
    from phono3py.file_IO import read_fc2_from_hdf5, read_fc3_from_hdf5

    from screen_cli.store.records import RecordStore

    store, record = RecordStore(tmp_path), fits["symfc"]
    store.write("ab12", "force_constants", "k", record.to_storage(), seconds=0.0)
    path = store.path("ab12", "force_constants", "k", "hdf5")
    p2s_map = record.p2s_map
    np.testing.assert_array_equal(read_fc3_from_hdf5(path, p2s_map=p2s_map), record.fc3)
    np.testing.assert_array_equal(read_fc2_from_hdf5(path, p2s_map=p2s_map), record.fc2)


def test_separate_fc2_supercell() -> None:
    displaced = displaced_argon(dim_fc2=[3, 3, 3])
    fitted = fit_force_constants(displaced, forces_of(displaced, calculator()), SETTINGS, SymfcSolver())
    assert fitted.fc2.shape == (1, 108, 3, 3)
    assert fitted.fc3.shape == (1, 32, 32, 3, 3, 3)
    assert fitted.residual < 0.01
    assert fitted.residual_fc2_supercell < 0.01
    assert kappa(displaced, fitted) > 0


def test_finite_differences_for_fc2_beside_a_random_fc3_set() -> None:
    """Random displacements of all atoms shift fc2 by the fourth order; one atom at a time does not."""
    settings = {"dim_fc2": [3, 3, 3], "distance": 0.03}
    exact = displaced_argon("finite-difference", **settings)
    fc2 = fit_force_constants(exact, forces_of(exact, calculator()), SETTINGS, FiniteDifferenceSolver()).fc2
    errors = {}
    for n_supercells in (0, 2):
        displaced = displaced_argon(n_supercells_fc2=n_supercells, **settings)
        assert displaced.n_supercells_fc2 == (n_supercells or 1)
        fitted = fit_force_constants(displaced, forces_of(displaced, calculator()), SETTINGS, SymfcSolver())
        assert fitted.residual_fc2_supercell < 0.05  # one-sided differences leave the even part
        errors[n_supercells] = relative(fitted.fc2, fc2)
    assert errors[0] < 2e-4
    assert errors[0] < 0.3 * errors[2]


def test_underdetermined_fit_is_refused() -> None:
    """One pair of rocksalt in 64 atoms: 192 equations for 758 parameters of fc3."""
    from ase.spacegroup import crystal as build

    from screen_cli.stages.displace import displace

    rocksalt = build(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.6] * 3 + [90] * 3)
    displaced = displace(rocksalt, DisplaceSettings(dim=[2, 2, 2]))
    one_pair = replace(displaced.supercells, displacements=displaced.supercells.displacements[:2])
    too_few = replace(displaced, supercells=one_pair)
    with pytest.raises(UnderdeterminedFitError, match="2 paired supercells.*758 of fc3"):
        fit_force_constants(too_few, Forces.of_arrays({"forces": np.zeros((2, 64, 3))}), SETTINGS, SymfcSolver())


def test_wrong_forces_are_named(random_set: tuple[Displaced, Forces]) -> None:
    forces = Forces.of_arrays({"forces": random_set[1].fc3_forces[:, :31]})
    with pytest.raises(CalculatorError, match=r"\(\d+, 31, 3\), expected \(\d+, 32, 3\)"):
        fit_force_constants(random_set[0], forces, SETTINGS, SymfcSolver())


def test_bad_options() -> None:
    from screen_cli.solvers.force_constants.hiphive import HiphiveSolver

    with pytest.raises(ConfigError, match="above 0"):
        SymfcSolver(cutoff=-1.0)
    with pytest.raises(ConfigError, match="traditional"):
        FiniteDifferenceSolver(solver="alm")
    with pytest.raises(UnknownNameError, match="Did you mean 'lasso'"):
        HiphiveSolver(fit_method="laso")
    with pytest.raises(ConfigError, match="two distances"):
        HiphiveSolver(cutoffs=[4.0])


@pytest.mark.slow
def test_sevennet_sodium_chloride_pairs_against_finite_differences() -> None:
    """12 supercells as ± pairs against 146 finite differences: κ within 1 % on the same mesh (measured +0.27 %)."""
    module = pytest.importorskip("sevenn.calculator")
    from ase.spacegroup import crystal as build

    from screen_cli.stages.displace import displace

    atoms = build(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.6876] * 3 + [90] * 3)
    force_field = module.SevenNetCalculator("7net-0", device="cpu")
    values = {}
    for kind, solver in (("random", SymfcSolver()), ("finite-difference", FiniteDifferenceSolver())):
        displaced = displace(atoms, DisplaceSettings(dim=[2, 2, 2], n_supercells=12), kind=kind)
        fitted = fit_force_constants(displaced, forces_of(displaced, force_field), SETTINGS, solver)
        assert fitted.trusted
        settings = ConductivitySettings(mesh=[9, 9, 9])
        values[kind] = compute_conductivity(displaced, fitted, settings, StandardSolver()).kappa_p_w_mk
    assert values["random"] == pytest.approx(values["finite-difference"], rel=0.01)


def test_symfc_takes_the_tolerance_of_the_symmetry_it_is_given() -> None:
    """Positions are right to 1e-4 Å only; operations that were found within 1e-3 Å must still map atom on atom."""
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    noise = 1e-4 * np.random.default_rng(3).uniform(-1, 1, (8, 3)) / 5.6
    face_centres = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = np.vstack([face_centres, face_centres + 0.5])
    rough, exact = (
        Phono3py(
            PhonopyAtoms(symbols=["Na"] * 4 + ["Cl"] * 4, cell=5.6 * np.eye(3), scaled_positions=where),
            supercell_matrix=np.eye(3, dtype=int),
            primitive_matrix="F",
            symprec=1e-3,
            log_level=0,
        )
        for where in (positions + noise, positions)
    )
    counted = [SymfcSolver().count_parameters(cell, third_order=False) for cell in (rough, exact)]
    assert counted[0] == counted[1]
