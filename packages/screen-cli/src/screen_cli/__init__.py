"""From crystals to phonons and lattice thermal conductivity: plugin host, pipeline, store, command line."""

from __future__ import annotations

from importlib.metadata import version

from screen_cli.plugins.hookspecs import HOOK_API, hookimpl

__all__ = ["HOOK_API", "__version__", "hookimpl"]
__version__ = version("screen-cli")
