"""CIF: every setting of every space group comes back as the crystal it was; what is ambiguous or wrong is refused."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from cif_texts import cif_text
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from screen_cli.crystal.structure import Structure
from screen_cli.errors import StructureError
from screen_cli.sources.readers.cif.document import read_cif
from screen_cli.sources.readers.frame import Limits, Refused
from screen_cli.testing.strategies import crystals_of

RELAXED = settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a crystal shrinks for minutes
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
GROUPS = list(gemmi.spacegroup_table())


def _crystal(atoms):
    return Structure.from_atoms(atoms, provider="test", provider_id="x")


def _read(text):
    """The only crystal of a text; a refusal is raised."""
    (frame,) = list(read_cif(text, Limits()))
    if isinstance(frame, Refused):
        raise StructureError(frame.reason)
    return _crystal(frame.atoms)


def _outcome(text):
    """The crystal of a text and no reason, or none and the reason."""
    try:
        return _read(text), ""
    except StructureError as error:
        return None, str(error)


def _operations(group):
    operations = list(group.operations())
    turns = np.array([operation.rot for operation in operations]) // 24
    shifts = np.array([operation.tran for operation in operations]) / 24
    return operations, turns, shifts


@st.composite
def _settings(draw):
    """A setting of gemmi's table, and a crystal in it."""
    group = draw(st.sampled_from(GROUPS))
    operations, turns, shifts = _operations(group)
    return group, operations, draw(crystals_of(turns, shifts))


@RELAXED
@given(_settings(), st.sampled_from(["operations", "name", "hall"]))
def test_a_crystal_comes_back_from_every_setting(drawn, said):
    group, operations, atoms = drawn
    says = {
        "operations": {"operations": [operation.triplet() for operation in operations]},
        "name": {"name": group.xhm(), "number": group.number},
        "hall": {"hall": group.hall},
    }[said]
    assert _read(cif_text(atoms, **says)).id == _crystal(atoms).id


@RELAXED
@given(_settings())
def test_four_digits_keep_the_crystal_and_its_space_group(drawn):
    group, _, atoms = drawn
    found = _read(cif_text(atoms, name=group.xhm(), digits=4))
    assert found.space_group == _crystal(atoms).space_group
    assert len(found.atoms) == len(_crystal(atoms).atoms)


@RELAXED
@given(_settings())
def test_a_name_without_its_setting_gives_the_crystal_or_is_refused(drawn):
    group, _, atoms = drawn
    found, reason = _outcome(cif_text(atoms, name=group.hm, number=group.number))
    if found is None:
        assert any(word in reason for word in ("setting", "origin", "operations"))
    else:
        assert found.id == _crystal(atoms).id


@RELAXED
@given(_settings(), st.booleans())
def test_the_number_alone_gives_the_crystal_or_is_refused(drawn, claims):
    group, _, atoms = drawn
    found, reason = _outcome(cif_text(atoms, number=group.number, claims=claims))
    if found is None:
        assert len(reason) > 30
    elif claims and group.is_reference_setting():
        assert found.id == _crystal(atoms).id


ROCKSALT = """data_x
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
{symmetry}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{column}
{sites}
"""
SITES = "Na1 Na 0 0 0 {0}\nCl1 Cl 0.5 0.5 0.5 {0}"


def rocksalt(symmetry="_space_group_name_H-M_alt 'F m -3 m'", column="_atom_site_occupancy", sites=None, value="1"):
    return ROCKSALT.format(symmetry=symmetry, column=column, sites=sites or SITES.format(value))


@pytest.mark.parametrize(
    "name",
    ["F m -3 m", "Fm-3m", "F m 3 m", "Fm3m", "FM-3M", "F_m_-3_m", "F 4/m -3 2/m", "F m -3 m :1"],
)
def test_spellings_of_one_symbol(name):
    found = _read(rocksalt(f"_symmetry_space_group_name_H-M '{name}'"))
    assert (found.formula, found.space_group, len(found.atoms)) == ("NaCl", 225, 2)


@pytest.mark.parametrize("name", ["F d -3 m :2", "Fd-3m:2", "F d -3 m Z", "F d 3 m Z", "F d -3 m O2", "Fd-3mZ"])
def test_origin_two_in_the_words_of_databases(name):
    text = rocksalt(f"_space_group_name_H-M_alt '{name}'", sites="Si1 Si 0.125 0.125 0.125 1")
    assert (len(_read(text).atoms), _read(text).space_group) == (2, 227)


@pytest.mark.parametrize("value", [".", "?", "1", "1.0(2)", "1.000"])
def test_an_occupancy_that_is_not_given_is_full(value):
    assert _read(rocksalt(value=value)).formula == "NaCl"


