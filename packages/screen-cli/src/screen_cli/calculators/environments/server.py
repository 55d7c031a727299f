"""The serving process of a force field, as its clients see it: started when first asked, and again after its death."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from ase import Atoms
from filelock import FileLock
from numpy.typing import NDArray

from screen_cli.calculators.environments import program
from screen_cli.calculators.environments.program import Header
from screen_cli.calculators.environments.virtual import ModelEnvironment, environments_folder
from screen_cli.errors import ModelEnvironmentError

_PROGRAM = Path(program.__file__)
_MARK = "SCREEN_CLI_WORKER_OF"
"""Environment variable by which an engine knows what its workers started (:mod:`screen_cli.engines.guard`)."""
_SHARED: list[subprocess.Popen[bytes]] = []
"""Shared servers that this process started: they outlast their calculators, and are reaped when the next one starts."""
_KEPT_LOGS = 50
_CONNECT_LIMIT = 60.0
_STARTS = 4


@dataclass(frozen=True)
class ServedCalculator:
    """Which force field a server holds, and where.

    Parameters
    ----------
    name : str
        Of the calculator.
    environment : ModelEnvironment
        Where it lives.
    factory : str
        ``module:attribute`` there.
    options : dict
        Keywords of the factory, JSON-like.
    shared : bool
        One server for all processes of this user that ask for the same (a model on a GPU is loaded once), or one for
        each process (on CPUs every process has its own cores).
    """

    name: str
    environment: ModelEnvironment
    factory: str
    options: Mapping[str, object] = field(default_factory=dict)
    shared: bool = False

    def key(self) -> str:
        """Hash of all that must be equal for two processes to share a server."""
        stat = _PROGRAM.stat()
        told = [str(self.environment.python), self.factory, dict(self.options), _threads(), stat.st_mtime_ns]
        told += [os.environ.get("CUDA_VISIBLE_DEVICES", "")]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class ServerDiedError(Exception):
    """The server ended while it was asked; the message holds how, and its last words."""


class ModelServer:
    """A connection to a server; both are made anew when the server has died, and in a forked process.

    Parameters
    ----------
    served : ServedCalculator
    """

    def __init__(self, served: ServedCalculator) -> None:
        self.served = served
        self._owner = 0
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(os.devnull)
        self.introduction: Header = {}

    def ask(self, header: Header, structures: Sequence[Atoms] = ()) -> tuple[Header, dict[str, NDArray[np.generic]]]:
        """Send a request and wait for its answer.

        Raises
        ------
        ModelEnvironmentError
            The server cannot be started.
        ServerDiedError
            It died over the request.
        ScreenError
            It refuses to make the calculator.
        """
        self.start()
        notes, arrays = program.pack_structures(structures)
        return self._exchange({**header, "notes": notes} if notes else header, arrays)

    def start(self) -> None:
        """Connect, where there is no connection, to a server that holds the calculator.

        Raises
        ------
        ModelEnvironmentError
        """
        if self._socket is not None and self._owner == os.getpid():
            return
        self._drop()
        self._owner = os.getpid()
        request: Header = {"do": "start", "factory": self.served.factory, "options": dict(self.served.options)}
        for attempt in range(1, _STARTS + 1):
            try:
                self._connect()
                self.introduction, _ = self._exchange(request, {})
                return
            except ServerDiedError as error:  # killed from outside, or a shared one left as its last client did
                if attempt == _STARTS:
                    name = self.served.name
                    raise ModelEnvironmentError(f"the server of '{name}' fails at its start: {error}") from None
                time.sleep(0.1 * attempt)

    def close(self) -> None:
        """Leave; a server without clients ends."""
        self._drop()

    def __del__(self) -> None:
        """Leave where nobody did, but at the end of the interpreter, when the server sees it go."""
        if not sys.is_finalizing():
            self._drop()

    @property
    def process_id(self) -> int:
        """Process of the server; 0 before it was started."""
        pid = self.introduction.get("pid", 0)
        return pid if isinstance(pid, int) else 0

    # -- parts ----------------------------------------------------------------------------------------------

    def _exchange(
        self, header: Header, arrays: Mapping[str, NDArray[np.generic]]
    ) -> tuple[Header, dict[str, NDArray[np.generic]]]:
        """Write and read one message."""
        assert self._stream is not None
        try:
            program.write_message(self._stream, header, arrays)
            answer = program.read_message(self._stream)
        except (OSError, EOFError, ValueError):
            answer = None
        except BaseException:  # an interrupt: what is still to come answers a question nobody remembers
            self._drop()
            raise
        if answer is None:
            how = self._how_it_ended()
            self._drop()
            raise ServerDiedError(how)
        return answer

    def _connect(self) -> None:
        """Start a server, or find the shared one."""
        if not self.served.shared:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._process, self._log = _spawn(self.served, [str(theirs.fileno())], theirs.fileno())
            except BaseException:
                ours.close()
                raise
            self._use(ours)
            return
        folder = _meeting_place()
        path = folder / f"{self.served.key()}.sock"
        with FileLock(folder / f"{self.served.key()}.lock"):
            found = _dial(path)
            if found is None:
                path.unlink(missing_ok=True)
                process, self._log = _spawn(self.served, ["--listen", str(path)], None)
                _SHARED[:] = [known for known in (*_SHARED, process) if known.poll() is None]
                found = _wait_for(path, process)
        self._use(found)

    def _use(self, connection: socket.socket) -> None:
        """Speak over a connection."""
        self._socket = connection
        self._stream = cast(BinaryIO, connection.makefile("rwb"))

    def _drop(self) -> None:
        """Give up the connection, and the process that only it served."""
        for item in (self._stream, self._socket):
            if item is not None:
                with contextlib.suppress(OSError):
                    item.close()
        process, self._socket, self._stream, self._process = self._process, None, None, None
        if process is not None and self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            _kill(process)
            with contextlib.suppress(OSError):
                if not self._log.stat().st_size:
                    self._log.unlink()

    def _how_it_ended(self) -> str:
        """Say how the server ended, with its last words."""
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(10)
        how = "it ended" if code is None else f"it left with exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"it died of {signal.Signals(-code).name}"
        last = _last_line(self._log)
        return f"{how}{f', after it had said: {last}' if last else ''}. Its log is {self._log}."


def _threads() -> list[str]:
    """Thread limits of this process, which its servers keep."""
    return [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")]


def _spawn(
    served: ServedCalculator, arguments: list[str], inherited: int | None
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a server; its output goes to a log of its own.

    Raises
    ------
    ModelEnvironmentError
        Its interpreter cannot be started.
    """
    variables = served.environment.variables()
    if served.shared and _MARK in variables:  # no worker's own: it goes with the whole engine
        variables[_MARK] = f"{variables[_MARK].partition(':')[0]}:shared:"
    log, path = _new_log(served.name)
    try:
        process = subprocess.Popen(
            [str(served.environment.python), str(_PROGRAM), *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables,
            pass_fds=() if inherited is None else (inherited,),
            process_group=None if served.shared else 0,
            start_new_session=served.shared,
        )  # fmt: skip
    except OSError as error:
        raise ModelEnvironmentError(
            f"the Python of the environment '{served.environment.name}' cannot be started: {error}."
        ) from error
    finally:
        log.close()
    return process, path


def _new_log(name: str) -> tuple[BinaryIO, Path]:
    """Open a log beside the environments, or where temporary files go; the oldest ones are deleted."""
    folder = environments_folder() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for path in old[: max(0, len(old) - _KEPT_LOGS + 1)]:
            path.unlink(missing_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    moment = time.strftime("%Y%m%dT%H%M%S")
    descriptor, made = tempfile.mkstemp(prefix=f"{name}-{moment}-{os.getpid()}-", suffix=".log", dir=folder)
    return cast(BinaryIO, os.fdopen(descriptor, "wb", buffering=0)), Path(made)


def _last_line(log: Path) -> str:
    """Give the last line of a log that says something."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def _meeting_place() -> Path:
    """Give the folder of the shared servers' sockets: this user's alone, and short, since a socket's path must be.

    Raises
    ------
    ModelEnvironmentError
        It is another user's.
    """
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = base / f"screen-cli-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    stat = folder.lstat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        raise ModelEnvironmentError(f"{folder} is open to others; servers are not met there. Remove it.")
    return folder


def _dial(path: Path) -> socket.socket | None:
    """Connect to a server; None where nobody listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """Connect as soon as a new server listens.

    Raises
    ------
    ModelEnvironmentError
        It never does.
    """
    end = time.monotonic() + _CONNECT_LIMIT
    for _ in _until(end):
        found = _dial(path)
        if found is not None:
            return found
        if process.poll() is not None:
            break
    _kill(process)
    raise ModelEnvironmentError(f"the server did not come up within {_CONNECT_LIMIT:g} s (exit code {process.poll()}).")


def _until(end: float) -> Iterator[None]:
    """Iterate in small steps of time until a moment."""
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
