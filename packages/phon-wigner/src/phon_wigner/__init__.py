"""Wigner (particle and wave-like) lattice thermal conductivity for phono3py 4."""

from __future__ import annotations

__version__ = "0.1.0"
