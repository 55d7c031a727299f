"""Prove that plugins load: each module in a process of its own, so that one cannot help or hurt another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec

from screen_cli.plugins.manager import PluginRegistry
from screen_cli.plugins.records import PluginRecord

_IMPORT = """
import importlib, json, sys, time, warnings
warnings.simplefilter("ignore")
factories, requires = json.loads(sys.argv[1]), sys.argv[2:]
answers = []
for factory in factories:
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
    answers.append({"state": state, "remark": remark, "seconds": time.perf_counter() - start})
print("\\n" + json.dumps(answers))
"""

# phono3py swallows every exception of its own plugins, so each is loaded again here, in the open. It lists its methods
# nowhere in public; its refusal of an unknown one names them.
_PHONO3PY = """
import json, re, time, warnings
from importlib.metadata import entry_points
warnings.simplefilter("ignore")
start = time.perf_counter()
from phono3py.conductivity import factory
def methods():
    try:
        factory.conductivity_calculator(None, [], [], method="?")
    except NotImplementedError as error:
        return set(re.findall("'([^']+)'", str(error).partition("Registered")[2]))
    return set()
offered = methods()
rows = []
for point in entry_points(group="phono3py.conductivity"):
    began = time.perf_counter()
    try:
        point.load()()
        missing = methods() - offered
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
        Import time in a fresh process, after those of the same module.
    remark : str
        Why not ok, and what to install.
    """

    kind: str
    name: str
    state: str
    seconds: float
    remark: str = ""


def check_plugins(
    registry: PluginRegistry, time_limit: float, told: Callable[[int, int], None] = lambda done, total: None
) -> list[CheckResult]:
    """Import each factory's module in a process of its own; factories of one module share it.

    Parameters
    ----------
    registry : PluginRegistry
    time_limit : float
        Seconds per import.
    told : callable
        Gets how many imports are done, and of how many.
    """
    results = [
        CheckResult("entry point", broken.name, "broken", 0.0, f"{broken.reason} ({broken.distribution})")
        for broken in registry.broken
    ]
    together: dict[tuple[str, tuple[str, ...]], list[tuple[str, PluginRecord[object]]]] = {}
    for kind, record in registry:
        alike = (record.factory.partition(":")[0], tuple(getattr(record, "requires", ())))
        together.setdefault(alike, []).append((kind, record))
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(_check, group, time_limit) for group in together.values()]
        variants = pool.submit(check_phono3py, time_limit)
        for done, _ in enumerate(as_completed([*waiting, variants]), start=1):
            told(done, len(waiting) + 1)
        results += [result for future in waiting for result in future.result()]
    order = {(kind, record.name): place for place, (kind, record) in enumerate(registry)}
    return sorted(results, key=lambda result: order.get((result.kind, result.name), -1)) + variants.result()


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


def _check(group: Sequence[tuple[str, PluginRecord[object]]], time_limit: float) -> list[CheckResult]:
    """Check records whose factories stand in one module."""
    requires: tuple[str, ...] = getattr(group[0][1], "requires", ())
    factories = [record.factory for _, record in group]
    missing = next((name for name in requires if find_spec(name.partition(".")[0]) is None), None)
    if missing is not None:
        answers = tuple(Answer("absent", f"{missing} is not installed", 0.0) for _ in factories)
    else:
        answers = run_in_subprocess(_IMPORT, (json.dumps(factories), *requires), time_limit)
        if len(answers) != len(factories):  # the process ended, or took too long
            answers = answers[:1] * len(factories)
    return [_judge(kind, record, answer) for (kind, record), answer in zip(group, answers, strict=True)]


def _judge(kind: str, record: PluginRecord[object], answer: Answer) -> CheckResult:
    """Say how one record fared."""
    remark = answer.remark
    if answer.state == "absent":
        if record.pip:
            remark += f"; pip install '{record.pip}'"
        if getattr(record, "environment", None) is not None:
            remark += f"; screen-cli env create {record.name}"
        if not record.pip and not getattr(record, "requires", ()):
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
