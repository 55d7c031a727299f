"""Calculators by name: each makes what it says, or says what is missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from ase.build import bulk

from screen_cli.calculators.registered import calculator_identity, make_calculator
from screen_cli.errors import ConfigError, MissingExtraError, UnknownNameError

DOWNLOADS = {"mace": "mace", "mattersim": "mattersim", "orb": "orb_models"}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_downloads_are_never_silent(name):
    with pytest.raises(ConfigError, match=r"path.*download = true"):
        make_calculator(name)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_missing_extra_names_the_pip_line(name, tmp_path):
    if importlib.util.find_spec(DOWNLOADS[name]):
        pytest.skip(f"{name} is installed")
    (tmp_path / "model").write_text("weights")
    with pytest.raises(MissingExtraError, match=rf"pip install 'screen-cli\[{name}\]'"):
        make_calculator(name, {"path": str(tmp_path / "model")})


def test_deepmd_needs_its_file():
    with pytest.raises(ConfigError, match="options.path"):
        make_calculator("deepmd")


def test_unknown_name_and_option():
    with pytest.raises(UnknownNameError, match="sevennet"):
        make_calculator("sevenet")
    with pytest.raises(ConfigError, match="options"):
        make_calculator("lj", {"sigmaa": 1.0, "epsilonn": None, 3: 4})
    with pytest.raises(ConfigError, match="no file"):
        make_calculator("sevennet", {"model": "no/such/file.pth"})


@pytest.mark.parametrize(("name", "library"), [("sevennet", "sevenn"), ("chgnet", "chgnet"), ("sdnnff", "sdnnff_calc")])
def test_an_option_that_has_no_effect_is_refused(name, library):
    pytest.importorskip(library)
    with pytest.raises(ConfigError, match="no_such_option"):
        make_calculator(name, {"no_such_option": "l3i5"})


def test_any_ase_calculator_by_path():
    from ase.calculators.morse import MorsePotential

    calculator = make_calculator("ase:ase.calculators.morse.MorsePotential", {"epsilon": 0.5})
    assert isinstance(calculator, MorsePotential)
    assert calculator.parameters["epsilon"] == 0.5
    with pytest.raises(ConfigError, match="no class"):
        make_calculator("ase:ase.calculators.morse.Morce")
    with pytest.raises(MissingExtraError, match="no_such_module"):
        make_calculator("ase:no_such_module.Class")


def test_lj_forces_are_smooth_at_the_cutoff():
    calculator = make_calculator("lj")
    atoms = bulk("Ar", a=5.26).repeat(3)
    atoms.rattle(0.03, seed=1)
    atoms.calc = calculator
    assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-10


def test_identity_follows_the_file_and_not_its_name(tmp_path):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    one.write_text("weights")
    two.write_text("weights")
    other.write_text("other weights")
    identities = [calculator_identity("mace", {"path": str(path)}) for path in (one, two, other)]
    assert identities[0] == identities[1] != identities[2]
    committees = [calculator_identity("mace", {"models": [str(one), str(path)]}) for path in (one, two, other)]
    assert committees[0] == committees[1] != committees[2]
    assert calculator_identity("lj", {"sigma": 1.0}) != calculator_identity("lj", {"sigma": 2.0})
    assert calculator_identity("emt", {"device": "cpu"}) == calculator_identity("emt", {})


@pytest.mark.parametrize("model", ["0", "l3i5", "mf-0"])
def test_sevennet_models_of_the_wheel(model):
    pytest.importorskip("sevenn")
    atoms = bulk("NaCl", "rocksalt", a=5.69)
    atoms.calc = make_calculator("sevennet", {"model": model, "device": "cpu"})
    assert atoms.get_potential_energy() / 2 == pytest.approx(-3.39, abs=0.1)  # MPtrj reference energies
    assert np.abs(atoms.get_forces()).max() < 1e-5
    sodium, chlorine = atoms.calc.descriptors(atoms)
    turned = atoms.copy()
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    np.testing.assert_allclose(atoms.calc.descriptors(turned), [sodium, chlorine], rtol=1e-3, atol=1e-4)
    assert np.abs(sodium - chlorine).max() > 0.1


def test_chgnet_of_the_wheel():
    pytest.importorskip("chgnet")
    atoms = bulk("NaCl", "rocksalt", a=5.69)
    atoms.calc = make_calculator("chgnet")
    corrected = -3.39 - 0.614 / 2  # trained with the MP2020 correction of chlorides, -0.614 eV per Cl
    assert float(atoms.get_potential_energy()) / 2 == pytest.approx(corrected, abs=0.1)
