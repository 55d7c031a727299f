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
    "WignerResult": "phon_wigner.conductivity.result",
    "HarmonicCrystal": "phon_wigner.phonons.harmonic",
    "load_crystal": "phon_wigner.files.crystal_files",
    "CrystalFiles": "phon_wigner.files.crystal_files",
    "crystal_from_phono3py": "phon_wigner.phonons.assembly",
    "crystal_from_phonopy": "phon_wigner.phonons.assembly",
    "Linewidths": "phon_wigner.phonons.linewidths",
    "CONVENTIONS": "phon_wigner.phonons.conventions",
    "read_kappa_file": "phon_wigner.files.kappa_file",
    "read_shengbte": "phon_wigner.files.shengbte",
    "isotope_linewidths": "phon_wigner.phonons.isotope",
    "add_isotopes": "phon_wigner.phonons.isotope",
    "Spectra": "phon_wigner.conductivity.spectra",
    "Crossover": "phon_wigner.conductivity.crossover",
    "crossover": "phon_wigner.conductivity.crossover",
    "BroadeningScan": "phon_wigner.conductivity.glass",
    "scan_crystal": "phon_wigner.conductivity.glass",
    "write_spectra": "phon_wigner.files.exports",
    "write_tables": "phon_wigner.files.exports",
    "ModeConductivity": "phon_wigner.conductivity.metrics",
    "Comparison": "phon_wigner.conductivity.metrics",
    "compare": "phon_wigner.conductivity.metrics",
    "read_reference": "phon_wigner.conductivity.metrics",
    "WignerSolver": "phon_wigner.screening_solver",
    "WignerArrays": "phon_wigner.screening_solver",
    "WignerError": "phon_wigner.errors",
}

__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> object:
    """Import on first use: phono3py loads this package at its own start, which must stay cheap."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
