"""Tasks for the tests of the engines: a worker process imports this file, and nothing that takes long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

from screen_cli.engines import messages
from screen_cli.engines.messages import stage_begins, starting


def interrupt(task):
    if task == "its own":
        raise KeyboardInterrupt
    if task == "a person's":
        signal.raise_signal(signal.SIGINT)
    return {"task": task}


def act(folder, task):
    """Do what the task's name says: ``WORD-NUMBER``, words ending in ``once`` only the first time."""
    word = task.partition("-")[0]
    mark = os.path.join(folder, task)
    if word.endswith("once"):
        if os.path.exists(mark):
            return {"task": task}
        open(mark, "w").close()
    match word.removesuffix("once"):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            os._exit(0)
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "hang":
            time.sleep(600)
        case "stages":
            for number in range(4):
                stage_begins(f"stage {number}")
                time.sleep(1.0)
        case "daemon":  # a program that leaves its process group and is not waited for
            command = [sys.executable, "-c", "import time; time.sleep(600)", folder]
            subprocess.Popen(command, start_new_session=True, close_fds=False)
            time.sleep(600)
        case "greedy":
            _ = bytearray(2**40)
    return {"task": task}


def meddle(task):
    """Change the process as the task's name says; ``look`` says what became of it."""
    match task.partition("-")[0]:
        case "folder":
            folder = tempfile.mkdtemp()
            os.chdir(folder)
            os.rmdir(folder)
        case "alarm":
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        case "handlers":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        case "streams":
            sys.stdout.close()
            os.close(2)
        case "environment":
            os.environ["OMP_NUM_THREADS"] = "77"
            del os.environ["PATH"]
        case "umask":
            os.umask(0o777)
        case "fork":
            os.fork()  # the child comes back from here as well
    if not task.startswith("look"):
        return {}
    time.sleep(0.2)  # an alarm would ring
    with tempfile.TemporaryFile() as file:
        number = file.fileno()
    print("to standard output")
    print("to standard error", file=sys.stderr)
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "handlers": (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
        "streams": number > 2,
        "environment": (os.environ["OMP_NUM_THREADS"], "PATH" in os.environ),
        "umask": os.umask(0o022),
    }


def grow(task):
    """Take memory without asking for it in one piece."""
    blocks = []
    for _ in range(400):
        blocks.append(os.urandom(1 << 20) * 4)
        time.sleep(0.02)
    return {"task": task}


def leak(task):
    """Keep more and more."""
    vars(messages).setdefault("leaked", []).append(b"x" * (700 << 20))
    return {"pid": os.getpid()}


def die_at_start(task):
    """Die while the calculator is made."""
    with starting("the calculator 'x'"):
        os._exit(7)


def cannot_load():
    raise RuntimeError("no such model")


class Unloadable:
    """Fails when a worker unpickles it."""

    def __reduce__(self):
        return cannot_load, ()

    def __call__(self, task):
        return {}


def slow(seconds, task):
    time.sleep(seconds)
    return {"task": task}
