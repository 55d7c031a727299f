"""Prove that plugins load: each in a process of its own, so that one cannot help or hurt another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from screen_cli.plugins.manager import PluginRegistry
from screen_cli.plugins.records import PluginRecord

_IMPORT = """
import importlib, json, sys, time, warnings
warnings.simplefilter("ignore")
factory, requires = sys.argv[1], sys.argv[2:]
module, _, attribute = factory.partition(":")
start = time.perf_counter()
try:
    for name in requires:
        importlib.import_module(name)
    getattr(importlib.import_module(module), attribute)
    state, remark = "ok", ""
except ModuleNotFoundError as error:
    state, remark = "absent", f"{error.name} is not installed"
except BaseException as error:
    state, remark = "broken", f"{type(error).__name__}: {error}"
print("\\n" + json.dumps([{"state": state, "remark": remark, "seconds": time.perf_counter() - start}]))
"""

# phono3py swallows every exception of its own plugins, so each is loaded again here, in the open
_PHONO3PY = """
import json, sys, time, warnings
from importlib.metadata import entry_points
warnings.simplefilter("ignore")
start = time.perf_counter()
from phono3py.conductivity import factory
offered = set(getattr(factory, "_REGISTRY", {}))
rows = []
for point in entry_points(group="phono3py.conductivity"):
    began = time.perf_counter()
    try:
        point.load()()
        missing = set(getattr(factory, "_REGISTRY", {})) - offered
        state = "broken" if missing else "ok"
        remark = f"phono3py did not load it at import: {sorted(missing)}" if missing else "phono3py offers it"
    except BaseException as error:
        state, remark = "broken", f"{type(error).__name__}: {error}"
    rows.append({"name": point.name, "state": state, "remark": remark, "seconds": time.perf_counter() - began})
print("\\n" + json.dumps(rows))
"""


@dataclass(frozen=True)
class CheckResult:
    """How one factory fared.

    Parameters
    ----------
    kind, name : str
    state : {"ok", "absent", "broken"}
    seconds : float
        Import time in a fresh process.
    remark : str
        Why not ok, and what to install.
    """

    kind: str
    name: str
    state: str
    seconds: float
    remark: str = ""


def check_plugins(registry: PluginRegistry, time_limit: float) -> list[CheckResult]:
    """Import each factory in a subprocess.

    Parameters
    ----------
    time_limit : float
        Seconds per import.
    """
    results = [
        CheckResult("entry point", broken.name, "broken", 0.0, f"{broken.reason} ({broken.distribution})")
        for broken in registry.broken
    ]
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) // 2)) as pool:
        results += pool.map(lambda item: _check(item[0], item[1], time_limit), list(registry))
    return results + check_phono3py(time_limit)


def check_phono3py(time_limit: float) -> list[CheckResult]:
    """Check that phono3py really offers every transport variant installed for it."""
    return [
        CheckResult("phono3py variant", answer.name or "phono3py", answer.state, answer.seconds, answer.remark)
        for answer in run_in_subprocess(_PHONO3PY, (), time_limit)
    ]


@dataclass(frozen=True)
class Answer:
    """What a subprocess says of one thing that it loaded.

    Parameters
    ----------
    state : {"ok", "absent", "broken"}
    remark : str
    seconds : float
    name : str
        Empty where there is only one.
    """

    state: str
    remark: str
    seconds: float
    name: str = ""


def _check(kind: str, record: PluginRecord[object], time_limit: float) -> CheckResult:
    """Check one record."""
    requires: tuple[str, ...] = getattr(record, "requires", ())
    (answer,) = run_in_subprocess(_IMPORT, (record.factory, *requires), time_limit)
    remark = answer.remark
    if answer.state == "absent":
        if record.pip:
            remark += f"; pip install '{record.pip}'"
        elif not requires:
            return CheckResult(kind, record.name, "broken", answer.seconds, remark)
    downloads: str = getattr(record, "downloads", "")
    if answer.state == "ok" and downloads:
        remark = f"weights: {downloads}"
    return CheckResult(kind, record.name, answer.state, answer.seconds, remark)


def run_in_subprocess(code: str, arguments: Iterable[str], time_limit: float) -> tuple[Answer, ...]:
    """Run Python code that prints JSON on its last line; a crash or timeout becomes one broken answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return (Answer("broken", f"import took longer than {time_limit:g} s", time_limit),)
    try:
        return tuple(Answer(**row) for row in json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        tail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return (Answer("broken", f"import ended the process: {tail[0]}", 0.0),)
