"""A script that starts worker processes, which import it: its call must not run a second time in them."""

from __future__ import annotations

import multiprocessing

from screen_cli.errors import ConfigError

WORKER = "screen-cli-worker"
"""How the names of worker processes begin."""
UNGUARDED = 78
"""Exit code of a worker whose import of the script came to the call that had started the worker."""

SENTENCE = (
    "worker processes import the script that starts them, and this one would start again in each. Put its call under "
    "the line: if __name__ == '__main__': (or run without workers: --set engine.name=serial)"
)


def refuse_import_of_script() -> None:
    """End a worker that imports a script and so comes to what only the script itself should run.

    Raises
    ------
    SystemExit
        In a worker of ours, whose engine then says :data:`SENTENCE`.
    ConfigError
        In a process that somebody else spawned.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):  # how multiprocessing itself knows
        if process.name.startswith(WORKER):
            raise SystemExit(UNGUARDED)
        raise ConfigError(SENTENCE)