@pytest.mark.parametrize(
    ("label", "type_symbol", "formula", "expected"),
    [
        ("NA1", "?", "Cl Na", "Na"),
        ("NA1", "?", "Cl N", "N"),
        ("Na1", "?", "", "Na"),
        ("X1", "Na1+", "Cl Na", "Na"),
        ("X1", "NA", "", "Na"),
        ("X1", "Fe3+", "", "Fe"),
        ("X1", "O2-", "", "O"),
        ("X1", "Cval", "", "C"),
        ("Co1", "C", "", "C"),
        ("CO1", "?", "C Cl", "C"),
        ("CO1", "?", "Co Cl", "Co"),
        ("D1", "?", "", "H"),
        ("X1", "Fe+3", "", "Fe"),
        ("X1", "FE3+", "", "Fe"),
        ("X1", "Fe(III)", "", "Fe"),
        ("X1", "O-2", "", "O"),
        ("X1", "2H", "", "H"),
        ("XE1", "?", "", "Xe"),
        ("Ow1", "?", "Cl O", "O"),
        ("Wat", "?", "Cl W", "W"),
        ("FeO", "?", "Cl Fe", "Fe"),
    ],
)
def test_elements_are_told_from_type_symbols_labels_and_the_formula(label, type_symbol, formula, expected):
    symmetry = "_space_group_name_H-M_alt 'F m -3 m'"
    symmetry += f"\n_chemical_formula_sum '{formula}'" if formula else ""
    text = rocksalt(symmetry, sites=f"{label} {type_symbol} 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1")
    assert set(_read(text).atoms.get_chemical_symbols()) == {expected, "Cl"}


@pytest.mark.parametrize("type_symbol", ["OH", "NH4+", "Vac", "VOID", "Fe+Mg", "FeMg", "H2O", "26", "7Li", "Wat", "M"])
def test_a_type_symbol_is_one_atom(type_symbol):
    with pytest.raises(StructureError, match="is no element. Write one atom with its charge"):
        _read(rocksalt(sites=f"Na1 '{type_symbol}' 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"))


def test_a_label_of_an_isotope_with_the_type_symbol_of_hydrogen_is_refused():
    with pytest.raises(StructureError, match="'D1' has the type symbol H"):
        _read(rocksalt(sites="Li1 Li 0 0 0 1\nD1 H 0.5 0.5 0.5 1"))


@pytest.mark.parametrize("formula", ["", "\n_chemical_formula_sum 'Cl Si'"])
def test_a_tetrahedral_site_is_not_tritium(formula):
    text = rocksalt("_space_group_name_H-M_alt 'F m -3 m'" + formula, sites="T1 ? 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1")
    with pytest.raises(StructureError, match="'T1' may be tritium or a tetrahedral site"):
        _read(text)


@pytest.mark.parametrize("label", ["OH1", "Ow1", "Wat", "Va1", "Sio1", "CL1", "HO2"])
def test_a_label_with_more_letters_needs_a_formula(label):
    with pytest.raises(StructureError, match="no formula decides"):
        _read(rocksalt(sites=f"{label} ? 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"))


DIAMOND = "_space_group_name_H-M_alt 'F d -3 m :1'\n"


@pytest.mark.parametrize(
    ("symmetry", "others"),
    [
        ("_symmetry_space_group_name_H-M 'F m -3 m'\n_space_group_name_H-M_alt 'P m -3 m'", "F m -3 m or as P m -3 m"),
        ("_space_group_name_H-M_full 'P m -3 m'\n_space_group_name_H-M_alt 'F m -3 m'", "F m -3 m or as P m -3 m"),
        ("_space_group_name_H-M_alt 'F m -3 m'\n_space_group_name_Hall '-P 4 2 3'", "-P 4 2 3 or as F m -3 m"),
        (DIAMOND + "_space_group_name_Hall '-F 4vw 2vw 3'", "-F 4vw 2vw 3 or as F d -3 m:1"),
        (DIAMOND + "_symmetry_space_group_name_H-M 'F d -3 m :2'", "F d -3 m:1 or as F d -3 m:2"),
    ],
)
def test_names_that_contradict_are_judged_by_the_claims_or_refused(symmetry, others):
    symmetry = "\n".join(sorted(symmetry.split("\n")))
    sites = "Si1 Si 0 0 0 1" if "d -3" in symmetry else None
    _, reason = _outcome(rocksalt(symmetry, sites=sites))
    assert "which give different crystals" in reason
    for name in others.split(" or as "):
        assert name in reason
    claims = "_chemical_formula_sum Si\n_cell_formula_units_Z 8" if sites else "_cell_formula_units_Z 4"
    claims += "" if sites else "\n_chemical_formula_sum 'Cl Na'"
    found = _read(rocksalt(symmetry + "\n" + claims, sites=sites))
    assert (found.space_group, len(found.atoms)) == ((227, 2) if sites else (225, 2))


