"""Errors of phon-wigner: one base class, leaves that also inherit what a caller expects to catch."""

from __future__ import annotations


class WignerError(Exception):
    """Anything that phon-wigner refuses to do."""


class ShapeError(WignerError, ValueError):
    """An array does not have the shape that the formula needs."""


class LinewidthError(WignerError, ValueError):
    """Linewidths are negative, not finite, or in an unknown convention."""


class ImaginaryModeError(WignerError, ValueError):
    """The harmonic crystal is unstable: a frequency is imaginary."""


class GridMismatchError(WignerError, ValueError):
    """Two inputs live on different q-point grids, cells, band orders or temperatures."""


class TemperatureError(WignerError, ValueError):
    """A temperature was asked for that the stored linewidths do not cover."""


class InputFileError(WignerError, OSError):
    """A file is missing, unreadable or lacks an expected entry."""


class OutputFileError(WignerError, OSError):
    """A file cannot be written."""


class UnitError(WignerError, ValueError):
    """Lengths, force constants or the NAC factor are not in the unit that their file or program claims."""


class OptionError(WignerError, ValueError):
    """An option of the command line, or a setting, has a value without meaning."""


class ConductivityError(WignerError, ArithmeticError):
    """A conductivity came out as no conductivity can be: not finite, or negative along some direction."""


class MissingDependencyError(WignerError, ImportError):
    """An optional package is needed; the message holds the pip line."""
