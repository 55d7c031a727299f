"""Force fields in environments of their own: served bit for bit, restarted, ended; made whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from screen_cli.calculators import foreign, make_calculator
from screen_cli.calculators.environments import program
from screen_cli.calculators.environments.virtual import (
    ModelEnvironment,
    create_environment,
    environment_of,
    find_environment,
    list_environments,
    remove_environment,
)
from screen_cli.calculators.registered import calculator_identity
from screen_cli.errors import (
    CalculatorError,
    ConfigError,
    MissingExtraError,
    ModelEnvironmentError,
    UnknownNameError,
    UnsupportedElementError,
)
from screen_cli.plugins.records import EnvironmentRecipe

HERE = sys.executable  # an interpreter is an environment, too; the process is another in any case

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="servers are met at Unix sockets")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep environments, logs and sockets of the tests apart."""
    monkeypatch.setenv("SCREEN_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "environments"


@pytest.fixture
def odd_models(tmp_path, monkeypatch):
    """Write a module with calculators that misbehave, and put it where this interpreter finds it."""
    (tmp_path / "odd_models.py").write_text(
        """
import os, sys, time
import numpy as np
from ase.calculators.calculator import Calculator

class Springs(Calculator):
    "Knows H and C; other atoms end the process, stop it for long, or print into the way."
    implemented_properties = ["energy", "forces"]
    supported_elements = ["H", "C", "N", "O", "F", "Ne"]
    calls = 0

    def calculate(self, atoms, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        Springs.calls += 1
        if "N" in atoms.symbols: os._exit(7)
        if "O" in atoms.symbols: time.sleep(600)
        if "F" in atoms.symbols: raise ValueError("no fluorine today")
        if "Ne" in atoms.symbols: sys.exit("leaving")
        print('{"say": "results"}'); os.write(1, b"noise")
        self.results = {"energy": float(Springs.calls), "forces": -atoms.positions,
                        "forces_committee": np.stack([atoms.positions, -atoms.positions]),
                        "force_deviation": np.linalg.norm(atoms.positions, axis=1), "words": "none"}

from ase.calculators.emt import EMT

class SlowEMT(EMT):
    def calculate(self, *arguments, **keywords):
        time.sleep(0.1)
        super().calculate(*arguments, **keywords)

def refuses(**options):
    raise ImportError("no such library")
""",
        encoding="utf-8",
    )
    site = tmp_path / "bin"
    site.mkdir()
    python = site / "python"  # an interpreter whose environment holds that module
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{HERE}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return str(python)


def rattled(symbol="Cu", seed=1):
    """Return a displaced supercell."""
    atoms = bulk(symbol, "fcc", 3.6, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=seed)
    return atoms


def gone(pid, seconds=20.0):
    """Tell whether a process is gone, or only waits to be reaped, within some seconds."""
    for _ in range(int(seconds / 0.1)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_results_are_bit_for_bit_those_in_process():
    here, there = make_calculator("emt"), make_calculator("emt", environment=HERE)
    for seed in range(3):
        atoms, other = rattled(seed=seed), rattled(seed=seed)
        atoms.calc, other.calc = here, there
        assert other.get_potential_energy() == float(np.ravel(atoms.get_potential_energy())[0])
        np.testing.assert_array_equal(other.get_forces(), atoms.get_forces())
        np.testing.assert_array_equal(other.get_stress(), atoms.get_stress())
    several = there.predict([rattled(seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(several[2]["forces"], atoms.get_forces())
    there.close()


def test_a_server_that_dies_is_started_again_with_the_same_results():
    atoms = rattled()
    atoms.calc = make_calculator("emt", environment=HERE)
    before, first = atoms.get_forces(), atoms.calc.process_id
    os.kill(first, signal.SIGKILL)
    atoms.calc.reset()
    np.testing.assert_array_equal(atoms.get_forces(), before)
    assert atoms.calc.process_id != first
    atoms.calc.close()
    assert gone(atoms.calc.process_id)


def test_a_structure_over_which_the_server_dies_twice_is_refused_and_the_next_one_is_not(odd_models):
    calculator = make_calculator("ase:odd_models.Springs", environment=odd_models)
    bad, good = Atoms("N", positions=[[1, 0, 0]]), Atoms("H", positions=[[1, 2, 3]])
    bad.calc = good.calc = calculator
    with pytest.raises(CalculatorError, match="died twice over N.*exit code 7.*log"):
        bad.get_forces()
    np.testing.assert_array_equal(good.get_forces(), [[-1, -2, -3]])
    calculator.close()


def test_what_a_model_prints_and_raises_stays_apart_from_what_it_answers(odd_models):
    calculator = make_calculator("ase:odd_models.Springs", environment=odd_models)
    results = calculator.predict([Atoms("H", positions=[[1, 2, 3]])])[0]
    assert results["forces_committee"].shape == (2, 1, 3)
    np.testing.assert_allclose(results["force_deviation"], [np.sqrt(14)])
    assert "words" not in results
    for symbol, sentence in (("F", "no fluorine today"), ("Ne", "leaving")):
        atoms = Atoms(symbol, positions=[[1, 0, 0]], calculator=calculator)
        with pytest.raises(CalculatorError, match=sentence):
            atoms.get_forces()
    alien = Atoms("U", positions=[[0, 0, 0]], calculator=calculator)
    with pytest.raises(UnsupportedElementError, match="does not know U"):
        alien.get_forces()
    assert calculator.supported_elements == sorted(["H", "C", "N", "O", "F", "Ne"])
    calculator.close()


def test_one_failure_in_a_batch_says_so_and_harms_no_later_batch(odd_models):
    calculator = make_calculator("ase:odd_models.Springs", environment=odd_models)
    good, bad = Atoms("H", positions=[[1, 2, 3]]), Atoms("F", positions=[[1, 2, 3]])
    with pytest.raises(CalculatorError, match="fluorine"):
        calculator.predict([good, bad, good])
    assert len(calculator.predict([good, good])) == 2
    calculator.close()


def test_options_and_missing_libraries_are_refused_as_in_process(odd_models):
    with pytest.raises(ConfigError, match="asap_cutof"):
        make_calculator("emt", {"asap_cutof": True}, environment=HERE)
    with pytest.raises(ConfigError, match="download"):
        make_calculator("mace", environment=HERE)
    with pytest.raises(ImportError, match="no such library"):
        make_calculator("ase:odd_models.refuses", environment=odd_models)
    with pytest.raises(ConfigError, match="asap_cutof"):
        foreign("emt", environment=HERE, asap_cutof=True)
    with pytest.raises(MissingExtraError, match="no such library"):
        foreign("ase:odd_models.refuses", environment=odd_models)


def test_a_shared_server_serves_several_processes_and_ends_with_the_last():
    first = foreign("emt", environment=HERE, shared=True)
    ask = (
        "import sys; from screen_cli.calculators import foreign; from ase.build import bulk\n"
        "c=foreign('emt',environment=sys.argv[1],shared=True); a=bulk('Cu')\n"
        "a.calc=c; print(c.process_id, a.get_potential_energy())"
    )
    clients = [subprocess.Popen([sys.executable, "-c", ask, HERE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [client.communicate(timeout=120)[0].split() for client in clients]
    assert {int(pid) for pid, _ in said} == {first.process_id}
    assert len({energy for _, energy in said}) == 1
    pid = first.process_id
    assert not gone(pid, 0.3)
    first.close()
    assert gone(pid)


def test_nothing_outlives_a_client_that_is_killed_while_the_model_computes(odd_models):
    ask = (
        "import sys; from screen_cli.calculators import make_calculator; from ase import Atoms\n"
        "c=make_calculator('ase:odd_models.Springs',environment=sys.argv[1]); print(c.process_id, flush=True)\n"
        "Atoms('O',positions=[[0,0,0]],calculator=c).get_forces()"
    )
    client = subprocess.Popen([sys.executable, "-c", ask, odd_models], stdout=subprocess.PIPE, text=True)
    pid = int(client.stdout.readline())
    time.sleep(0.5)
    client.kill()
    client.wait()
    client.stdout.close()
    assert gone(pid)


def test_a_calculator_in_another_environment_is_the_same_if_the_versions_are():
    assert calculator_identity("emt", environment=HERE) == calculator_identity("emt")
    elsewhere = calculator_identity("sdnnff", environment=HERE) if environment_of("sdnnff") else None
    assert elsewhere is None


def test_environments_that_are_none_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, sentence in (
        (str(tmp_path / "empty"), "no Python environment"),
        (str(tmp_path / "absent"), "no such folder"),
        ("mace", "screen-cli env create mace"),
        ("../mace", "no such folder"),
        ("MACE;rm", "there is no environment"),
    ):
        with pytest.raises((ConfigError, UnknownNameError), match=sentence):
            find_environment(name)
    not_python = tmp_path / "not_python"
    not_python.write_text("#!/bin/sh\nexit 3\n")
    not_python.chmod(0o755)
    with pytest.raises(ModelEnvironmentError, match="exit code 3"):
        make_calculator("emt", environment=str(not_python))
    not_python.write_text("no program at all")
    with pytest.raises(ModelEnvironmentError, match="cannot be started"):
        make_calculator("emt", environment=str(not_python))


def wheel(folder, name="tiny_model", version="1.2"):
    """Write a wheel with one empty module; no network is needed to install it."""
    record = io.StringIO()
    files = {
        f"{name}.py": "VALUE = 3\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.write(f"{path},sha256={digest},{len(text)}\n")
    record.write(f"{name}-{version}.dist-info/RECORD,,\n")
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{name}-{version}.dist-info/RECORD", record.getvalue())
    return made


def test_an_environment_is_made_listed_found_and_removed(tmp_path, folder):
    recipe = EnvironmentRecipe(requirements=(str(wheel(tmp_path)),))
    said = []
    made = create_environment("tiny", recipe, say=said.append)
    assert [item.name for item in list_environments()] == ["tiny"]
    assert find_environment("tiny").python == made.python
    assert made.owners(["tiny_model"]) == {"tiny_model": "1.2"}
    assert len(said) == 2
    with pytest.raises(ModelEnvironmentError, match="exists"):
        create_environment("tiny", recipe)
    description = folder / "tiny" / "screen-cli.json"
    description.unlink()  # as if the creation had been killed
    assert environment_of("tiny") is None
    remove_environment("tiny")
    assert list(list_environments()) == []
    with pytest.raises(UnknownNameError):
        remove_environment("tiny")


def test_a_creation_that_fails_leaves_nothing_behind(tmp_path, folder, monkeypatch):
    python, pip = None, importlib.util.find_spec("pip")
    if pip is not None and shutil.which("uv") is None:
        # the environment borrows the pip that is here: to install a new one takes longer than all the rest
        (tmp_path / "borrowed").mkdir()
        (tmp_path / "borrowed" / "pip").symlink_to(Path(pip.origin).parent)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "borrowed"))
        python = str(tmp_path / "python")
        Path(python).write_text(
            f'#!/bin/sh\n[ "$2" != venv ] || set -- -m venv --without-pip "$3"\nexec "{HERE}" "$@"\n'
        )
        Path(python).chmod(0o755)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(
        ModelEnvironmentError, match=r"(?s)installing no-such-package.*nothing is left.*no-such-package-anywhere==1"
    ):
        create_environment("tiny", EnvironmentRecipe(requirements=("no-such-package-anywhere==1",)), python=python)
    assert not (folder / "tiny").exists()
    with pytest.raises(ConfigError, match="Python 2.6 to 2.7"):
        create_environment("tiny", EnvironmentRecipe(requirements=(), python=((2, 6), (2, 7))))
    with pytest.raises(ConfigError, match="expected letters"):
        create_environment("../tiny", EnvironmentRecipe(requirements=()))


def test_the_how_to_lists_every_recipe_and_what_was_tried():
    from screen_cli.plugins.manager import installed_plugins

    page = Path(__file__).parents[3] / "docs/howto/model-environments.md"
    if not page.exists():
        pytest.skip("the documentation is not part of the package")
    text = page.read_text(encoding="utf-8")
    for plugin in installed_plugins().records["calculators"].values():
        if plugin.environment is not None:
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{plugin.name}` |")]
            assert row.endswith(f"| {plugin.environment.tested or 'names'} |")


def test_every_recipe_pins_its_model_and_names_what_it_needs():
    from screen_cli.plugins.manager import installed_plugins

    plugins = installed_plugins().records["calculators"].values()
    recipes = {plugin.name: plugin.environment for plugin in plugins if plugin.environment is not None}
    assert {"sevennet", "chgnet", "mace", "mattersim", "orb", "hienet", "nequix", "matgl", "grace", "upet"} <= set(
        recipes
    )
    for name, recipe in recipes.items():
        own = [*recipe.requirements, *recipe.without_dependencies]
        assert any("==" in text for text in own) or name == "deepmd", name
        assert recipe.weights


@given(
    arrays=st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}/[0-9]{1,2}", fullmatch=True),
        npst.arrays(
            st.sampled_from([np.float64, np.float32, np.int64, np.bool_, ">f8", "<i4", np.complex128]),
            npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
        ),
        max_size=4,
    ),
    header=st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda key: key != "arrays"),
        st.text() | st.integers(-(2**53), 2**53) | st.booleans() | st.none(),
        max_size=4,
    ),
)
def test_a_message_comes_back_as_it_was_sent(arrays, header):
    stream = io.BytesIO()
    program.write_message(stream, header, arrays)
    stream.seek(0)
    found_header, found = program.read_message(stream)
    assert found_header == header
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("<")
    assert program.read_message(stream) is None


@given(st.binary(max_size=60))
def test_a_broken_message_is_an_error_and_never_runs_code(content):
    stream = io.BytesIO(content)
    try:
        program.read_message(stream)
    except (ValueError, EOFError, KeyError, TypeError, AttributeError):
        return


def test_arrays_of_objects_and_absurd_sizes_are_refused():
    for dtype, shape in (("|O", [1]), ("<f8", [1 << 40]), ("<f8", [-1])):
        line = json.dumps({"say": "x", "arrays": [["a/0", dtype, shape]]}).encode() + b"\n"
        with pytest.raises(ValueError, match="refused"):
            program.read_message(io.BytesIO(line + bytes(64)))


def test_a_run_loses_nothing_when_its_servers_are_killed(tmp_path, monkeypatch, odd_models, capsys):
    from screen_cli.cli import main

    monkeypatch.chdir(tmp_path)
    bulk("Cu", cubic=True).write("Cu.vasp")
    bulk("Ag", cubic=True).write("Ag.vasp")
    Path("screen.toml").write_text(
        f"""
[calculator]
name = "ase:odd_models.SlowEMT"
environment = "{odd_models}"
[source]
name = "files"
options = {{ paths = ["Cu.vasp", "Ag.vasp"] }}
[engine]
name = "local"
workers = 2
[displace]
supercell_length = 6.0
[conductivity]
enabled = false
""",
        encoding="utf-8",
    )
    driver = subprocess.Popen([sys.executable, "-m", "screen_cli", "run", "screen.toml", "--run-dir", "run"])
    killed = 0
    while driver.poll() is None:
        time.sleep(0.2)
        if killed < 3:
            killed += _kill_servers()
    assert driver.returncode == 0
    assert main(["show", "run", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["verify", "run"]) == 0
    assert not _servers()


def _servers():
    """Processes of this machine that serve a model of these tests."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 2 and words[1].endswith(b"environments/program.py"):
            environment = path.parent / "environ"
            try:
                own = os.environ["SCREEN_ENVIRONMENTS"].encode() in environment.read_bytes()
            except OSError:
                continue
            if own:
                found.append(int(path.parent.name))
    return found


def _kill_servers():
    """Kill them; give their number."""
    found = _servers()
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


def test_a_calculator_of_the_host_and_of_an_environment_are_told_apart_by_a_setting(folder, tmp_path, monkeypatch):
    folder.mkdir()
    made = folder / "nequix"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").symlink_to(HERE)
    (made / "screen-cli.json").write_text("{}")
    assert isinstance(environment_of("nequix"), ModelEnvironment)
    from importlib.util import find_spec

    from screen_cli.calculators.registered import calculator_environment

    if find_spec("nequix") is None:
        assert calculator_environment("nequix").name == "nequix"
    assert calculator_environment("nequix", "here") is None
    assert calculator_environment("emt") is None
    assert isinstance(make_calculator("emt"), Calculator)
