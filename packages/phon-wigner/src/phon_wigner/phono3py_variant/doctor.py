"""Say whether phono3py really offers the variant, and why not when it does not.

phono3py swallows every exception of a plugin and later only says that ``wigner-rta`` is not implemented.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, cast

import numpy as np

from phon_wigner.errors import WignerError

if TYPE_CHECKING:
    from phono3py.phonon3.interaction import Interaction

PACKAGES = ("phon-wigner", "phono3py", "phonopy", "phonors", "numpy", "h5py", "matplotlib")
METHODS = ("wigner-rta", "wigner-lbte")


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes
    ----------
    name : str
        What was looked at.
    passed : bool
    detail : str
        Version, list or reason with the fix.
    """

    name: str
    passed: bool
    detail: str


def installed_versions() -> dict[str, str]:
    """Return the version of each package that matters, "not installed" where absent."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def run_checks() -> list[Check]:
    """Check versions, entry point, registration and the wiring of the variant."""
    checks = []
    versions = installed_versions()
    major = versions["phono3py"].split(".")[0]
    checks.append(
        Check(
            "phono3py version",
            major == "4",
            versions["phono3py"] if major == "4" else f"{versions['phono3py']}; run pip install 'phono3py>=4,<5'",
        )
    )
    names = [e.value for e in entry_points(group="phono3py.conductivity")]
    declared = any(value.startswith("phon_wigner.") for value in names)
    checks.append(
        Check(
            "entry point phono3py.conductivity",
            declared,
            ", ".join(names) if declared else "not found; reinstall with pip install --force-reinstall phon-wigner",
        )
    )
    checks.append(_check_registry())
    checks.append(_check_import("phono3py_variant.components", "phono3py.conductivity.velocity_solvers"))
    return checks


def _check_registry() -> Check:
    """Ask phono3py for the methods; on failure repeat the registration in the open."""
    try:
        if all(is_offered(method) for method in METHODS):
            return Check("phono3py offers --tt wigner", True, ", ".join(METHODS))
        from phon_wigner.phono3py_variant.variant import register

        register()
        return Check(
            "phono3py offers --tt wigner",
            False,
            "registration works by hand but phono3py did not call it; reinstall phon-wigner in this environment",
        )
    except Exception:
        return Check("phono3py offers --tt wigner", False, traceback.format_exc(limit=-3).strip())


def is_offered(method: str) -> bool:
    """Tell whether phono3py knows a conductivity method, such as ``"wigner-rta"``.

    phono3py lists its methods nowhere in public, but it refuses an unknown one before it looks at the crystal.

    Parameters
    ----------
    method : str
    """
    from phono3py.conductivity.factory import conductivity_calculator

    try:
        conductivity_calculator(cast("Interaction", None), np.array([300.0]), [None], method=method)
    except NotImplementedError:
        return False
    except Exception:  # it got as far as the crystal, which is none
        return True
    return True


def _check_import(name: str, module: str) -> Check:
    """Import a phono3py module that a run will need."""
    try:
        importlib.import_module(module)
        importlib.import_module(f"phon_wigner.{name}")
    except Exception:
        return Check(module, False, traceback.format_exc(limit=-3).strip())
    return Check(module, True, "importable")


def require_variant() -> None:
    """Raise with the real reason unless phono3py offers the variant.

    Raises
    ------
    WignerError
        One of the checks failed.
    """
    failed = [check for check in run_checks() if not check.passed]
    if failed:
        raise WignerError("; ".join(f"{check.name}: {check.detail}" for check in failed))


def print_report(as_json: bool = False) -> int:
    """Write versions and checks to stdout; 0 when all passed, 1 when one failed."""
    versions, checks = installed_versions(), run_checks()
    if as_json:
        found = {"versions": versions, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        for name, version_found in versions.items():
            sys.stdout.write(f"      {name} {version_found}\n")
        for check in checks:
            sys.stdout.write(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.detail}\n")
    return 0 if all(check.passed for check in checks) else 1
