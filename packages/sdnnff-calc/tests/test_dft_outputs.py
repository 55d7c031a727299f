"""Outputs of VASP and pw.x: known by content, judged by the code's own statement, never passed over silently."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from hypothesis import given
from hypothesis import strategies as st

from sdnnff_calc.data.convergence import judge_outcar, judge_pwscf, judge_vasprun
from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures
from sdnnff_calc.errors import DataError

ESPRESSO = (Path(__file__).parent / "data" / "espresso" / "converged.out").read_text()
UNCONVERGED = ESPRESSO.replace(
    "     Forces acting", "     convergence NOT achieved after   3 iterations: stopping\n\n     Forces acting", 1
)
NOISE = "[node017:04211] mca_base_component_repository_open: unable to open mca_btl_openib: no such file\n"


def vasprun(steps: Sequence[int], *, nelm: int = 60, response_nelm: int | None = 1, settings: str = "") -> str:
    """A vasprun.xml with one ionic step for each number of electronic ones."""
    atoms = "<rc><c>Na</c><c>1</c></rc><rc><c>Cl</c><c>2</c></rc>"
    structure = (
        '<structure><crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray></crystal>'
        '<varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray></structure>'
    )
    energy = '<energy><i name="e_fr_energy">-1.5</i><i name="e_wo_entrp">-1.5</i><i name="e_0_energy">-1.5</i></energy>'
    response = "" if response_nelm is None else f'<i type="int" name="NELM">{response_nelm}</i>'
    calculations = "".join(
        f'<calculation>{f"<scstep>{energy}</scstep>" * n}{structure}<varray name="forces"><v>{k + 1} 0 0</v>'
        f"<v>-{k + 1} 0 0</v></varray>{energy}</calculation>\n"
        for k, n in enumerate(steps)
    )
    return (
        f"<modeling>\n<incar>{settings}</incar>\n"
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>\n'
        '<parameters><separator name="electronic"><separator name="electronic convergence">'
        f'<i type="int" name="NELM">{nelm}</i></separator></separator>'
        f'<separator name="response functions">{response}</separator></parameters>\n'
        f'<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>\n'
        f"{structure.replace('<structure>', '<structure name=' + chr(34) + 'initialpos' + chr(34) + '>')}\n"
        f"{calculations}</modeling>\n"
    )


def first_forces(path: Path) -> list[float]:
    return [round(float(atoms.calc.results["forces"][0, 0]), 6) for atoms in iterate_structures([path])]


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("name", ["run.pwo", "run.out", "slurm-17.log", "result"])
@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("noise", [0, 200, 4000])
def test_pwscf_is_known_and_judged_whatever_its_name_packing_and_preamble(
    name: str, packed: str, noise: int, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder, text in ((good, ESPRESSO), (bad, UNCONVERGED)):
        folder.mkdir()
        (folder / f"{name}{packed}").write_bytes(PACK[packed]((NOISE * noise + text).encode()))
    assert len(first_forces(good)) == len(first_forces(good / f"{name}{packed}")) == 1
    for path in (bad, bad / f"{name}{packed}"):
        with pytest.raises(DataError, match="electrons not converged"):
            first_forces(path)


@pytest.mark.parametrize("packed", PACK)
def test_a_compressed_file_may_have_a_plain_name(packed: str, tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_bytes(PACK[packed](vasprun([8]).encode()))
    assert first_forces(tmp_path) == [1.0]


@pytest.mark.parametrize("response_nelm", [None, 1, 500])
@pytest.mark.parametrize(("steps", "used"), [((8,), [1.0]), ((60,), []), ((8, 60, 59), [1.0, 3.0]), ((0, 7), [2.0])])
def test_the_nelm_of_the_electronic_relaxation_counts(
    response_nelm: int | None, steps: tuple[int, ...], used: list[float], tmp_path: Path
) -> None:
    (tmp_path / "vasprun.xml").write_text(vasprun(steps, response_nelm=response_nelm))
    if used:
        assert first_forces(tmp_path) == used
        return
    with pytest.raises(DataError, match="not converged in NELM = 60 steps"):
        first_forces(tmp_path)


@given(nelm=st.integers(1, 50), steps=st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_every_ionic_step_has_a_verdict_of_its_own(nelm: int, steps: list[int]) -> None:
    verdicts = judge_vasprun(io.BytesIO(vasprun(steps, nelm=nelm).encode()))
    assert [verdict == "" for verdict in verdicts] == [0 < n < nelm for n in steps]


def test_steps_of_response_functions_are_not_electronic_ones(tmp_path: Path) -> None:
    full = "<scstep><energy>" + "<i name='alphaZ'>1</i>" * 6 + "</energy></scstep>"
    text = vasprun([8], nelm=20, settings='<i type="logical" name="LEPSILON"> T </i>')
    step = text[text.index("<scstep>") : text.index("</scstep>") + len("</scstep>")]
    text = text.replace(step * 8, full + step * 7 + full + step * 30)
    (tmp_path / "vasprun.xml").write_text(text)
    assert first_forces(tmp_path) == [1.0]


def outcar(*parts: str) -> list[str]:
    return "".join(parts).splitlines(keepends=True)


def scf(n: int, said: str = "") -> str:
    return f"--- Iteration  1({n:4d})  ---\n{said}\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"


REACHED, NOT_REACHED = "--- aborting loop because EDIFF is reached ---", "--- aborting loop EDIFF was not reached ---"
HEAD = "   NELM   =     60;   NELMIN=  2; NELMDL= -5     # of ELM steps\n"


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        (outcar(HEAD, scf(9, REACHED), scf(60, REACHED)), [True, True]),
        (outcar(HEAD, scf(9, REACHED), scf(60, NOT_REACHED)), [True, False]),
        (outcar(HEAD, scf(9, REACHED), scf(12, "--- aborting loop because hard stop was set ---")), [True, False]),
        (outcar(HEAD, scf(9), scf(60)), [True, False]),
        (outcar(" INCAR:\n   NELM = 200\n", HEAD.replace("60", "200"), scf(199), "   NELM = 1\n"), [True]),
        (outcar(HEAD, "  ML FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n", scf(9)), [True]),
        (outcar(HEAD, "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"), [False]),
    ],
)
def test_outcar_is_judged_by_what_vasp_says(lines: list[str], good: list[bool]) -> None:
    assert [verdict == "" for verdict in judge_outcar(lines)] == good


def test_each_self_consistency_of_a_relaxation_is_judged() -> None:
    done, failed, forces = (
        "     convergence has been achieved in 9 iterations",
        "     convergence NOT achieved",
        "     Forces acting on atoms",
    )
    assert judge_pwscf([done, forces, failed, forces, done, forces]) == ["", judge_pwscf([failed])[0], ""]


def test_what_a_folder_passes_over_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = vasprun([8])
    (tmp_path / "vasprun.xml").write_text(text)
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "more.extxyz").write_text("0\n\n")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "INCAR").write_text("NELM = 60")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert first_forces(tmp_path) == [1.0]
    for name in ("vasprun.xml.gz", "more.extxyz", "notes.txt", "link"):
        assert f"{tmp_path / name}: " in caplog.text
    assert "INCAR" not in caplog.text


def test_labels_of_vasps_machine_learned_steps_do_not_reach_a_frame(tmp_path: Path) -> None:
    """A step with both DFT and machine-learned results: the tables of the second look like those of the first."""
    lattice = "".join(f"  {4.0 * (k == 0)} {4.0 * (k == 1)} {4.0 * (k == 2)} 0.25 0.0 0.0\n" for k in range(3))

    def table(force: float, mark: str = "") -> str:
        rows = f"  0.0 0.0 0.0  {force} 0.0 0.0\n  2.0 2.0 2.0  {-force} 0.0 0.0\n"
        rule = " " + "-" * 80 + "\n"
        return f" POSITION            TOTAL-FORCE (eV/Angst){mark}\n{rule}{rows}{rule}"

    text = (
        " vasp.6.4.2\n POTCAR:    PAW_PBE Na 08Apr2002\n POTCAR:    PAW_PBE Cl 06Sep2000\n"
        " POTCAR:    PAW_PBE Na 08Apr2002\n POTCAR:    PAW_PBE Cl 06Sep2000\n"
        "   ions per type =               1   1\n"
        "   number of dos      NEDOS =    301   number of ions     NIONS =      2\n"
        f"{HEAD}--- Iteration      1(   9) ---\n{REACHED}\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{lattice}\n{table(0.5)}\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ----\n  free  energy   TOTEN  =  -7.0 eV\n\n"
        "  energy  without entropy= -7.0  energy(sigma->0) = -7.0\n\n"
        f"  ML FORCE on cell =-STRESS in cart. coord. units (eV):\n  in kB 11. 21. 31. 1. 3. 2.\n{table(9.9, ' (ML)')}"
        "  ML FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ----\n  free  energy ML TOTEN  =  -5.0 eV\n\n"
    )
    (tmp_path / "OUTCAR").write_text(text)
    assert first_forces(tmp_path) == [0.5]


@pytest.mark.parametrize("constraint", [FixAtoms([0]), FixCartesian([0])])
def test_constraints_stay_out_of_labels(constraint: object, tmp_path: Path) -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[8, 8, 8], pbc=True, constraint=constraint)
    results = [{"forces": [[0.3, 0, 0], [-0.3, 0, 0]]}, {"forces": [[0.0, 0, 0], [-0.3, 0, 0]]}]
    frames = []
    for result in results:
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, **{k: np.array(v) for k, v in result.items()})
        frames.append(frame)
    report = DataReport()
    (kept,) = check_labels(frames, 100.0, report)
    assert kept.calc.results["forces"][0, 0] == 0.3
    assert kept.get_forces()[0, 0] == 0.3  # ASE applies constraints here
    assert not kept.constraints
    assert frames[0].constraints
    assert "3 force components of constrained atoms are exactly zero" in report.rejected[0]
    ase.io.write(tmp_path / "a.extxyz", frames[0])
    (read,) = check_labels(iterate_structures([tmp_path / "a.extxyz"]), 100.0, DataReport())
    assert not read.constraints
    assert np.allclose(read.calc.results["forces"], results[0]["forces"])


@given(
    st.sampled_from([FixAtoms, FixCartesian, FixScaled]),
    st.lists(st.booleans(), min_size=3, max_size=3).filter(any),
    st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_a_constraint_in_any_direction_is_found_in_the_forces(
    kind: type, mask: list[bool], fixed: list[int], seed: int
) -> None:
    """Selective dynamics along axes of a skew cell, if_pos and move masks: all force components held, or no fault."""
    random = np.random.default_rng(seed)
    cell = 5 * np.eye(3) + random.normal(scale=0.4, size=(3, 3))
    atoms = Atoms("Cu4", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=cell, pbc=True)
    constraint = FixAtoms(fixed) if kind is FixAtoms else kind(fixed, mask)
    atoms.set_constraint(constraint)
    free = random.normal(size=(4, 3))
    held = free.copy()
    constraint.adjust_forces(atoms, held)
    report = DataReport()
    frames = []
    for forces in (free, held):
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, forces=forces)
        frames.append(frame)
    (kept,) = check_labels(frames, 100.0, report)
    assert np.array_equal(kept.calc.results["forces"], free)
    assert "a constraint has reached the label" in report.rejected[0]


def test_pwscf_that_says_nothing_of_its_electrons_is_not_learned_from() -> None:
    silent = ESPRESSO.replace("convergence has been achieved", "....")
    assert "does not say that its electrons converged" in judge_pwscf(silent.splitlines())[0]
    twice = (ESPRESSO + silent).splitlines()
    assert [bool(reason) for reason in judge_pwscf(twice)] == [False, True]


@pytest.mark.parametrize("key", ["REF_energy", "dft_stress", "virial", "MACE_forces"])
def test_keys_that_look_like_labels_are_named(key: str) -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[8, 8, 8], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, forces=np.ones((2, 3)))
    atoms.info[key] = 1.0
    report = DataReport()
    assert len(list(check_labels([atoms], 100.0, report))) == 1
    assert any(key in line for line in report.lines())
    atoms.calc = None
    with pytest.raises(DataError, match=f"has no forces. It has {key}, which is not read"):
        list(check_labels([atoms], 100.0, DataReport()))


def test_a_stress_in_another_unit_is_refused() -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[8, 8, 8], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, forces=np.ones((2, 3)), stress=np.array([120.0, 0, 0, 0, 0, 0]))
    report = DataReport()
    assert not list(check_labels([atoms], 100.0, report))
    assert "in another unit" in report.rejected[0]
