"""What a loop needs for tens of thousands of crystals: streams, chunks, batches, another environment, rest, budgets."""

from __future__ import annotations

import re
import sys
import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from al_committee.cli import main
from al_committee.cli.objects import build_loop
from al_committee.cli.session import EXIT_OK
from al_committee.committee.calculator import CommitteeCalculator
from al_committee.config import RestSettings, SupercellKind, SupercellSettings
from al_committee.loop.interruption import PausedError, StopWatch
from al_committee.loop.pages.live_page import LivePage
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.crystal_index import Crystal, CrystalIndex
from al_committee.selection.held_out import HeldOut, reduced_formula
from al_committee.selection.pool import Pool
from al_committee.selection.rest import find_rest
from al_committee.selection.scoring import CHUNK, Scoring, rest_of, score_pool
from al_committee.testing import PairTeacher, toy_crystals

CONFIG = """
seed = 3
[pool]
source = "al_committee.testing:toy_crystals"
test_structures = 2
start_labels = 4
{pool}
[supercells]
n_atoms = 8
[[supercells.kinds]]
name = "displaced"
displacement = 0.05
[[supercells.kinds]]
name = "strained"
displacement = 0.05
volume = 0.1
[[supercells.kinds]]
name = "sheared"
displacement = 0.12
shear = 0.02
[selection]
budget = 3
threshold = 1e-9
strategy = "{strategy}"
[labels]
factory = "{factory}"
cache = "labels"
{labels}
[training]
trainer = "al_committee.testing:PairPotentialTrainer"
n_members = 3
[stop]
max_rounds = 2
{stop}
"""


