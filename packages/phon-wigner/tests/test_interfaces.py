"""Units of every program of phonopy and phono3py: the same solid, whatever wrote its files."""

from __future__ import annotations

import subprocess
import sys

import click
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonopy.interface.calculator import calculator_info, get_calculator_physical_units, write_crystal_structure
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from phon_wigner.cli import main
from phon_wigner.cli.figures import glass
from phon_wigner.cli.options import joined
from phon_wigner.conductivity.postprocess import analyze
from phon_wigner.errors import GridMismatchError, InputFileError, UnitError
from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
from phon_wigner.phonons.assembly import CrystalParts, build_crystal, crystal_from_phonopy
from phon_wigner.phonons.interfaces import interface_names, nac_factor_ev_angstrom, units_of
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.testing.springs import spring_crystal, spring_force_constants
from phon_wigner.testing.strategies import cells

PROGRAMS = tuple(calculator_info)
BOHR_PROGRAMS = tuple(name for name in PROGRAMS if get_calculator_physical_units(name).distance_to_A != 1)
few = settings(deadline=None, max_examples=2)
CHARGES = np.array([np.eye(3) * 1.1, np.eye(3) * -1.1])
DIELECTRIC = np.eye(3) * 2.4
SALT = PhonopyAtoms(symbols=["Cs", "Cl"], cell=np.eye(3) * 4.1, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
"""Two ions in a cube; its supercell of 2³ cells carries springs."""


def state(crystal):
    """κ_P and κ_C of a crystal with one width for all modes, and its volume."""
    qpoints, weights = crystal.irreducible_mesh((2, 2, 2))
    n_bands = 3 * len(crystal.dynamical_matrix.primitive)
    gamma = np.full((1, len(qpoints), n_bands), 0.1)
    widths = Linewidths(np.array([300.0]), qpoints, weights, gamma)
    result = analyze(crystal, widths)
    return np.concatenate([result.kappa_p[0], result.kappa_c[0], [crystal.volume]])


def salt(**changes):
    """SALT with springs and charges, in eV and Å."""
    nac = {"born": CHARGES, "dielectric": DIELECTRIC, "factor": nac_factor_ev_angstrom()} | changes
    return build_crystal(CrystalParts(SALT, np.eye(3, dtype=int) * 2, None, nac, constants_of(SALT)))


def yaml_text(cell, program, header="phono3py", length=None, extra=""):
    """A phono3py or phonopy YAML of a cell given in Å, written in the unit of its program."""
    units = get_calculator_physical_units(program)
    lattice = np.asarray(cell.cell) / units.distance_to_A
    lines = [f"{header}:", f"  calculator: {program}", "physical_unit:", f'  length: "{length or units.length_unit}"']
    lines += ["supercell_matrix:", "- [ 2, 0, 0 ]", "- [ 0, 2, 0 ]", "- [ 0, 0, 2 ]"]
    lines += ["primitive_matrix:", "- [ 1.0, 0, 0 ]", "- [ 0, 1.0, 0 ]", "- [ 0, 0, 1.0 ]", "unit_cell:", "  lattice:"]
    lines += [f"  - [ {a:.15f}, {b:.15f}, {c:.15f} ]" for a, b, c in lattice]
    lines += ["  points:"]
    for symbol, (x, y, z), mass in zip(cell.symbols, cell.scaled_positions, cell.masses, strict=True):
        lines += [
            f"  - symbol: {symbol}",
            f"    coordinates: [ {x:.15f}, {y:.15f}, {z:.15f} ]",
            f"    mass: {mass:.6f}",
        ]
    return "\n".join(lines) + "\n" + extra


def write_fc2(path, constants, unit="eV/angstrom^2"):
    with h5py.File(path, "w") as handle:
        handle["force_constants"] = constants
        if unit:
            handle.create_dataset("physical_unit", data=np.array([unit.encode()]))


def constants_of(cell):
    return spring_force_constants(get_supercell(cell, np.eye(3, dtype=int) * 2))


@pytest.mark.parametrize("program", PROGRAMS)
@few
@given(cells(), st.data())
def test_phono3py_files_of_every_program(tmp_path_factory, program, cell, data):
    """Lengths in the unit of the program, fc2.hdf5 in eV/Å² (stated or not), found beside the YAML."""
    folder = tmp_path_factory.mktemp("p")
    (folder / "phono3py_disp.yaml").write_text(yaml_text(cell, program))
    write_fc2(folder / "fc2.hdf5", constants_of(cell), data.draw(st.sampled_from(["eV/angstrom^2", None])))
    loaded = load_crystal(CrystalFiles(yaml=folder / "phono3py_disp.yaml"))
    np.testing.assert_allclose(state(loaded), state(spring_crystal(cell)), rtol=1e-6, atol=1e-8, err_msg=program)


@pytest.mark.parametrize("program", PROGRAMS)
@few
@given(cells(), st.data())
def test_phonopy_files_of_every_program(tmp_path_factory, program, cell, data):
    """phonopy keeps force constants in the unit of the program: in the YAML, in HDF5 and in FORCE_CONSTANTS."""
    from phonopy.file_IO import write_FORCE_CONSTANTS

    folder = tmp_path_factory.mktemp("p")
    units = units_of(program)
    constants = constants_of(cell)
    inside, beside = data.draw(st.sampled_from([(True, None), (False, "FORCE_CONSTANTS"), (False, "stated.hdf5")]))
    extra = ""
    if inside:
        n = len(constants)
        rows = "\n".join(f"  - {(b / units.force_constants).tolist()}" for b in constants.reshape(-1, 3, 3))
        extra = f"force_constants:\n  format: full\n  shape: [ {n}, {n} ]\n  elements:\n{rows}\n"
    (folder / "phonopy.yaml").write_text(yaml_text(cell, program, "phonopy", extra=extra))
    fc2 = None if beside is None else folder / beside
    if beside == "FORCE_CONSTANTS":
        write_FORCE_CONSTANTS(constants / units.force_constants, filename=fc2)
    elif beside:
        stated = get_calculator_physical_units(program).force_constants_unit
        write_fc2(fc2, constants / units.force_constants, stated)
    loaded = load_crystal(CrystalFiles(yaml=folder / "phonopy.yaml", fc2=fc2))
    np.testing.assert_allclose(state(loaded), state(spring_crystal(cell)), rtol=1e-5, atol=1e-7, err_msg=program)


@pytest.mark.parametrize("program", PROGRAMS)
def test_phonopy_objects_of_every_program(program):
    """κ of a phonopy.Phonopy in the units of its program, charges included, is that of the same in eV and Å."""
    from phonopy import Phonopy

    units = units_of(program)
    cell = SALT.copy()
    cell.cell = SALT.cell / units.length
    phonon = Phonopy(cell, supercell_matrix=np.eye(3, dtype=int) * 2, primitive_matrix="P", calculator=program)
    phonon.force_constants = constants_of(SALT) / units.force_constants
    phonon.nac_params = {"born": CHARGES, "dielectric": DIELECTRIC, "factor": units.nac_factor}
    np.testing.assert_allclose(state(crystal_from_phonopy(phonon)), state(salt()), rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings(
    "ignore:Species file not found",
    "ignore:Optional structure information",
    "ignore::ResourceWarning",  # phonopy's writers leave files open
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize(
    "program", ["vasp", "abinit", "qe", "siesta", "dftbp", "aims", "castep", "lammps", "exciting", "abacus", "octopus"]
)
def test_cells_of_programs_are_read_in_their_format_and_unit(tmp_path, program):
    """--cell goes through phonopy's reader of that program; the file was written by phonopy's writer of it."""
    units = units_of(program)
    own = SALT.copy()
    own.cell = own.cell / units.length
    path = tmp_path / "cell.in"
    if program == "qe":  # phonopy's writer leaves out the namelist that its reader needs
        rows = "\n".join(" ".join(f"{x:.12f}" for x in row) for row in own.cell)
        species = "ATOMIC_SPECIES\n Cs 132.905 cs.upf\n Cl 35.453 cl.upf\n"
        atoms = "ATOMIC_POSITIONS crystal\n Cs 0 0 0\n Cl 0.5 0.5 0.5\n"
        path.write_text(f"&system\n ibrav = 0, nat = 2, ntyp = 2\n/\nCELL_PARAMETERS bohr\n{rows}\n{species}{atoms}")
    else:
        write_crystal_structure(path, own, program)
    path = next(p for p in tmp_path.iterdir() if p.name.startswith("cell.in"))
    write_fc2(tmp_path / "fc2.hdf5", constants_of(SALT))
    files = CrystalFiles(cell=path, fc2=tmp_path / "fc2.hdf5", dim=(2, 2, 2), calculator=program)
    loaded = load_crystal(files)
    assert loaded.volume == pytest.approx(4.1**3, rel=1e-5)


@pytest.mark.parametrize("program", BOHR_PROGRAMS)
@pytest.mark.parametrize("factor", ["own", "ev", "none"])
def test_factors_of_born_files(tmp_path, program, factor):
    """A BORN file may state e²/4πε₀ in eV Å, in the units of the program, or not at all: one and the same crystal."""
    units = get_calculator_physical_units(program)
    stated = {"own": f"{units.nac_factor:.8f}", "ev": f"{nac_factor_ev_angstrom():.8f}", "none": "default"}[factor]
    tensors = [np.eye(3) * 2.4, np.eye(3) * 1.1, np.eye(3) * -1.1]
    text = "\n".join([stated, *(" ".join(f"{x:.8f}" for x in t.ravel()) for t in tensors)])
    (tmp_path / "BORN").write_text(text + "\n")
    (tmp_path / "phono3py_disp.yaml").write_text(yaml_text(SALT, program))
    write_fc2(tmp_path / "fc2.hdf5", constants_of(SALT))
    loaded = load_crystal(CrystalFiles(yaml=tmp_path / "phono3py_disp.yaml"))
    q = np.array([0.1, 0.2, 0.05])
    expected = salt().phonons(q)[0]
    np.testing.assert_allclose(loaded.phonons(q)[0], expected, rtol=1e-6)
    bare = load_crystal(CrystalFiles(yaml=tmp_path / "phono3py_disp.yaml", nonac=True))
    assert np.abs(bare.phonons(q)[0] - expected).max() > 0.1


def test_contradictions_are_refused(tmp_path):
    cell = SALT
    path, fc2 = tmp_path / "phono3py.yaml", tmp_path / "fc2.hdf5"
    write_fc2(fc2, constants_of(SALT))
    path.write_text(yaml_text(cell, "qe", length="angstrom"))
    with pytest.raises(UnitError, match="lengths in angstrom, but qe has them in au"):
        load_crystal(CrystalFiles(yaml=path))
    path.write_text(yaml_text(cell, "vasp", length="au").replace("  calculator: vasp\n", "  version: '3'\n"))
    with pytest.raises(UnitError, match="no program is named"):
        load_crystal(CrystalFiles(yaml=path))
    assert load_crystal(CrystalFiles(yaml=path, calculator="qe")).volume < 12
    path.write_text(yaml_text(cell, "qe"))
    with pytest.raises(UnitError, match="the option says abinit"):
        load_crystal(CrystalFiles(yaml=path, calculator="abinit"))
    path.write_text(yaml_text(cell, "qe").replace("calculator: qe", "calculator: quantum"))
    with pytest.raises(UnitError, match="phonopy does not know; it knows"):
        load_crystal(CrystalFiles(yaml=path))
    path.write_text(yaml_text(cell, "qe"))
    write_fc2(fc2, constants_of(SALT), "furlong")
    with pytest.raises(UnitError, match="furlong"):
        load_crystal(CrystalFiles(yaml=path))
    write_fc2(fc2, constants_of(SALT), None)
    path.write_text(yaml_text(cell, "qe", "phonopy"))
    with pytest.raises(UnitError, match="does not state its unit"):
        load_crystal(CrystalFiles(yaml=path, fc2=fc2))


def test_a_factor_that_belongs_to_no_unit_is_refused():
    with pytest.raises(UnitError, match="NAC factor is 7"):
        salt(factor=7.0)
    np.testing.assert_array_equal(salt(factor=None).phonons(np.full(3, 0.1))[0], salt().phonons(np.full(3, 0.1))[0])


def test_lengths_in_the_wrong_unit_are_noticed_by_the_volume_of_the_run(tmp_path):
    """Frequencies do not know the lattice constant, κ does: kappa files hold the volume."""
    crystal = spring_crystal(SALT)
    qpoints, weights = crystal.irreducible_mesh((2, 2, 2))
    widths = Linewidths(
        np.array([300.0]), qpoints, weights, np.full((1, len(qpoints), 6), 0.1), volume=crystal.volume * 0.529177**3
    )
    with pytest.raises(GridMismatchError, match="bohr taken for Å"):
        analyze(crystal, widths)


def test_files_beside_the_yaml_are_found(tmp_path, capsys):
    """fc2.hdf5 and BORN of the folder of the YAML, from any working directory; without fc2.hdf5 a sentence says so."""
    path = tmp_path / "phono3py_params.yaml"
    path.write_text(yaml_text(SALT, "vasp"))
    with pytest.raises(InputFileError, match=r"fc2.hdf5 is not beside it"):
        load_crystal(CrystalFiles(yaml=path))
    write_fc2(tmp_path / "fc2.hdf5", constants_of(SALT))
    (tmp_path / "BORN").write_text("damaged\n")
    with pytest.raises(InputFileError, match="BORN"):
        load_crystal(CrystalFiles(yaml=path))
    assert load_crystal(CrystalFiles(yaml=path, nonac=True)).volume == pytest.approx(4.1**3)
    assert main(["glass", str(path), "--nonac", "--mesh", "1", "1", "1"]) == 0
    assert "flattest" in capsys.readouterr().out


def test_every_program_of_phonopy_has_its_option():
    from phon_wigner.cli.options import PROGRAMS as OPTIONS

    assert {name: entry["option"]["name"] for name, entry in calculator_info.items()} == OPTIONS


def test_help_imports_neither_phonopy_nor_phono3py():
    code = "import sys; from phon_wigner.cli import main; main(['analyze', '-h']); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"phonopy", "phono3py", "matplotlib", "h5py"} & set(done.stdout.splitlines()[-1].split())


def test_every_program_of_phonopy_has_units():
    assert {"vasp", "qe", "abinit", "siesta", "castep", "crystal", "wien2k", "cp2k"} <= set(interface_names())
    for name in interface_names():
        units = units_of(name)
        # e²/4πε₀ in eV Å from each program's own factor: exact physics ties the three units of a program together
        converted = units.nac_factor * units.force_constants * units.length**3
        assert converted == pytest.approx(nac_factor_ev_angstrom(), rel=1e-6), name


words = st.sampled_from(["kappa.hdf5", "--json", "out", "-v", "phono3py_params.yaml"])
numbers = st.lists(
    st.integers(-99, 99).map(str) | st.sampled_from(["1/2", "0.5", "1e-3", "-.5"]), min_size=1, max_size=9
)


@given(st.lists(words), numbers, st.lists(words))
def test_the_numbers_of_an_option_stay_together_and_nothing_else_does(before, values, after):
    line = [*before, "--dim", *values, *after]
    assert joined(line, {"--dim"}) == [*before, "--dim", " ".join(values), *after]
    assert joined(line, {"--ts"}) == line
    assert joined([*before, f"--dim={values[0]}", *values[1:], *after], {"--dim"})[len(before)].startswith("--dim=")


def test_several_temperatures_as_phono3py_takes_them(capsys):
    with click.Context(glass) as context:
        for arguments in (["x", "-t", "100", "200"], ["-t", "100 200", "x"], ["--ts", "100", "200", "--nonac", "x"]):
            glass.parse_args(context, list(arguments))
            assert context.params["temperatures"] == [100.0, 200.0]
            assert context.params["yaml"] == "x" or arguments[-1] != "x"


def test_misspelt_commands_and_options_are_asked_back(capsys):
    assert main(["shengbt"]) == 2
    assert "'shengbte'" in capsys.readouterr().err
    assert main(["analyze", "k.hdf5", "--isotop"]) == 2
    assert "--isotope" in capsys.readouterr().err
