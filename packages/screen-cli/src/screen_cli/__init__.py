"""From crystals to phonons and lattice thermal conductivity: plugin host, pipeline, store, command line.

``from screen_cli import compute`` is the door from Python; what it needs is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from screen_cli.plugins.hookspecs import HOOK_API, hookimpl

if TYPE_CHECKING:
    from screen_cli.single_crystal import CrystalResult, compute

__all__ = ["HOOK_API", "CrystalResult", "__version__", "compute", "hookimpl"]
__version__ = version("screen-cli")

_LAZY = {"compute": "screen_cli.single_crystal", "CrystalResult": "screen_cli.single_crystal"}


def __getattr__(name: str) -> object:
    """Import what is heavy when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'screen_cli' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
