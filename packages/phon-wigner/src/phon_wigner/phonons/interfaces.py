"""Units of every program that phonopy and phono3py work with, from phonopy's own table.

Inside this package a crystal is always in Å, eV/Å² and atomic mass units. phono3py's ``fc2.hdf5`` is in eV/Å² whatever
the program, phono3py's and phonopy's YAML keep the lengths of the program, and phonopy's force constants its unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from phon_wigner.errors import UnitError

NAC_FACTOR_TOLERANCE = 0.01
"""Relative difference up to which a stated NAC factor is taken for a known one (14.4 for 14.39965)."""


@dataclass(frozen=True)
class InterfaceUnits:
    """Units of one program.

    Attributes
    ----------
    name : str
        phonopy's name of the program: "vasp", "qe", "abinit", …
    length : float, Å
        Its unit of length.
    length_name : str
        What phonopy calls that unit: "angstrom" or "au".
    force_constants : float, eV/Å²
        Its unit of force constants.
    nac_factor : float
        e²/4πε₀ in its units of force constants times length³.
    """

    name: str
    length: float
    length_name: str
    force_constants: float
    nac_factor: float

    def nac_factor_in_ev(self, stated: float | None, source: str) -> float:
        """Return e²/4πε₀ in eV Å.

        Parameters
        ----------
        stated : float or None
            A factor from a file: in eV Å, or in the units of this program.
        source : str
            Where it stands, for the message.

        Raises
        ------
        UnitError
            It is neither.
        """
        expected = nac_factor_ev_angstrom()
        if stated is None:
            return expected
        if abs(stated / expected - 1) < NAC_FACTOR_TOLERANCE:
            return float(stated)
        if abs(stated / self.nac_factor - 1) < NAC_FACTOR_TOLERANCE:
            return float(stated / self.nac_factor * expected)
        raise UnitError(
            f"{source} states the NAC factor {stated:g}, expected {expected:.5g} (eV and Å)"
            + (f" or {self.nac_factor:.5g} ({self.name})" if self.length != 1 else "")
            + ". Leave it out, or state the program with phono3py's option, e.g. --qe."
        )


def nac_factor_ev_angstrom() -> float:
    """Return e²/4πε₀ in eV Å."""
    from phonopy.physical_units import get_physical_units

    units = get_physical_units()
    return float(units.Hartree * units.Bohr)


def interface_names() -> tuple[str, ...]:
    """Return phonopy's names of the programs it reads."""
    from phonopy.interface.calculator import calculator_info

    return tuple(calculator_info)


def units_of(name: str | None, source: str = "the crystal") -> InterfaceUnits:
    """Return the units of one program.

    Parameters
    ----------
    name : str or None
        phonopy's name of it; None means VASP's units.
    source : str
        Which file names it, for the message.

    Raises
    ------
    UnitError
        phonopy does not know it.
    """
    from phonopy.physical_units import get_calculator_physical_units

    program = "vasp" if name is None else str(name).strip().lower()
    try:
        units = get_calculator_physical_units(program)
    except ValueError as error:
        raise UnitError(
            f"{source} comes from the program {program!r}, which phonopy does not know; it knows "
            f"{', '.join(interface_names())}."
        ) from error
    return InterfaceUnits(
        name=program,
        length=float(units.distance_to_A),
        length_name=str(units.length_unit),
        force_constants=force_constant_unit(str(units.force_constants_unit), source),
        nac_factor=float(units.nac_factor),
    )


def force_constant_unit(unit: str, source: str) -> float:
    """Return a unit of force constants, named as phonopy names them ("Ry/au^2"), in eV/Å².

    Raises
    ------
    UnitError
        phonopy does not know it.
    """
    from phonopy.interface.calculator import get_force_constant_conversion_factor

    try:
        return float(get_force_constant_conversion_factor(unit, "vasp"))
    except KeyError as error:
        raise UnitError(
            f"{source} states the unit {unit!r} of force constants, which phonopy does not know. Expected one such as "
            "eV/angstrom^2 or Ry/au^2."
        ) from error
