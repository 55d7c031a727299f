"""Virtual environments for force fields: made from a recipe, found by name, looked at, removed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from screen_cli.errors import ConfigError, ModelEnvironmentError, unknown_name
from screen_cli.plugins.records import EnvironmentRecipe

_DESCRIPTION = "screen-cli.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_OF_THIS_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class ModelEnvironment:
    """A Python environment in which a force field lives.

    Parameters
    ----------
    name : str
        Its name, or its path where it was not made here.
    python : pathlib.Path
        Its interpreter.
    about : mapping
        What it was made from and when; empty where it was not made here.
    """

    name: str
    python: Path
    about: Mapping[str, object]

    def versions(self, distributions: Sequence[str]) -> dict[str, str]:
        """Versions of distributions that are installed in it, by canonical name.

        Raises
        ------
        ModelEnvironmentError
            Its Python does not run.
        """
        program = (
            "import sys,json,importlib.metadata as m\n"
            "found={}\n"
            "for name in sys.argv[1:]:\n"
            "    try: found[name]=m.version(name)\n"
            "    except m.PackageNotFoundError: pass\n"
            "print(json.dumps(found))"
        )
        return dict(json.loads(_ask(self, program, distributions)))

    def owners(self, modules: Sequence[str]) -> dict[str, str]:
        """Distributions that hold modules, and their versions.

        Raises
        ------
        ModelEnvironmentError
            Its Python does not run.
        """
        program = (
            "import sys,json,importlib.metadata as m\n"
            "owners=m.packages_distributions()\n"
            "print(json.dumps({d:m.version(d) for name in sys.argv[1:] for d in owners.get(name,[])}))"
        )
        return dict(json.loads(_ask(self, program, modules)))

    def run(self, program: str) -> None:
        """Run a line of Python in it.

        Raises
        ------
        ModelEnvironmentError
            It fails.
        """
        _ask(self, program, ())

    def variables(self) -> dict[str, str]:
        """Environment variables of a process in it: those of this one, without what binds them to this Python."""
        kept = {name: value for name, value in os.environ.items() if name not in _OF_THIS_ENVIRONMENT}
        return kept | {"PATH": f"{self.python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def environments_folder() -> Path:
    """Give the folder of the environments: ``SCREEN_ENVIRONMENTS``, else below the user's data folder."""
    named = os.environ.get("SCREEN_ENVIRONMENTS")
    if named:
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "screen-cli" / "environments"


def list_environments() -> Iterator[ModelEnvironment]:
    """Iterate over the environments that were made here and are whole."""
    for description in sorted(environments_folder().glob(f"*/{_DESCRIPTION}")):
        found = _read(description.parent)
        if found is not None:
            yield found


def find_environment(name: str) -> ModelEnvironment:
    """Find an environment by the name it was made with, or by its folder or interpreter.

    Parameters
    ----------
    name : str
        A name of ``screen-cli env list``, the folder of any virtual or conda environment, or a Python interpreter.

    Raises
    ------
    ConfigError
        There is none.
    """
    path = Path(name).expanduser()
    if path.is_dir() and os.sep in name:
        python = _python_of(path)
        if not python.exists():
            raise ConfigError(f"environment '{name}' has no {python.relative_to(path)}: it is no Python environment.")
        return ModelEnvironment(name, python.absolute(), {})
    if path.is_file() and os.sep in name:
        return ModelEnvironment(name, path.absolute(), {})
    if os.sep in name:
        raise ConfigError(f"environment '{name}': there is no such folder or interpreter.")
    found = _read(environments_folder() / name) if _NAME.fullmatch(name) else None
    if found is None:
        known = [environment.name for environment in list_environments()]
        if not known:
            raise ConfigError(f"there is no environment '{name}'. Make it: screen-cli env create {name}")
        raise unknown_name("environment", name, known)
    return found


def environment_of(calculator: str) -> ModelEnvironment | None:
    """Give the environment that was made for a calculator, if there is one."""
    return _read(environments_folder() / calculator) if _NAME.fullmatch(calculator) else None


