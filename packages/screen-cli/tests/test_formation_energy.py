"""Formation energies: as by hand with EMT, whatever the cell; no number without a reference; a gate behind them."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from scipy.optimize import minimize_scalar

from screen_cli.cli import main
from screen_cli.config import RelaxSettings, settings_from_dict
from screen_cli.errors import ConfigError, StructureError
from screen_cli.properties.formation_energy import (
    doubt_about,
    element_structure,
    energy_of_element,
    fingerprint,
    formation_energy,
    tabulated_elements,
)
from screen_cli.run.pipeline import stages_for
from screen_cli.stages.relax import relax
from screen_cli.store.run_directory import RunDirectory

TIGHT = RelaxSettings(fmax=1e-4)
CU3AU = Atoms(
    "AuCu3", scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], cell=3 * [3.75], pbc=True
)
BONDS = {
    # Å, of the shortest pair: J. Donohue, The Structures of the Elements (Wiley, 1974), to a few hundredths
    **{"H": 0.74, "B": 1.71, "C": 1.42, "N": 1.09, "O": 1.29, "F": 1.42, "Si": 2.35, "P": 2.22, "S": 2.04, "Cl": 2.02},
    **{"Mn": 2.24, "Ga": 2.46, "Ge": 2.45, "As": 2.51, "Se": 2.37, "Br": 2.27, "Sn": 2.81, "Sb": 2.91, "Te": 2.83},
    **{"I": 2.72, "La": 3.74, "Hg": 3.00, "Bi": 3.09, "In": 3.25, "Fe": 2.48, "Mg": 3.20, "Cu": 2.56},
}


def lowest(atoms: Atoms) -> float:
    """Energy per atom of a cubic crystal of fixed positions at its best size, by a search of our own."""

    def energy(scale: float) -> float:
        scaled = atoms.copy()
        scaled.set_cell(scale * atoms.cell.array, scale_atoms=True)
        scaled.calc = EMT()
        return scaled.get_potential_energy() / len(atoms)

    return float(minimize_scalar(energy, bounds=(0.9, 1.1), method="bounded", options={"xatol": 1e-7}).fun)


def found(atoms: Atoms, **options: str) -> float:
    calculator = EMT()
    records = {"relax": relax(atoms, calculator, TIGHT)}
    return formation_energy(records, calculator=calculator, **options).formation_energy_model_ev_atom


def test_an_alloy_is_as_by_hand() -> None:
    by_hand = lowest(CU3AU) - 0.25 * lowest(bulk("Au")) - 0.75 * lowest(bulk("Cu"))
    assert by_hand < -0.01  # the order of Cu3Au is bound, and the number is not zero by accident
    assert found(CU3AU) == pytest.approx(by_hand, abs=2e-5)


def test_an_element_against_itself_is_nothing_and_another_lattice_costs() -> None:
    assert found(bulk("Cu")) == pytest.approx(0.0, abs=1e-6)
    assert found(bulk("Cu", "bcc", a=2.87)) == pytest.approx(
        lowest(bulk("Cu", "bcc", a=2.87)) - lowest(bulk("Cu")), abs=1e-5
    )


@pytest.mark.parametrize("change", ["sheared", "double", "turned"])
def test_the_setting_of_the_cell_does_not_matter(change: str) -> None:
    other = CU3AU.copy()
    if change == "sheared":
        other = make_supercell(CU3AU, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    elif change == "double":
        other = make_supercell(CU3AU, np.diag([2, 1, 1]))
    else:
        other.rotate(33, (1, 2, 3), rotate_cell=True)
    assert found(other) == pytest.approx(found(CU3AU), abs=1e-5)


def test_the_table_has_the_elements_of_the_paper_with_bonds_that_are_known() -> None:
    assert len(tabulated_elements()) == 63
    for symbol in tabulated_elements():
        atoms = element_structure(symbol)
        assert set(atoms.get_chemical_symbols()) == {symbol}
        shortest = neighbor_list("d", atoms, 6.0).min()
        if symbol in BONDS:
            assert shortest == pytest.approx(BONDS[symbol], abs=0.03), symbol


def test_a_missing_reference_is_a_sentence_and_no_number() -> None:
    with pytest.raises(StructureError, match=r"element Tc is tabulated.*elements ="):
        element_structure("Tc")
    alloy = CU3AU.copy()
    alloy.symbols[0] = "Kr"
    records = {"relax": relax(CU3AU, EMT(), TIGHT)}
    object.__setattr__(records["relax"], "numbers", np.array(alloy.numbers, dtype=np.int64))
    with pytest.raises(StructureError, match="no reference energy of Kr"):
        formation_energy(records, calculator=EMT())


def test_a_reference_that_does_not_come_to_rest_is_told_and_not_tried_again() -> None:
    calls = []

    class Exploding(LennardJones):
        def calculate(self, *given: object, **options: object) -> None:
            calls.append(given)
            super().calculate(*given, **options)
            self.results["forces"] = self.results["forces"] + np.nan

    calculator = Exploding()
    for _ in range(2):
        with pytest.raises(StructureError, match="no reference energy of Cu: forces"):
            energy_of_element("Cu", calculator)
    assert len(calls) == 1


def test_solids_of_molecules_are_doubted() -> None:
    assert "molecules" in doubt_about("O")
    assert "chlorine" in doubt_about("F")
    assert doubt_about("Cu") == doubt_about("P") == ""


def test_what_the_calculator_tells_of_the_elements_counts_and_is_not_doubted(tmp_path) -> None:
    calculator = EMT()
    calculator.element_energies = {"Cu": -1.0, "O": -5.0}
    records = {"relax": relax(CU3AU, calculator, TIGHT)}
    told = formation_energy(records, calculator=calculator)
    gold = lowest(bulk("Au"))
    expected = records["relax"].energy_ev_per_atom + 0.75 - 0.25 * gold
    assert told.formation_energy_model_ev_atom == pytest.approx(expected, abs=2e-5)  # gold, not told, is relaxed
    ase.io.write(tmp_path / "elements.extxyz", [bulk("Cu")])
    own = formation_energy(records, calculator=calculator, elements=str(tmp_path / "elements.extxyz"))
    assert own.formation_energy_model_ev_atom == pytest.approx(found(CU3AU), abs=2e-5)  # a user's own come first
    calculator.element_energies["Au"] = float("nan")
    with pytest.raises(StructureError, match="no reference energy of Au: the calculator tells nan"):
        formation_energy(records, calculator=calculator)
    oxide = bulk("Cu") + Atoms("O", [(1.8, 1.8, 1.8)])
    as_it_is = RelaxSettings(fmax=1e3, relax_cell=False)
    for known, doubted in ((calculator, False), (EMT(), True)):
        energy = formation_energy({"relax": relax(oxide, known, as_it_is)}, calculator=known)
        assert ("molecules" in energy.formation_energy_warning) is doubted


def test_own_structures_come_first_and_change_the_key(tmp_path) -> None:
    path = tmp_path / "elements.extxyz"
    ase.io.write(path, [bulk("Cu", "bcc", a=2.87)])
    higher = lowest(bulk("Cu", "bcc", a=2.87)) - lowest(bulk("Cu"))
    assert found(CU3AU, elements=str(path)) == pytest.approx(found(CU3AU) - 0.75 * higher, abs=1e-5)
    before = fingerprint(None, str(path))
    ase.io.write(path, [bulk("Cu", "bcc", a=2.87), bulk("Cu")])
    assert fingerprint(None, str(path)) != before
    assert found(CU3AU, elements=str(path)) == pytest.approx(found(CU3AU), abs=1e-5)  # the lowest counts
    ase.io.write(path, [CU3AU])
    with pytest.raises(ConfigError, match="holds AuCu3, expected elements alone"):
        found(CU3AU, elements=str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        found(CU3AU, elements=str(tmp_path / "none"))


def test_own_structures_are_read_once_for_all_crystals_and_again_when_the_file_changes(tmp_path, monkeypatch) -> None:
    path, reader, calls = tmp_path / "elements.extxyz", ase.io.iread, []
    monkeypatch.setattr(ase.io, "iread", lambda *given: calls.append(given) or reader(*given))
    energies = []
    for a in (2.87, 2.87, 2.88):  # of one size on disk
        ase.io.write(path, [bulk("Cu", "fcc", a=a), bulk("Au")])
        calls.clear()
        records, calculator = {"relax": relax(CU3AU, EMT(), TIGHT)}, EMT()
        energies += [
            formation_energy(records, calculator=calculator, elements=str(path)).formation_energy_model_ev_atom
            for _ in range(3)
        ]
        assert len(calls) == 1
    assert energies == pytest.approx(9 * [found(CU3AU)], abs=1e-4)


@pytest.mark.parametrize(
    "text", ["", "1\n", '1\nProperties=species:S:1:pos:R:3 x="_JSON ' + 9999 * "[" + '"\nCu 0 0 0\n']
)
def test_own_structures_that_ase_cannot_read_are_a_sentence(tmp_path, text) -> None:
    (tmp_path / "elements.extxyz").write_text(text)
    with pytest.raises(ConfigError, match=r"elements = '.*elements\.extxyz' cannot be read"):
        found(CU3AU, elements=str(tmp_path / "elements.extxyz"))


GATED = {
    "properties": {"names": ["formation_energy"]},
    "gate": {"after_relaxation": "formation_energy_model_ev_atom <= 0"},
    "conductivity": {"solver": "standard"},
}


def test_the_gate_stands_behind_the_relaxation_and_leaves_older_keys() -> None:
    names = [stage.name for stage in stages_for(settings_from_dict(GATED))]
    assert names[:4] == ["relax", "property_formation_energy", "relax_gate", "displace"]
    first = settings_from_dict({**GATED, "gate": {**GATED["gate"], "before_third_order": True}})
    assert [stage.name for stage in stages_for(first)][2:4] == ["relax_gate", "harmonic_displace"]
    assert "relax_gate" not in [
        stage.name for stage in stages_for(settings_from_dict({"conductivity": {"solver": "standard"}}))
    ]
    with pytest.raises(ConfigError, match="renormalise.enabled"):
        stages_for(settings_from_dict({**GATED, "renormalise": {"enabled": True}}))


def test_a_run_holds_back_what_is_not_bound(tmp_path, capsys) -> None:
    crystals = [CU3AU, bulk("Cu", "bcc", a=2.87)]
    ase.io.write(tmp_path / "crystals.extxyz", crystals)
    config = tmp_path / "screen.toml"
    config.write_text(
        f'[source]\nname = "files"\noptions = {{ paths = ["{tmp_path}/crystals.extxyz"], all_frames = true }}\n'
        '[calculator]\nname = "emt"\n[properties]\nnames = ["formation_energy"]\n'
        '[gate]\nafter_relaxation = "formation_energy_model_ev_atom <= 0"\n'
        "[conductivity]\nenabled = false\n[displace]\nsupercell_length = 5.0\nmax_atoms = 40\n"
        '[engine]\nname = "serial"\n'
    )
    run_dir = tmp_path / "run"
    assert main(["run", str(config), "--run-dir", str(run_dir), "--quiet", "--no-report"]) == 0
    rows = {row["formula"]: row for row in RunDirectory.open(run_dir).rows()}
    assert rows["AuCu3"]["state"] == "done"
    assert rows["AuCu3"]["formation_energy_model_ev_atom"] < 0
    assert (rows["Cu"]["state"], rows["Cu"]["stage"]) == ("skipped", "relax_gate")
    assert rows["Cu"]["formation_energy_model_ev_atom"] > 0
    assert rows["Cu"].get("min_frequency_thz") is None
    capsys.readouterr()
    assert main(["show", str(run_dir), "--json", "-c", "formula,formation_energy_model_ev_atom"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
