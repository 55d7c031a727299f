"""What a reader gives: one crystal with what the file says of it, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from ase import Atoms

from screen_cli.crystal.metadata import Json
from screen_cli.errors import StructureError

MOMENTS = "magnetic moments are not used"
"""Note of a frame that has them: forces and phonons are those of the force field, which knows none."""


@dataclass(frozen=True)
class Frame:
    """One crystal of a file.

    Parameters
    ----------
    atoms : ase.Atoms
        Å; masses (u) where the file gives them.
    metadata : dict
        Scalars that the file says.
    notes : tuple of str
        Sentences on what the reader did that the user should know.
    """

    atoms: Atoms
    metadata: dict[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A frame that cannot be used.

    Parameters
    ----------
    reason : str
        One sentence.
    """

    reason: str


@dataclass(frozen=True)
class Limits:
    """How much of a stranger's file is read.

    Parameters
    ----------
    max_bytes : int
        Of a file, after decompression.
    max_atoms : int
        Of one frame, before symmetry is asked for.
    max_frames : int
        Of one file.
    """

    max_bytes: int = 256 * 2**20
    max_atoms: int = 2000
    max_frames: int = 100_000

    def check_atoms(self, count: int, where: str = "the frame") -> None:
        """Refuse more atoms than are read.

        Raises
        ------
        StructureError
        """
        if count > self.max_atoms:
            raise StructureError(
                f"{where} has {count} atoms, at most {self.max_atoms} are read. Give the primitive or conventional "
                "cell, not a supercell."
            )