def test_a_name_in_full_and_in_short_agree():
    both = "_space_group_name_H-M_alt 'F m -3 m'\n_space_group_name_H-M_full 'F 4/m -3 2/m'\n"
    assert _read(rocksalt(both + "_symmetry_space_group_name_H-M 'Fm3m'\n_space_group_name_Hall '-F 4 2 3'")).formula
    open_origin = "_symmetry_space_group_name_H-M 'F d -3 m'\n_space_group_name_Hall '-F 4vw 2vw 3'"
    assert len(_read(rocksalt(open_origin, sites="Si1 Si 0.125 0.125 0.125 1")).atoms) == 2
    code = DIAMOND + "_space_group_IT_coordinate_system_code 2"
    assert "is none of F d -3 m:1" in _outcome(rocksalt(code, sites="Si1 Si 0 0 0 1"))[1]


def test_tags_of_the_newer_dictionary():
    text = rocksalt("_space_group.name_H-M_alt 'F m -3 m'").replace("_cell_", "_cell.").replace("_site_", "_site.")
    assert _read(text).space_group == 225
    cartesian = text.replace("fract_x", "Cartn_x")
    assert "Cartesian coordinates" in _outcome(cartesian)[1]


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("_chemical_formula_structural 'Na Cl'", "no site holds Cl"),
        ("_chemical_formula_moiety 'Na Cl'", "no site holds Cl"),
        ("_chemical_formula_weight 58.44\n_cell_formula_units_Z 4", "4 formula units of 58.44 u"),
        ("_exptl_crystal_density_meas 2.1(1)", "declares 2.100"),
        ("_cell_formula_units_Z 3", "no multiple of the declared Z = 3"),
    ],
)
def test_claims_that_miss_an_atom(claim, words):
    assert words in _outcome(rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n" + claim, sites="Na1 Na 0 0 0 1"))[1]
    both = _outcome(rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n" + claim))[1]
    assert not both or "Z = 3" in words


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("_atom_site_attached_hydrogens", "1 0", "1 hydrogen atoms without positions"),
        ("_atom_site_disorder_group", "1 2", "one of several alternatives"),
        ("_atom_site_disorder_group", "-1 -1", "one of several alternatives"),
        ("_atom_site_disorder_group", ". .", ""),
        ("_atom_site_disorder_group", "1 1", ""),
    ],
)
def test_disorder_and_hydrogens_that_are_only_counted(column, values, words):
    first, second = values.split()
    reason = _outcome(rocksalt(column=column, sites=f"Na1 Na 0 0 0 {first}\nCl1 Cl 0.5 0.5 0.5 {second}"))[1]
    assert words in reason
    assert bool(words) == bool(reason)


def test_deuterium_has_its_mass():
    text = rocksalt(sites="Li1 Li 0 0 0 1\nD1 D 0.5 0.5 0.5 1")
    found = _read(text)
    np.testing.assert_allclose(sorted(found.atoms.get_masses()), [2.0141, 6.94], atol=1e-3)
    assert found.id != _read(text.replace("D1 D", "H1 H")).id


