"""A source of labels in a process of its own, of this environment or another one; it may die, hang or leak.

The process runs :mod:`al_committee.labels.workers.teacher_program`, whose protocol is documented there.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.errors import LabelSourceError
from al_committee.labels.workers import guard, teacher_program

__all__ = ["TeacherDiedError", "TeacherProcess", "TeacherSettings", "TeacherTimeoutError"]

PROGRAM = Path(teacher_program.__file__)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""mallopt(3): large blocks stay with a worker instead of being mapped and cleared afresh for every label."""
STARTS = 5
"""Attempts at a start that is ended by a signal from outside; any other end at the start is final at once."""
OWN_SIGNALS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
}
OF_THIS_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


class TeacherDiedError(Exception):
    """The process ended while it labelled; the message holds its exit code and last words.

    Attributes
    ----------
    killed : bool
        By a signal from outside (most often the kernel, short of memory), not by what it did itself.
    """

    def __init__(self, message: str, *, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


class TeacherTimeoutError(Exception):
    """The process did not answer in time and was ended."""


@dataclass(frozen=True)
class TeacherSettings:
    """How a teacher's process is started.

    Parameters
    ----------
    factory : str
        ``module:attr`` in the teacher's environment: gives an ASE calculator, or an object with
        ``predict(structures)`` that returns a mapping with ``forces`` (eV/Å) and, where it has them, ``energy`` (eV)
        and ``stress`` (eV/Å³, Voigt) per structure.
    options : mapping of str to object
        Keywords of the factory, JSON-like.
    python : str
        Interpreter of the teacher's environment; empty for this one.
    path : sequence of str
        Folders where the factory's module may lie, besides the environment.
    threads : int
        Of BLAS and OpenMP.
    start_timeout_s : float
        Limit for importing and loading, s.
    """

    factory: str
    options: Mapping[str, object] = field(default_factory=dict)
    python: str = ""
    path: Sequence[str] = ()
    threads: int = 1
    start_timeout_s: float = 600.0


class TeacherProcess:
    """One running teacher; started when first asked, and again after its death.

    Parameters
    ----------
    settings : TeacherSettings
        How to start it.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._identity: dict[str, object] = {}
        self._ending: weakref.finalize[..., TeacherProcess] | None = None

    def __enter__(self) -> TeacherProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def identity(self) -> dict[str, object]:
        """Give the package's version and what the teacher says about itself.

        Raises
        ------
        LabelSourceError
            When the process cannot be started.
        """
        self._start()
        return self._identity

    def label(
        self, structures: Sequence[Atoms], timeout_s: float = 0.0
    ) -> list[dict[str, NDArray[np.float64] | float | str]]:
        """Label structures together.

        Parameters
        ----------
        structures : sequence of Atoms
            What determines their labels, nothing else.
        timeout_s : float
            For all of them, s; 0 for none.

        Returns
        -------
        list of dict
            ``forces`` (eV/Å), ``energy`` (eV) and ``stress`` (eV/Å³) as far as given, or ``reason`` and ``traceback``.

        Raises
        ------
        LabelSourceError
            The process cannot be started.
        TeacherDiedError, TeacherTimeoutError
            It was started and did not answer.
        """
        self._start()
        arrays: dict[str, NDArray[np.generic]] = {}
        for k, atoms in enumerate(structures):
            own = {**atoms.arrays, "cell": atoms.cell.array, "pbc": np.asarray(atoms.pbc)}
            arrays.update({f"{name}/{k}": np.asarray(value) for name, value in own.items()})
        notes = [{key: _plain(value) for key, value in atoms.info.items()} for atoms in structures]
        header, found = self._ask({"do": "label", "notes": notes}, arrays, timeout_s)
        results = header["results"]
        for name, array in found.items():
            what, _, index = name.partition("/")
            results[int(index)][what] = array
        return list(results)

    def kill(self) -> None:
        """Kill the process, from any thread; whoever waits for its answer is told that it died."""
        if self._process is not None:
            _kill(self._process)

    def close(self) -> None:
        """End the process and everything it started; not while another thread waits for its answer."""
        self._process = self._words = None
        ending, self._ending = self._ending, None
        if ending is not None:
            ending()

    def _start(self) -> None:
        """Start the process when there is none; a start that is killed from outside is tried again."""
        if self._process is not None and self._process.poll() is None:
            return
        wanted = self.settings
        message = {"do": "start", "factory": wanted.factory, "options": dict(wanted.options), "path": list(wanted.path)}
        for attempt in range(1, STARTS + 1):
            self.close()
            self._launch()
            try:
                header, _ = self._ask(message, {}, wanted.start_timeout_s)
                break
            except (TeacherDiedError, TeacherTimeoutError) as error:
                if getattr(error, "killed", False) and attempt < STARTS:
                    continue
                text = f"the source of labels {wanted.factory!r} fails at its start: {error}"
                raise LabelSourceError(text) from None
        if header["say"] != "ready":
            self.close()
            raise LabelSourceError(f"the source of labels {wanted.factory!r} fails at its start: {header['reason']}")
        self._identity = header["identity"]

    def _launch(self) -> None:
        """Start the program, marked, and the guard that ends what is marked when this process dies."""
        wanted = self.settings
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        mark = f"{os.environ.get(guard.VARIABLE, '')}{os.getpid()}-{uuid.uuid4().hex}:"
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        started = _Started(os.getpid(), mark, watcher, self._words)
        self._ending = weakref.finalize(self, started.end)
        try:
            self._process = subprocess.Popen(
                [wanted.python or sys.executable, str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                env={**_environment(wanted), guard.VARIABLE: mark},
                start_new_session=True,
                bufsize=0,
            )
            started.process = self._process
        except OSError as error:
            self.close()
            raise LabelSourceError(
                f"the interpreter {wanted.python or sys.executable} of the labels' source cannot be started: {error}."
            ) from error

    def _ask(
        self, header: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]], timeout_s: float
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        """Send a message and wait for its answer."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        reader = _Reader(process.stdout, time.monotonic() + timeout_s if timeout_s else None)
        try:
            teacher_program.write_message(process.stdin, header, arrays)
            answer = teacher_program.read_message(reader.line, reader.bytes)
        except TimeoutError:
            self.close()
            raise TeacherTimeoutError(f"no answer in {timeout_s:g} s") from None
        except (BrokenPipeError, EOFError, ValueError):
            answer = None
        if answer is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            last = self._last_words()
            code = process.poll()
            self.close()
            killed = code is not None and code < 0 and -code not in OWN_SIGNALS
            raise TeacherDiedError(f"the process ended (exit code {code}){': ' + last if last else ''}", killed=killed)
        return answer

    def _last_words(self) -> str:
        """Give the last line that the process wrote to standard error."""
        if self._words is None:
            return ""
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - 4000))
        lines = [line.strip() for line in self._words.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""


@dataclass
class _Started:
    """What was started for one teacher; ended when it is closed, forgotten, or this process ends."""

    owner: int
    mark: str
    watcher: subprocess.Popen[bytes]
    words: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        """End the teacher, what it started and its guard."""
        if self.owner != os.getpid():
            return  # a forked copy
        if self.process is not None:
            _end(self.process)
            guard.kill_marked(self.mark)
        self.watcher.kill()
        self.watcher.wait()
        assert self.watcher.stdin is not None
        with contextlib.suppress(OSError):
            self.watcher.stdin.close()
        self.words.close()


class _Reader:
    """Reads lines and bytes from a pipe until a deadline."""

    def __init__(self, stream: IO[bytes], deadline: float | None) -> None:
        self.stream, self.deadline = stream, deadline
        self.held = b""

    def _more(self) -> None:
        """Wait for more."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.stream, selectors.EVENT_READ)
            left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            if not selector.select(left):
                raise TimeoutError
        piece = os.read(self.stream.fileno(), 1 << 20)
        if not piece:
            raise EOFError
        self.held += piece

    def line(self) -> bytes:
        """Read a line."""
        while b"\n" not in self.held:
            self._more()
        line, _, self.held = self.held.partition(b"\n")
        return line

    def bytes(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        parts, missing = [self.held[:count]], count - len(self.held[:count])
        self.held = self.held[count:]
        while missing:
            self._more()
            parts.append(self.held[:missing])
            self.held = self.held[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def _plain(value: object) -> object:
    """Give a number or text of ``info``."""
    return value.item() if isinstance(value, np.generic) else value


def _environment(settings: TeacherSettings) -> dict[str, str]:
    """Variables of the process: its threads; those of this environment only where it is this one."""
    variables = {**KEEP_FREED_MEMORY, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(settings.threads))}
    if settings.python:
        for name in OF_THIS_ENVIRONMENT:
            variables.pop(name, None)
    return variables


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group, and wait for it."""
    _kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
