"""Wigner (particle and wave-like) lattice thermal conductivity for phono3py 4.

Installed beside phono3py, the variant ``wigner`` appears in ``phono3py --tt wigner`` and
``run_thermal_conductivity(transport_type="wigner")``. Without a scattering run, :func:`analyze` adds coherences to
stored linewidths.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_LAZY = {
    "analyze": "phon_wigner.conductivity.postprocess",
    "AnalysisSettings": "phon_wigner.conductivity.postprocess",
    "HarmonicCrystal": "phon_wigner.phonons.harmonic",
    "Linewidths": "phon_wigner.phonons.linewidths",
    "WignerResult": "phon_wigner.conductivity.result",
    "WignerError": "phon_wigner.errors",
    "CrystalFiles": "phon_wigner.files.crystal_files",
    "crystal_from_phono3py": "phon_wigner.phonons.assembly",
    "crystal_from_phonopy": "phon_wigner.phonons.assembly",
    "load_crystal": "phon_wigner.files.crystal_files",
    "read_kappa_file": "phon_wigner.files.kappa_file",
    "read_shengbte": "phon_wigner.files.shengbte",
    "compare": "phon_wigner.conductivity.metrics",
    "ModeConductivity": "phon_wigner.conductivity.metrics",
}

__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> object:
    """Import on first use: phono3py loads this package at its own start, which must stay cheap."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
