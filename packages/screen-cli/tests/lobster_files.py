"""LOBSTER output made from its documented format (LOBSTER 5 manual, "Output files"), for Gaussian bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ENERGIES = np.linspace(-12.0, 4.0, 1601)


def gaussian(centre: float, area: float, width: float = 0.4) -> np.ndarray:
    """Return a band of a given integral."""
    return area * np.exp(-(((ENERGIES - centre) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))


def write_lobster(folder: Path, bonds: list[tuple[str, float, np.ndarray]], *, n_spins: int = 1) -> None:
    """Write COHPCAR.lobster and ICOHPLIST.lobster.

    Parameters
    ----------
    bonds : list of (str, float, ndarray)
        ``"Na1->Cl2"``, length in Å, COHP (n_energies,) summed over spins, which share it evenly.
    """
    folder.mkdir(parents=True)
    step = ENERGIES[1] - ENERGIES[0]
    curves = [cohp / n_spins for _, _, cohp in bonds]
    integrals = [np.concatenate([[0.0], np.cumsum(0.5 * step * (c[1:] + c[:-1]))]) for c in curves]
    average = [(np.mean(curves, axis=0), np.mean(integrals, axis=0))]
    block = [column for pair in average + list(zip(curves, integrals, strict=True)) for column in pair]
    table = np.column_stack([ENERGIES, *block * n_spins])
    lines = [
        "LOBSTER test",
        f"{len(bonds) + 1:5d}{n_spins:5d}{len(ENERGIES):6d}{ENERGIES[0]:12.5f}{ENERGIES[-1]:12.5f}{0.0:12.5f}",
        "Average",
    ]
    lines += [f"No.{number}:{name}({length})" for number, (name, length, _) in enumerate(bonds, start=1)]
    lines += [" ".join(f"{value:11.5f}" for value in row) for row in table]
    (folder / "COHPCAR.lobster").write_text("\n".join(lines) + "\n")
    at_fermi = [float(np.interp(0.0, ENERGIES, integral)) for integral in integrals]
    listing = []
    for spin in range(n_spins):
        listing.append(
            f"  COHP#  atomMU  atomNU     distance     translation      ICOHP (at) eF   for spin  {spin + 1}"
        )
        for number, ((name, length, _), value) in enumerate(zip(bonds, at_fermi, strict=True), start=1):
            first, second = name.split("->")
            listing.append(f"{number:7d} {first:>7} {second:>7} {length:12.5f}   0  0  0 {value:17.5f}")
    (folder / "ICOHPLIST.lobster").write_text("\n".join(listing) + "\n")
