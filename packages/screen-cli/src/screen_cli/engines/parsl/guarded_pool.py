"""Parsl's worker pool of one block, with a guard: when its manager dies, nothing it started stays behind.

``python -m screen_cli.engines.parsl.guarded_pool process_worker_pool.py …`` starts the guard and becomes the pool.
Parsl's own workers look for their manager only between tasks, and one that waits for a lock which died with another
worker would wait for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

from screen_cli.engines import guard


def main() -> None:
    """Start the guard, which waits for the end of a pipe that this process alone holds, and run the pool."""
    mark = f"{os.environ.get(guard.VARIABLE, '')}{os.getpid()}-{uuid.uuid4().hex}:"
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, mark],
        stdin=reader,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(reader)
    os.set_inheritable(writer, True)  # past the line below; the pool's own children do not inherit it
    os.environ[guard.VARIABLE] = mark
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