@pytest.mark.parametrize("digits", [3, 4, 5])
@pytest.mark.parametrize("length", [4.0, 12.8, 30.0])
def test_rounded_thirds_keep_their_group_whatever_the_cell(digits, length):
    third, two_thirds = f"{1 / 3:.{digits}f}", f"{2 / 3:.{digits}f}"
    symmetry = "_space_group_name_H-M_alt 'P 63/m m c'"
    text = rocksalt(symmetry, sites=f"Mg1 Mg {third} {two_thirds} 0.25 1\nMg2 Mg 0 0 0 1")
    text = text.replace("gamma 90", "gamma 120").replace("a 5.64", f"a {length}").replace("b 5.64", f"b {length}")
    (frame,) = read_cif(text, Limits())
    assert len(frame.atoms) == 4
    assert _crystal(frame.atoms).space_group == 194


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rocksalt(symmetry=""), "neither symmetry operations nor a space group"),
        (rocksalt("_space_group_name_H-M_alt 'F q -3 m'"), "'F q -3 m' is not known"),
        (
            rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_space_group_IT_number 221"),
            "number 225, the file says 221",
        ),
        (rocksalt("_space_group_IT_number 231"), "expected 1 to 230"),
        (rocksalt("_space_group_IT_number x"), "expected 1 to 230"),
        (rocksalt("_space_group_name_H-M_alt 'F d -3 m :3'"), "has no setting '3'"),
        (rocksalt("_space_group_name_H-M_alt 'P 63/m m c'"), "does not have the symmetry of P 63/m m c"),
        (rocksalt("_space_group_IT_number 227", sites="Si1 Si 0 0 0 1"), "F d -3 m:1 or as F d -3 m:2"),
        (rocksalt("_space_group_name_Hall 'nonsense'"), "is no Hall symbol"),
        (rocksalt("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,q"), "is no symmetry operation"),
        (rocksalt("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,y,z\nx,-y,z"), "form no group"),
        (rocksalt(value="0.5"), "partial occupancy (0.5)"),
        (rocksalt(value="full"), "occupancy of site Na1 is 'full', expected a number"),
        (rocksalt(value="2"), "partial occupancy (2)"),
        (rocksalt(sites="Na1 Na 0 0 ? 1\nCl1 Cl 0.5 0.5 0.5 1"), "coordinate z of site Na1"),
        (rocksalt(sites="Na1 Na 0 0 nan 1\nCl1 Cl 0.5 0.5 0.5 1"), "coordinate z of site Na1"),
        (rocksalt(sites="Na1 Na 1e300 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"), "expected fractions"),
        (rocksalt(sites="Q1 Q 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"), "'Q' is no element"),
        (rocksalt(sites="CA1 ? 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"), "may be Ca or C"),
        (rocksalt(sites="? ? 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"), "neither a type symbol nor a label"),
        (rocksalt(sites="Na1 Na 0 0 0 1\nCl1 Cl 0.01 0 0 1"), "overlap"),
        (rocksalt().replace("a 5.64", "a ?"), "_cell_length_a is"),
        (rocksalt().replace("a 5.64", "a -5.64"), "expected lengths in Å"),
        (rocksalt().replace("gamma 90", "gamma 190"), "span no cell"),
        (rocksalt().replace("alpha 90", "alpha 10").replace("beta 90", "beta 10"), "span no cell"),
        (rocksalt().replace("_cell_angle_gamma 90\n", ""), "_cell_angle_gamma is missing"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_cell_volume 90"), "the file declares 90"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_exptl_crystal_density_diffrn 1.0"), "density"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_chemical_formula_sum 'Na2 Cl'"), "not a multiple"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_chemical_formula_sum 'Na Cl O'"), "no site holds O"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_chemical_formula_sum 'Na'"), "does not name"),
        (
            rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 2"),
            "declares Z = 2",
        ),
        (
            rocksalt(
                "_space_group_name_H-M_alt 'F m -3 m'\nloop_\n_geom_bond_atom_site_label_1\n"
                "_geom_bond_atom_site_label_2\n_geom_bond_distance\nNa1 Cl1 2.4"
            ),
            "declares a distance of 2.400",
        ),
        (rocksalt(column="_atom_site_symmetry_multiplicity", value="8"), "multiplicity of 8"),
        (rocksalt("_space_group_name_H-M_alt 'F m -3 m'\n_cell_modulation_dimension 1"), "modulated"),
        ("data_x\n_cell_length_a 5\nfoo bar\n", "is no CIF: line 3"),
        ("data_x\n_cell_length_a 5\n_cell_length_a 5\n", "duplicate tag"),
        ("not a cif at all", "is no CIF"),
        (
            "data_x\n_cell_length_a 5\n_cell_length_b 5\n_cell_length_c 5\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
            "_cell_angle_gamma 90\n_space_group_IT_number 1\n",
            "no atoms",
        ),
    ],
)
def test_refused_with_one_sentence(text, words):
    with pytest.raises(StructureError) as caught:
        _read(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_listed_operations_that_contradict_the_name_are_judged_by_the_claims():
    both = "_space_group_name_H-M_alt 'F m -3 m'\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z"
    with pytest.raises(StructureError, match="listed operations or as F m -3 m"):
        _read(rocksalt(both))
    claims = "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4\n"
    assert _read(rocksalt(claims + both)).space_group == 225


def test_every_block_with_atoms_is_a_crystal_and_magnetic_moments_are_told():
    text = "data_global\n_journal_name x\n" + rocksalt() + rocksalt(value="0.5").replace("data_x", "data_y")
    first, second = read_cif(text, Limits())
    assert isinstance(second, Refused)
    assert first.notes == ()
    magnetic = rocksalt(column="_atom_site_moment_crystalaxis_x")
    (frame,) = read_cif(magnetic, Limits())
    assert "magnetic moments are not used" in frame.notes
