"""Walk README, start pages, how-tos and tutorials as a new user does: by copy and paste, top to bottom.

python tests/walk/pages.py [PAGE ...] runs every block of code of each page in an empty folder that holds only
the user's own crystals, and prints the time of each. Exit code 1 when a block fails. A page that needs a cluster, a DFT
code, a download or a GPU is listed with its reason, and not run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("screen-cli", "sdnnff", "al-committee", "phon-wigner", "phono3py", "python", "pytest")
FENCE = re.compile(r"^```(\{code-cell\}[^\n]*|\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
PAGES = (
    "README.md",
    "docs/start/script.md",
    "docs/start/plugin.md",
    "docs/tutorials/first-run.md",
    "docs/tutorials/active-learning.md",
    "docs/tutorials/force-field-in-ase.md",
    "docs/tutorials/train-and-fine-tune.md",
    "docs/tutorials/wigner-with-phono3py.md",
    "docs/tutorials/screening-with-prototypes.md",
    "docs/tutorials/league.md",
    "docs/howto/one-crystal.md",
    "docs/howto/use-the-force-field.md",
    "packages/sdnnff-calc/README.md",
    "packages/al-committee/README.md",
    "packages/screen-cli/README.md",
)
NOT_RUN = {
    "make": "installs and runs everything; continuous integration does it",
    "pip install": "the environment has it",
    "phono3py ": "needs the user's own phono3py files",
    "phon-wigner analyze": "needs the user's own phono3py files",
    "sdnnff train": "needs the user's own labels",
    "sdnnff evaluate": "needs the user's own labels",
    "loop.toml": "names a source and a teacher of the user's own",
    "al-committee": "goes on from a configuration of the user's own",
    "screen-cli compare": "needs a second run",
    "screen-cli init screen.toml": "a configuration without crystals is to be edited",
    "screen.toml": "a configuration of the user's own",
    "screen-cli status screen": "goes on from a run of the user's own",
    "screen-cli show screen": "goes on from a run of the user's own",
    "screen-cli plot screen": "goes on from a run of the user's own",
    "screen-cli export screen": "goes on from a run of the user's own",
}
"""Words in a line of a shell that is not run, and why."""
PYTHON_NOT_RUN = {
    "run/member-": "needs a committee trained on the user's own labels",
    "my_": "a name that stands for the user's own",
    "choice.recommended": "a piece of a user's own module",
}
"""Words in a block of Python that is not run, and why."""


@dataclass
class Step:
    """One thing to paste: a line of a shell, or a block of Python."""

    kind: str
    text: str


def steps(page: Path) -> Iterator[Step]:
    """Iterate over what a reader pastes, in order; a TOML block after «Write `name.toml`» is saved first."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, block = match.groups()
        if language == "python" or language.startswith("{code-cell}"):
            yield Step("python", block)
        elif language == "toml":
            named = re.findall(r"[Ww]rite `([\w.-]+\.toml)`", text[max(0, match.start() - 200) : match.start()])
            if named:
                yield Step(f"save {named[-1]}", block)
        elif language in ("", "console", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s#.*$", "", line.removeprefix("$ ")).replace(".venv/bin/", "").strip()
                if command.startswith(PROGRAMS):
                    yield Step("shell", command)


def why_not(step: Step) -> str:
    """Why a step is not run; empty for one that is."""
    reasons = PYTHON_NOT_RUN if step.kind == "python" else NOT_RUN
    return next((reason for words, reason in reasons.items() if words in step.text), "")


def run(step: Step, names: dict[str, object], environment: dict[str, str]) -> str:
    """Paste one step in the working directory; return what went wrong."""
    if step.kind.startswith("save "):
        Path(step.kind.removeprefix("save ")).write_text(step.text, encoding="utf-8")
        return ""
    if step.kind == "shell":
        done = subprocess.run(step.text, shell=True, capture_output=True, text=True, env=environment, check=False)
        return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
    try:
        exec(compile(step.text, "block", "exec"), names)
    except Exception:
        return traceback.format_exc(limit=-2)
    return ""


def walk(page: Path, environment: dict[str, str]) -> int:
    """Walk one page in a folder of its own; return how many steps failed."""
    from ase.build import bulk

    failed, names, before = 0, {"__name__": "__main__"}, Path.cwd()
    print(f"\n{page.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("crystals").mkdir()
            bulk("NaCl", "rocksalt", a=5.6).write("NaCl.cif")
            bulk("Al", a=4.05).write("Al.cif")
            bulk("MgO", "rocksalt", a=4.2).write("crystals/MgO.cif")
            for step in steps(page):
                first = step.text.strip().splitlines()[0][:70]
                if reason := why_not(step):
                    print(f"   –       {first}  ({reason})")
                    continue
                start = time.monotonic()
                wrong = run(step, names, environment)
                failed += bool(wrong)
                print(f"{'FAIL' if wrong else '  ok'} {time.monotonic() - start:6.1f} s {first}", flush=True)
                if wrong:
                    print(wrong)
        finally:
            os.chdir(before)
    return failed


def main() -> int:
    """Walk the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="pages of the repository (default: all that a laptop can walk)")
    arguments = parser.parse_args()
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": binaries, "MPLBACKEND": "agg"}
    start = time.monotonic()
    failed = sum(walk(ROOT / page, environment) for page in arguments.pages or PAGES)
    print(f"\n{failed} steps failed; {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