def create_environment(
    name: str,
    recipe: EnvironmentRecipe,
    *,
    python: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ModelEnvironment:
    """Make a virtual environment from a recipe; this is the one place that uses the network.

    Parameters
    ----------
    name : str
        Of the environment: its calculator's.
    recipe : EnvironmentRecipe
    python : str, optional
        Interpreter to make it with; default: this one, or the first on the path that the recipe allows.
    say : callable
        Gets each step in a phrase.

    Returns
    -------
    ModelEnvironment

    Raises
    ------
    ConfigError
        The name is none; no Python is fit.
    ModelEnvironmentError
        There is one already, another process makes it, or the installation fails; nothing is left behind.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"environment '{name}': expected letters a-z, digits, '.', '-' and '_'.")
    folder = environments_folder() / name
    if _read(folder) is not None:
        raise ModelEnvironmentError(
            f"the environment '{name}' exists: {folder}. Remove it: screen-cli env remove {name}"
        )
    interpreter = _fit_python(recipe.python, python)
    with _alone(name):
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted creation left
        try:
            for line, command in _steps(folder, interpreter, recipe):
                say(line)
                _install(command, line)
            environment = ModelEnvironment(name, _python_of(folder), {})
            about = {
                "python": ".".join(map(str, _version(interpreter))),
                "requirements": list(recipe.requirements),
                "without_dependencies": list(recipe.without_dependencies),
                "versions": environment.versions(_distributions(recipe)),
                "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            (folder / _DESCRIPTION).write_text(json.dumps(about, indent=1), encoding="utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return ModelEnvironment(name, _python_of(folder), about)


def remove_environment(name: str) -> Path:
    """Delete an environment that was made here; give its folder.

    Raises
    ------
    ConfigError
        There is none of that name here.
    """
    folder = environments_folder() / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        raise unknown_name("environment", name, [environment.name for environment in list_environments()])
    with _alone(name):
        (folder / _DESCRIPTION).unlink(missing_ok=True)  # from here on it is none
        shutil.rmtree(folder)
    return folder


def disk_use(environment: ModelEnvironment) -> int:
    """Bytes on disk of an environment that was made here."""
    total = 0
    for folder, _, files in os.walk(environment.python.parent.parent):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


# -- parts ----------------------------------------------------------------------------------------------------


def _read(folder: Path) -> ModelEnvironment | None:
    """Read an environment; None where there is none, or one that was never finished."""
    try:
        about = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    python = _python_of(folder)
    return ModelEnvironment(folder.name, python, about) if isinstance(about, dict) and python.exists() else None


def _python_of(folder: Path) -> Path:
    """Interpreter of a virtual or conda environment."""
    if sys.platform == "win32":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def _ask(environment: ModelEnvironment, program: str, arguments: Sequence[str]) -> str:
    """Run a line of Python in an environment."""
    try:
        done = subprocess.run(
            [str(environment.python), "-c", program, *arguments],
            capture_output=True, text=True, timeout=120, env=environment.variables(), check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ModelEnvironmentError(
            f"the Python of the environment '{environment.name}' does not run: {error}."
        ) from error
    return done.stdout.splitlines()[-1] if done.stdout.strip() else "{}"


def _version(python: str) -> tuple[int, int]:
    """Version of an interpreter, (major, minor); (0, 0) where it does not run."""
    program = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0, 0
    return major, minor


def _fit_python(allowed: tuple[tuple[int, int], tuple[int, int]], named: str | None) -> str:
    """Find an interpreter that a recipe allows.

    Raises
    ------
    ConfigError
        There is none.
    """
    low, high = allowed
    wanted = f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]}"
    if named is not None:
        found = _version(named)
        if not low <= found <= high:
            raise ConfigError(f"'{named}' is Python {found[0]}.{found[1]}, expected {wanted}.")
        return named
    if low <= sys.version_info[:2] <= high:
        return sys.executable
    for minor in range(high[1], low[1] - 1, -1):
        path = shutil.which(f"python{high[0]}.{minor}")
        if path and _version(path) == (high[0], minor):
            return path
    raise ConfigError(f"no {wanted} is on the path. Install one, and name it: screen-cli env create … --python PATH")


def _steps(folder: Path, python: str, recipe: EnvironmentRecipe) -> Iterator[tuple[str, list[str]]]:
    """Iterate over the commands that make an environment, each with what it does."""
    uv = shutil.which("uv")
    inside = str(_python_of(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    if uv:
        yield "making the environment", [uv, "venv", "--python", python, str(folder)]
        install = [uv, "pip", "install", "--python", inside]
    else:
        yield "making the environment", [python, "-m", "venv", str(folder)]
        install = [inside, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    for group in recipe.groups():
        yield f"installing {', '.join(group)}", [*install, *group]
    if recipe.without_dependencies:
        names = recipe.without_dependencies
        yield f"installing {', '.join(names)} without dependencies", [*install, "--no-deps", *names]


def _install(command: Sequence[str], what: str) -> None:
    """Run one step; its output is shown when it fails.

    Raises
    ------
    ModelEnvironmentError
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ModelEnvironmentError(f"{what} failed: {error}.") from error
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        first = next((k for k, line in enumerate(lines) if "error" in line.lower()), 0)
        errors = lines[first:]  # uv says the cause in the lines after it
        last = "\n  ".join(errors[-8:])
        raise ModelEnvironmentError(
            f"{what} failed with exit code {done.returncode}; nothing is left behind:\n  {last}"
        )


def _distributions(recipe: EnvironmentRecipe) -> list[str]:
    """Names of the distributions that a recipe names."""
    names = [re.split(r"[<>=!~;\[ @]", text, maxsplit=1)[0] for text in recipe.all_requirements()]
    return sorted(set(names))


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep other processes from making or removing the same environment.

    Raises
    ------
    ModelEnvironmentError
        One does.
    """
    base = environments_folder()
    base.mkdir(parents=True, exist_ok=True)
    lock = FileLock(base / f".{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ModelEnvironmentError(f"another process makes or removes the environment '{name}'.") from None
    try:
        yield
    finally:
        lock.release()
