"""The contracts with phono3py, held against other versions of it than the one that is installed.

Each version comes from the package index into a folder of its own, in front of the others on the path; everything
else is what is installed here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = (
    "packages/screen-cli/tests/test_contracts_of_solvers.py",
    "packages/screen-cli/tests/test_force_constants.py",
    "packages/phon-wigner/tests/test_phono3py.py",
)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.8.2", "4.9.0", "4.10.0"])
def test_contracts_hold_with_other_versions_of_phono3py(version: str, tmp_path: Path) -> None:
    major, minor = map(int, version.split(".")[:2])
    wanted = [f"phono3py=={version}", f"phonopy>={major}.{minor},<{major}.{minor + 1}"]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "site"), *wanted]
    made = subprocess.run(install, capture_output=True, text=True, timeout=900, check=False)
    if made.returncode:
        pytest.skip(f"{' '.join(wanted)} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
    path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    seen = subprocess.run(
        [sys.executable, "-c", "import phono3py; print(phono3py.__version__)"],
        capture_output=True, text=True, timeout=300, check=True, env=environment,
    )  # fmt: skip
    assert seen.stdout.strip() == version
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CONTRACTS],
        capture_output=True, text=True, timeout=3600, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
