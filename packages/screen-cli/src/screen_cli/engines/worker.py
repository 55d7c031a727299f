"""The worker process: takes one task at a time from its engine, and says how it ended."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from screen_cli.engines import TaskResult
from screen_cli.engines.messages import Broken, Ended, Load, Message, Ready, Run, listen, receive, send
from screen_cli.engines.processes import end_with_parent

_LEFT = "the calculator, or a library that it calls, ended with {}, as a program does that gives up"


def serve(connection: Connection, driver: int, memory: int) -> None:
    """Work until the engine closes the connection (the target of every worker process).

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        One end of a socket pair.
    driver : int
        Process id of the engine; the worker does not outlive it.
    memory : int
        Most private memory this process may ask for, bytes.
    """
    with contextlib.suppress(OSError):
        os.setsid()  # a group of its own: Ctrl-C is for the driver, and a kill reaches what a calculator started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(driver)
    _limit_memory(memory)
    sys.stdout.flush()
    os.dup2(2, 1)  # what calculators print is no data of the command line
    descriptor = connection.fileno()
    surroundings = Surroundings()

    def report(message: Message) -> None:
        if surroundings.are_own():
            send(descriptor, message)

    listen(report)
    function: Callable[[str], object] | None = None
    while (message := receive(descriptor)) is not None:
        if isinstance(message, Load):
            try:
                function = pickle.loads(message.function)
            except BaseException:
                send(descriptor, Broken(traceback.format_exc()))
                return
            send(descriptor, Ready())
        elif isinstance(message, Run) and function is not None:
            result = run_task(function, message.task)
            if not surroundings.are_own():
                os._exit(0)  # a fork that a calculator forgot: the task is its parent's
            surroundings.restore()
            send(descriptor, Ended(result, _own_memory()))


class Surroundings:
    """What a calculator may change of the process it runs in, put back before the next task.

    Else one crystal would fail for what another one's calculator left: a folder that is gone, an alarm that still
    rings, a closed standard output whose number the next file gets.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._folder = os.getcwd()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._environment = dict(os.environ)
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGCHLD", "SIGPIPE", "SIGUSR1")
        numbers = [getattr(signal, name) for name in (*names, "SIGUSR2") if hasattr(signal, name)]
        self._handlers = {number: signal.getsignal(number) for number in numbers}

    def are_own(self) -> bool:
        """Whether this is still the process of the worker, not a fork of it."""
        return os.getpid() == self._process

    def restore(self) -> None:
        """Put the folder, umask, environment, timers, handlers of signals and standard streams back."""
        if hasattr(signal, "setitimer"):
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0.0)
        for number, handler in self._handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        os.umask(self._umask)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        _reopen_streams()


def _reopen_streams() -> None:
    """Open the standard streams that are closed, to nowhere."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdout.closed:
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stderr.closed:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def run_task(function: Callable[[str], object], task: str) -> TaskResult[object]:
    """Call the function; whatever it raises becomes a result."""
    try:
        value = function(task)
        pickle.dumps(value)
        return TaskResult(task, value)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return TaskResult(task, error=text, kind="error", exception=_portable(error), traceback=traceback.format_exc())
    except BaseException as error:  # sys.exit and KeyboardInterrupt end the crystal, not the worker
        what = f"{type(error).__name__}({error})"
        return TaskResult(task, error=_LEFT.format(what), kind="error", traceback=traceback.format_exc())


def _portable(error: Exception) -> Exception | None:
    """Give the exception if it survives the way to the driver, else None."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return None
    return error


def _limit_memory(memory: int) -> None:
    """Let an allocation beyond the limit fail with MemoryError, where the system can.

    Not beside an NVIDIA driver: CUDA maps far more than it uses. There the engine's own watch must do.
    """
    if os.path.exists("/dev/nvidiactl"):
        return
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _own_memory() -> int:
    """Resident memory of this process, bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)