def make_run(folder, **changes):
    values = {
        "pool": "",
        "labels": "",
        "stop": "",
        "strategy": "diverse",
        "factory": "al_committee.testing:pair_teacher",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "loop.toml"
    path.write_text(CONFIG.format(**(values | changes)))
    return RunDirectory.create(folder / "run", path)


def drive(run, stop=None):
    loop = build_loop(RunDirectory(run.path), stop)
    loop.write_report = None
    return loop, loop.drive()


# ---- pool ------------------------------------------------------------------------------------------------


def test_a_stream_of_crystals_is_never_held_in_memory(tmp_path):
    def stream(count):
        for k in range(count):
            atoms = Atoms("Cu50", positions=np.arange(150.0).reshape(50, 3) + 0.001 * k, cell=[200] * 3, pbc=True)
            yield Crystal(f"c{k}", atoms)

    def peak(count):
        tracemalloc.start()
        CrystalIndex.build(stream(count), tmp_path / f"{count}.sqlite")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(50)
    few, many = peak(100), peak(1000)
    assert many < few + 900 * 400  # names, not crystals: an Atoms object of 50 atoms alone has 1200 bytes of positions
    assert len(CrystalIndex.open(tmp_path / "1000.sqlite")) == 1000


def test_a_pool_that_fails_half_way_leaves_nothing(tmp_path):
    def stream():
        yield Crystal("a", bulk("Cu"))
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError):
        CrystalIndex.build(stream(), tmp_path / "pool.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_the_pool_of_a_run_is_read_once(tmp_path):
    run = make_run(tmp_path, pool="most_crystals = 9")
    loop = build_loop(run)
    checksum = loop.pool.checksum()
    assert len(loop.pool.index) == 9
    (tmp_path / "loop.toml").unlink()
    assert build_loop(RunDirectory(run.path)).pool.checksum() == checksum


def test_compounds_are_held_out_by_their_name(tmp_path):
    run = make_run(tmp_path, pool="held_out_share = 0.4")
    loop = build_loop(run)
    held = HeldOut(0.4)
    by_formula: dict[str, set[bool]] = {}
    for name in loop.pool.index.ids:
        atoms = loop.pool.index.crystal(name).atoms
        assert (name in loop.pool.index.held_out) == held(atoms)
        by_formula.setdefault(reduced_formula(atoms), set()).add(name in loop.pool.index.held_out)
    assert all(len(sides) == 1 for sides in by_formula.values())
    assert 0 < len(loop.pool.index.held_out) < len(loop.pool.index)
    assert set(loop.test_ids) <= loop.pool.index.held_out
    assert not loop.pool.index.held_out & set(loop.pool_ids)


def test_kinds_and_sizes_of_supercells():
    kinds = [
        SupercellKind(name="a", count=2, displacement=0.03),
        SupercellKind(name="b", displacement=0.03, volume=0.15),
        SupercellKind(name="c", displacement=0.12, shear=0.02),
    ]
    cell = bulk("NaCl", "rocksalt", a=5.64)
    pool = Pool([Crystal("NaCl", cell, "rocksalt")], SupercellSettings(kinds=kinds, n_atoms=10, seed=2))
    made = [pool.supercell("NaCl", k).atoms for k in range(4)]
    assert [a.info["kind"] for a in made] == ["a", "a", "b", "c"]
    assert {a.info["group"] for a in made} == {"rocksalt"}
    assert all(len(a) == 8 for a in made)  # 2 -> 4 -> 8: sixteen would be farther from ten
    volumes = [a.get_volume() / 4 / cell.get_volume() for a in made]
    assert volumes[:2] == pytest.approx([1, 1])
    assert abs(np.log(volumes[2])) > 1e-3
    assert made[3].cell.angles() != pytest.approx(made[0].cell.angles(), abs=1e-3)
    relaxed = cell.copy()
    relaxed.set_cell(cell.cell * 1.02, scale_atoms=True)
    assert pool.supercell("NaCl", 0, relaxed).atoms.get_volume() == pytest.approx(4 * relaxed.get_volume())


# ---- scores and rest -------------------------------------------------------------------------------------


class Pair:
    """Two models whose forces differ; counts what it is asked."""

    def __init__(self, largest=10**9):
        self.asked, self.largest = 0, largest

    def predict_committee(self, structures):
        assert sum(map(len, structures)) <= self.largest
        self.asked += len(structures)
        forces = [EMT().get_property("forces", atoms) for atoms in structures]
        return {"forces": [np.stack([f, 1.1 * f]) for f in forces], "energies": None}


def small_pool(count=70):
    crystals = (Crystal(f"c{k}", bulk("Cu", a=3.4 + 0.005 * k)) for k in range(count))
    return Pool(crystals, SupercellSettings(n_supercells=2, min_length=0.0, n_atoms=4, displacement=0.05))


def test_scoring_goes_on_where_it_was_interrupted_and_asks_in_bounded_batches(tmp_path):
    pool, committee = small_pool(), Pair(largest=40)
    visits = 0

    def pause():
        nonlocal visits
        visits += 1
        if visits == 2:
            raise PausedError("enough")

    how = Scoring(batch_atoms=40)
    arguments = {"folder": tmp_path, "how": how}
    with pytest.raises(PausedError):
        score_pool(pool, pool.structure_ids, CommitteeCalculator([committee]), pause=pause, **arguments)
    assert committee.asked == 2 * CHUNK
    table = score_pool(pool, pool.structure_ids, CommitteeCalculator([committee]), pause=lambda: None, **arguments)
    assert committee.asked == 2 * 70  # nothing twice
    assert [s.structure_id for s in table.supercells[::2]] == pool.structure_ids
    whole = score_pool(
        pool,
        pool.structure_ids,
        CommitteeCalculator([Pair()]),
        folder=tmp_path / "whole",
        how=Scoring(),
        pause=lambda: None,
    )
    assert [s.score for s in whole.supercells] == pytest.approx([s.score for s in table.supercells])
    assert whole.histogram == table.histogram


def test_crystals_rest_where_the_mean_says_with_their_symmetry(tmp_path):
    committee = CommitteeCalculator([EMT(), EMT()])
    found = find_rest(bulk("Cu", a=3.8), committee, RestSettings(enabled=True, fmax=0.005, max_steps=60))
    assert found.reason == ""
    at_rest = found.atoms.copy()
    at_rest.calc = EMT()
    assert np.abs(at_rest.get_stress()).max() < 2e-3
    assert (4 * at_rest.get_volume()) ** (1 / 3) == pytest.approx(3.59, abs=0.01)
    assert found.atoms.cell.angles() == pytest.approx([60, 60, 60], abs=1e-6)
    assert not found.atoms.constraints


@pytest.mark.parametrize(
    ("atoms", "settings", "reason"),
    [
        (bulk("Cu", a=4.4), {"max_volume_change": 0.1}, "the volume changed"),
        (bulk("Cu", a=3.9), {"max_steps": 1}, "not at rest after 1 steps"),
        (Atoms("Cu2", positions=[[0, 0, 0], [0.3, 0, 0]], cell=[4] * 3, pbc=True), {}, ""),
        (bulk("Na"), {}, "NotImplementedError"),
    ],
)
def test_lost_crystals_stay_where_they_were_with_a_reason(atoms, settings, reason):
    found = find_rest(atoms, CommitteeCalculator([EMT(), EMT()]), RestSettings(enabled=True, **settings))
    assert found.atoms is None
    assert reason in found.reason
    assert found.reason


def test_members_that_disagree_at_rest_are_not_believed():
    atoms = bulk("Cu", a=3.6) * (2, 1, 1)
    atoms.positions[1] += 0.3
    committee = CommitteeCalculator([EMT(), LennardJones(sigma=2.3, epsilon=0.4, rc=5.0)], check_units=False)
    loose = {"fmax": 5.0, "max_volume_change": 10.0}
    assert find_rest(atoms, committee, RestSettings(**loose)).atoms is not None
    found = find_rest(atoms, committee, RestSettings(max_deviation=1e-6, **loose))
    assert "disagree" in found.reason


def test_supercells_are_made_from_the_crystal_at_rest(tmp_path):
    pool = Pool(
        [Crystal("Cu", bulk("Cu", a=3.8)), Crystal("Na", bulk("Na"))], SupercellSettings(n_supercells=1, n_atoms=8)
    )
    committee = CommitteeCalculator([EMT(), EMT()])
    how = Scoring(rest=RestSettings(enabled=True, max_steps=60))
    table = score_pool(pool, ["Cu", "Na"], committee, folder=tmp_path, how=how, pause=lambda: None)
    assert (table.n_at_rest, list(table.not_at_rest)) == (1, ["NotImplementedError"])
    (rest,) = rest_of(tmp_path, ["Cu", "Na"], ["Cu", "Na"]).values()
    assert table.supercells[0].key == pool.supercell("Cu", 0, rest).key != pool.supercell("Cu", 0).key


# ---- the whole loop --------------------------------------------------------------------------------------


def test_a_loop_at_rest_with_kinds_keeps_its_course_through_pauses(tmp_path):
    rest = "[rest]\nenabled = true\nmax_steps = 3\n[stop_]"
    text = CONFIG.replace("[selection]", rest.replace("[stop_]", "") + "[selection]")
    runs = []
    for name in ("calm", "paused"):
        folder = tmp_path / name
        folder.mkdir()
        values = {"pool": "most_crystals = 7", "labels": 'kind = "calculator"', "stop": "", "strategy": "diverse"}
        (folder / "loop.toml").write_text(text.format(**values, factory="al_committee.testing:pair_teacher"))
        runs.append(RunDirectory.create(folder / "run", folder / "loop.toml"))
    drive(runs[0])
    for _ in range(40):
        ticks = iter(range(10**6))
        try:
            drive(runs[1], StopWatch(6, clock=lambda ticks=ticks: next(ticks)))
            break
        except PausedError:
            continue
    courses = []
    for run in runs:
        rounds = RunDirectory(run.path).rounds
        courses.append([(s.round, s.selected, s.histogram) for s in rounds.selections()])
    assert courses[0] == courses[1]
    assert len(courses[0]) == 3


TEACHER = """
import numpy as np
from ase.calculators.emt import EMT
from al_committee.testing import PairTeacher

class Teacher:
    settings = {"weights": "abc"}

    def __init__(self, scale=1.0):
        self.scale = scale

    def predict(self, structures):
        return [{"forces": self.scale * PairTeacher().get_property("forces", a), "energy": 0.0} for a in structures]
"""


def test_a_teacher_of_another_environment_labels_in_batches(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "my_teacher.py").write_text(TEACHER)
    import al_committee

    source = str(next(iter(al_committee.__path__))).rsplit("/", 1)[0]
    labels = f'python = "{sys.executable}"\npath = ["elsewhere", "{source}"]\nbatch = 4\noptions = {{ scale = 2.0 }}'
    run = make_run(tmp_path, factory="my_teacher:Teacher", labels=labels, pool="most_crystals = 8")
    loop, finished = drive(run)
    assert finished.reason.startswith("max_rounds")
    labelled = loop.labelled_atoms(2)
    assert len(labelled) == 4 + 3 + 3
    assert labelled[0].get_forces() == pytest.approx(2 * PairTeacher().get_property("forces", labelled[0]))
    assert run.path.exists()
    pinned = RunDirectory(run.path).manifest["label_settings"]
    assert pinned["identity"]["settings"] == {"weights": "abc"}
    assert main(["export", str(run.path), str(tmp_path / "x.extxyz")]) == EXIT_OK  # without starting the teacher
    test = RunDirectory(run.path).rounds.evaluation(2).test
    assert {"kind displaced", "kind strained", "kind sheared"} <= set(test.groups)
    assert {f"element {symbol}" for atoms in loop.test_atoms() for symbol in atoms.get_chemical_symbols()} <= set(
        test.groups
    )
    assert sum(test.groups[name].n_structures for name in test.groups if name.startswith("kind")) == test.n_structures
    page = (run.path / "live.html").read_text()
    assert "finished: max_rounds" in page
    assert "refresh" not in page
    assert "<svg" in page
    for name in ("kind sheared", "element Cu", "force RMSE"):
        assert name in page


def test_equal_labels_for_random_choice(tmp_path):
    counts = {}
    for strategy in ("fill-budget", "random"):
        labels = 'kind = "calculator"'
        run = make_run(tmp_path / strategy, strategy=strategy, labels=labels, pool="most_crystals = 9")
        drive(run)
        rounds = RunDirectory(run.path).rounds
        counts[strategy] = [rounds.summary(n).training_labels for n in rounds.numbers()]
    assert counts["fill-budget"] == counts["random"] == [4, 7, 10]


def test_a_budget_in_hours_ends_the_loop(tmp_path):
    run = make_run(tmp_path, labels='kind = "calculator"', stop="max_hours = 1e-9", pool="most_crystals = 6")
    assert "max_hours = 1e-09 hours is spent" in drive(run)[1].reason


def test_the_live_page_is_written_now_and_then_and_whole(tmp_path):
    run = make_run(tmp_path)
    clock = iter([0.0, 5.0, 20.0, 20.0, 21.0, 21.0, 21.0])
    page = LivePage(run, clock=lambda: next(clock))
    page.write("starting <now>")
    first = page.path.read_text()
    assert "starting &lt;now&gt;" in first
    assert "location.reload()" in first
    page.on_label("round 0: labels", 10, 100, 36.0)  # too soon
    assert page.path.read_text() == first
    page.on_label("round 0: labels", 20, 100, 36.0)
    assert re.search(r"round 0: labels: 20 of 100, 2000 per hour", page.path.read_text())
    page.on_label("round 0: labels", 100, 100, 72.0)  # the last one always
    assert "100 of 100" in page.path.read_text()
    assert page.path.read_text().endswith("</html>\n")


def test_toy_crystals_have_groups_where_the_source_says_so():
    named = [(name, atoms, {"prototype": name.split("-")[1]}) for name, atoms in toy_crystals(3)]
    from al_committee.cli.objects import _as_crystal

    assert [_as_crystal(item, "x").group for item in named] == ["cesiumchloride", "rocksalt", "zincblende"]
