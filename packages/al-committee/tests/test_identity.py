"""What belongs to a label, what must not reach it, and labels from before that rule."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane, FixSymmetry, Hookean
from ase.io import read, write

from al_committee.config import SupercellSettings
from al_committee.errors import ConfigError, LabelFailedError, StructureError
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import CalculatorLabeller
from al_committee.labels.convergence import check_espresso, check_vasp
from al_committee.labels.dft_formats import EspressoFormat, VaspFormat
from al_committee.labels.file_exchange import FileExchangeLabeller
from al_committee.labels.identity import earlier_settings_key, structure_key
from al_committee.labels.outcome import LabelRequest, attach_label, labelled_forces
from al_committee.selection.crystal_index import Crystal
from al_committee.selection.pool import Pool, read_crystals
from al_committee.testing import PairTeacher
from al_committee.testing.vasprun import write_vasprun

RECORDED = Path(__file__).parent / "data" / "espresso"


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=3)
    return atoms


CONSTRAINTS = {
    "FixAtoms": lambda atoms: FixAtoms([0, 1]),
    "FixCartesian": lambda atoms: FixCartesian([0, 2], mask=(True, False, True)),
    "FixedLine": lambda atoms: FixedLine([1], direction=(1, 1, 0)),
    "FixedPlane": lambda atoms: FixedPlane([1], direction=(0, 0, 1)),
    "Hookean": lambda atoms: Hookean(a1=0, a2=1, rt=0.5, k=5.0),
    "FixSymmetry": lambda atoms: FixSymmetry(bulk("Cu", cubic=True)),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_no_constraint_reaches_a_label_or_its_key(name):
    free = copper()
    true = EMT().get_property("forces", free), EMT().get_property("energy", free)
    bound = free.copy()
    bound.set_constraint(CONSTRAINTS[name](bound))
    assert structure_key(bound) == structure_key(free)
    (outcome,) = CalculatorLabeller(EMT(), {}).label([LabelRequest(structure_key(bound), bound)])
    assert outcome.atoms.get_forces() == pytest.approx(true[0], abs=1e-12)
    assert outcome.atoms.get_potential_energy() == pytest.approx(true[1], abs=1e-12)
    assert not outcome.atoms.constraints
    labelled = attach_label(bound, forces=true[0], energy=true[1])
    assert labelled.get_forces() == pytest.approx(true[0], abs=1e-12)


@pytest.mark.parametrize("suffix", ["vasp", "extxyz", "json", "traj"])
def test_a_pool_from_a_file_with_fixed_atoms_is_free(tmp_path, suffix):
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0, 1]))
    path = tmp_path / f"crystals.{suffix}"
    write(path, atoms)
    assert read(path).constraints  # else this tests nothing
    pool = Pool(read_crystals(path), SupercellSettings(n_supercells=1, displacement=0.05, min_length=7))
    entry = pool.supercell(pool.structure_ids[0], 0)
    assert not entry.atoms.constraints
    (outcome,) = CalculatorLabeller(EMT(), {}).label([LabelRequest(entry.key, entry.atoms)])
    assert outcome.atoms.get_forces() == pytest.approx(EMT().get_property("forces", entry.atoms), abs=1e-12)
    assert np.abs(outcome.atoms.get_forces()).max(axis=1).min() > 1e-6


def test_inputs_of_dft_codes_hold_no_constraint(tmp_path):
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.03, seed=0)
    atoms.set_constraint(FixAtoms([0]))
    request = LabelRequest(structure_key(atoms), atoms)
    formats = {
        "POSCAR": VaspFormat({"xc": "PBE", "kpts": [1, 1, 1]}),
        "espresso.pwi": EspressoFormat({}, {"Si": "Si.upf", "C": "C.upf"}),
    }
    for name, dft in formats.items():
        labeller = FileExchangeLabeller(tmp_path / dft.name, dft)
        list(labeller.label([request]))
        text = (labeller.label_folder(request) / name).read_text()
        assert "elective" not in text
        positions = text.split("ATOMIC_POSITIONS")[-1].splitlines()[1:9]
        assert name == "POSCAR" or all(len(line.split()) == 4 for line in positions)


def test_what_reaches_the_source_is_what_the_key_holds():
    seen = []

    class Recorder(EMT):
        def calculate(self, atoms=None, *args, **kwargs):
            seen.append(atoms.copy())
            super().calculate(atoms, *args, **kwargs)

    atoms = copper()
    atoms.set_tags([1, 2, 3, 4])
    atoms.set_masses([60, 61, 62, 63])
    atoms.set_momenta(np.ones((4, 3)))
    atoms.set_array("note", np.arange(4))
    atoms.info = {"structure_id": "Cu", "kind": "odd"}
    assert structure_key(atoms) == structure_key(copper())
    (outcome,) = CalculatorLabeller(Recorder(), {}).label([LabelRequest(structure_key(atoms), atoms)])
    assert set(seen[0].arrays) == {"numbers", "positions"}
    assert seen[0].info == {}
    assert outcome.atoms.info == {"structure_id": "Cu", "kind": "odd"}  # notes stay with the label


def test_what_changes_a_label_changes_its_key():
    atoms = copper()
    changes = {
        "moments": lambda a: a.set_initial_magnetic_moments([1, -1, 1, -1]),
        "other moments": lambda a: a.set_initial_magnetic_moments([1, 1, 1, 1]),
        "charges": lambda a: a.set_initial_charges([1, -1, 1, -1]),
        "moved": lambda a: a.positions.__setitem__((0, 0), a.positions[0, 0] + 1e-4),
        "cell": lambda a: a.set_cell(a.cell * 1.0001),
        "open": lambda a: a.set_pbc((True, True, False)),
        "element": lambda a: a.numbers.__setitem__(0, 47),
        "total charge": lambda a: a.info.__setitem__("charge", 1),
        "spin": lambda a: a.info.__setitem__("spin", 3),
    }
    keys = {structure_key(atoms), structure_key(atoms[::-1])}
    for change in changes.values():
        other = atoms.copy()
        change(other)
        keys.add(structure_key(other))
    assert len(keys) == len(changes) + 2


def test_atoms_that_differ_by_lattice_vectors_share_a_label():
    atoms = copper()
    moved = atoms.copy()
    moved.positions += np.array([[0, 0, 0], [1, 0, 0], [0, -2, 0], [3, 3, 3]]) @ atoms.cell.array
    assert structure_key(moved) == structure_key(atoms)
    moved.wrap()
    assert structure_key(moved) == structure_key(atoms)
    slab, lifted = atoms.copy(), atoms.copy()
    slab.pbc = lifted.pbc = (True, True, False)
    lifted.positions[0] += lifted.cell[2]
    assert structure_key(slab) != structure_key(lifted)
    edge = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    wrapped = edge.copy()
    wrapped.positions -= 1e-12
    wrapped.wrap(eps=0)
    assert structure_key(wrapped) == structure_key(edge)


def test_molecules_have_keys():
    water = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    moved = water.copy()
    moved.positions[1, 0] += 1e-3
    assert structure_key(water) != structure_key(moved)


def test_numbers_that_are_none_are_refused():
    atoms = copper()
    atoms.positions[1, 2] = np.nan
    with pytest.raises(StructureError, match="Cu4: positions hold NaN"):
        structure_key(atoms)


def write_earlier(root, settings, atoms, forces):
    """A label as it was written before rule 2."""
    folder = root / earlier_settings_key(settings) / "ab"
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        info=np.array(json.dumps({"structure_id": "Cu"})),
        forces=forces,
        energy=np.float64(-1.0),
    )
    (folder / f"ab{len(list(folder.iterdir()))}.npz").write_bytes(buffer.getvalue())


def test_earlier_labels_are_told_of_not_used_and_taken_over_only_on_request(tmp_path, caplog):
    settings, atoms = {"factory": "a:b"}, copper()
    write_earlier(tmp_path, settings, atoms, EMT().get_property("forces", atoms))
    other = copper()
    other.positions[0] += 0.1
    write_earlier(tmp_path, settings, other, np.where(np.arange(4)[:, None] < 2, 0.0, 0.1 * np.ones((4, 3))))
    cache = LabelCache(tmp_path, settings)
    assert "2 labels" in caplog.text
    assert "from before constraints were kept out" in caplog.text
    assert cache.get(structure_key(atoms)) is None
    assert cache.adopt_earlier() == (1, 1)
    assert labelled_forces(cache.get(structure_key(atoms))) == pytest.approx(EMT().get_property("forces", atoms))
    assert cache.get(structure_key(other)) is None
    caplog.clear()
    LabelCache(tmp_path, settings)
    assert caplog.text == ""


# ---- convergence, by the code's own statement ------------------------------------------------------------


def vasp_label(tmp_path, **options):
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.03, seed=1)
    labeller = FileExchangeLabeller(tmp_path, VaspFormat({"xc": "PBE", "kpts": [1, 1, 1]}))
    request = LabelRequest(structure_key(atoms), atoms)
    list(labeller.label([request]))
    folder = labeller.label_folder(request)
    write_vasprun(folder, forces=PairTeacher().get_property("forces", read(folder / "POSCAR")), **options)
    return labeller, request, folder


def test_nelm_of_the_electronic_minimisation_counts(tmp_path):
    _, _, folder = vasp_label(tmp_path)
    path = folder / "vasprun.xml"
    text = path.read_text()
    twice = text.replace(
        "</parameters>",
        '<separator name="response functions"><i type="int" name="NELM"> 1</i></separator></parameters>',
    )
    path.write_text(twice)
    assert (check_vasp(path).electronic_steps, check_vasp(path).limit) == (9, 60)
    nested = twice.replace('name="electronic">', 'name="electronic"><separator name="electronic convergence">')
    path.write_text(nested.replace("60</i></separator>", "9</i></separator></separator>"))
    with pytest.raises(LabelFailedError, match="NELM = 9"):
        check_vasp(path)


def test_outcar_decides_about_a_last_step(tmp_path):
    _, _, folder = vasp_label(tmp_path, electronic_steps=60)
    with pytest.raises(LabelFailedError, match="not converged"):
        check_vasp(folder / "vasprun.xml")
    (folder / "OUTCAR").write_text("---- aborting loop because EDIFF is reached ----\n")
    assert check_vasp(folder / "vasprun.xml").electronic_steps == 60
    vasp_label(tmp_path / "b", electronic_steps=20)
    (folder / "OUTCAR").write_text("---- aborting loop EDIFF was not reached (unconverged) ----\n")
    with pytest.raises(LabelFailedError, match="not converged"):
        check_vasp(folder / "vasprun.xml")


def test_a_run_that_fixed_atoms_or_used_a_force_field_is_no_label(tmp_path):
    labeller, request, folder = vasp_label(tmp_path)
    path = folder / "vasprun.xml"
    text = path.read_text()
    fixed = '<varray type="logical" name="selective"><v> F F F </v></varray></structure><calculation>'
    path.write_text(text.replace("</structure><calculation>", fixed))
    assert "selective dynamics" in next(labeller.label([request])).reason
    path.write_text(text.replace("<parameters>", '<parameters><i type="logical" name="ML_LMLFF"> T </i>'))
    assert "ML_LMLFF" in next(labeller.label([request])).reason
    path.write_text(text)
    assert not next(labeller.label([request])).failed


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("noise", ["", "mca_base_component: a warning of the MPI library\n" * 400])
def test_espresso_is_judged_behind_noise_and_compression(tmp_path, suffix, noise):
    import bz2
    import gzip
    import lzma

    compress = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    labeller = FileExchangeLabeller(tmp_path, EspressoFormat({}, {"Si": "Si.upf", "C": "C.upf"}))
    asked = {}
    for seed, name in ((0, "done-0"), (2, "unconverged-2")):
        atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
        atoms.rattle(0.03, seed=seed)
        asked[name] = LabelRequest(structure_key(atoms), atoms)
    list(labeller.label(list(asked.values())))
    for name, request in asked.items():
        content = (noise + (RECORDED / f"{name}.pwo").read_text() + noise).encode()
        (labeller.label_folder(request) / f"espresso.pwo{suffix}").write_bytes(compress(content))
    outcomes = {o.key: o for o in labeller.label(list(asked.values()))}
    assert not outcomes[asked["done-0"].key].failed
    assert "not converged" in outcomes[asked["unconverged-2"].key].reason


def test_the_last_run_in_a_file_counts():
    good, bad = ((RECORDED / f"{name}.pwo").read_text() for name in ("done-0", "unconverged-2"))
    assert check_espresso(bad + good, "x")
    with pytest.raises(LabelFailedError, match="not converged"):
        check_espresso(good + bad, "x")
    assert not check_espresso(good + good[:9000], "x")  # the second still runs
    with pytest.raises(LabelFailedError, match="without saying"):
        check_espresso(good.replace("convergence has been achieved", ""), "x")


def test_an_espresso_input_that_fixes_atoms_makes_no_label(tmp_path):
    labeller = FileExchangeLabeller(tmp_path, EspressoFormat({}, {"Si": "Si.upf", "C": "C.upf"}))
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.03, seed=0)
    request = LabelRequest(structure_key(atoms), atoms)
    list(labeller.label([request]))
    path = labeller.label_folder(request) / "espresso.pwi"
    lines = path.read_text().splitlines()
    first = next(k for k, line in enumerate(lines) if "ATOMIC_POSITIONS" in line) + 1
    lines[first] += " 0 0 0"
    path.write_text("\n".join(lines) + "\n")
    (path.parent / "espresso.pwo").write_text((RECORDED / "done-0.pwo").read_text())
    assert "fixes atoms" in next(labeller.label([request])).reason


def test_a_calculator_that_says_it_did_not_converge_makes_no_label():
    class Unconverged(EMT):
        converged = False

    (outcome,) = CalculatorLabeller(Unconverged(), {}).label([LabelRequest("k", copper())])
    assert "did not converge" in outcome.reason


def test_a_calculator_that_moves_the_atoms_makes_no_label():
    class Mover(EMT):
        def calculate(self, atoms=None, *args, **kwargs):
            super().calculate(atoms, *args, **kwargs)
            atoms.positions[0] += 0.1

    (outcome,) = CalculatorLabeller(Mover(), {}).label([LabelRequest("k", copper())])
    assert outcome.failed


def test_crystals_with_tags_and_constraints_make_the_same_supercells():
    plain, tagged = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    tagged.set_tags(range(4))
    tagged.set_constraint(FixAtoms([0]))
    keys = [Pool([Crystal("Cu", atoms)], SupercellSettings()).supercell("Cu", 1).key for atoms in (plain, tagged)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("name", ["x.cif", "x.CIF.gz", "x.mcif", "x.pdb", "x.res"])
def test_a_pool_of_asymmetric_units_is_refused(tmp_path, name):
    """ASE makes another crystal of P 1 21/n 1 than the file means; the reader made for it is named."""
    (tmp_path / name).write_text("data_x\n")
    with pytest.raises(ConfigError, match="sites of an asymmetric unit.*source 'files' reads it"):
        next(iter(read_crystals(tmp_path / name)))
