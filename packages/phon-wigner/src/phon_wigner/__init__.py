"""Wigner (particle and wave-like) lattice thermal conductivity for phono3py 4.

Installed beside phono3py, the variant ``wigner`` appears in ``phono3py --tt wigner`` and
``run_thermal_conductivity(transport_type="wigner")``. Without a scattering run, :func:`analyze` adds coherences to
stored linewidths.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phon_wigner.conductivity.crossover import Crossover as Crossover
    from phon_wigner.conductivity.crossover import crossover as crossover
    from phon_wigner.conductivity.glass import BroadeningScan as BroadeningScan
    from phon_wigner.conductivity.glass import scan_crystal as scan_crystal
    from phon_wigner.conductivity.metrics import Comparison as Comparison
    from phon_wigner.conductivity.metrics import ModeConductivity as ModeConductivity
    from phon_wigner.conductivity.metrics import compare as compare
    from phon_wigner.conductivity.metrics import read_reference as read_reference
    from phon_wigner.conductivity.postprocess import AnalysisSettings as AnalysisSettings
    from phon_wigner.conductivity.postprocess import analyze as analyze
    from phon_wigner.conductivity.result import WignerResult as WignerResult
    from phon_wigner.conductivity.spectra import Spectra as Spectra
    from phon_wigner.errors import WignerError as WignerError
    from phon_wigner.files.crystal_files import CrystalFiles as CrystalFiles
    from phon_wigner.files.crystal_files import load_crystal as load_crystal
    from phon_wigner.files.exports import write_spectra as write_spectra
    from phon_wigner.files.exports import write_tables as write_tables
    from phon_wigner.files.kappa_file import read_kappa_file as read_kappa_file
    from phon_wigner.files.shengbte import read_shengbte as read_shengbte
    from phon_wigner.phonons.assembly import crystal_from_phono3py as crystal_from_phono3py
    from phon_wigner.phonons.assembly import crystal_from_phonopy as crystal_from_phonopy
    from phon_wigner.phonons.conventions import CONVENTIONS as CONVENTIONS
    from phon_wigner.phonons.harmonic import HarmonicCrystal as HarmonicCrystal
    from phon_wigner.phonons.isotope import add_isotopes as add_isotopes
    from phon_wigner.phonons.isotope import isotope_linewidths as isotope_linewidths
    from phon_wigner.phonons.linewidths import Linewidths as Linewidths
    from phon_wigner.screening.solver import WignerArrays as WignerArrays
    from phon_wigner.screening.solver import WignerSolver as WignerSolver

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
    "WignerSolver": "phon_wigner.screening.solver",
    "WignerArrays": "phon_wigner.screening.solver",
    "WignerError": "phon_wigner.errors",
}

__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> object:
    """Import on first use: phono3py loads this package at its own start, which must stay cheap."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
