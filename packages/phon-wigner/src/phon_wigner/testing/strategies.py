"""Hypothesis strategies that draw what phon-wigner works on: spectra, linewidths, velocities, cells, YAML.

They need hypothesis: ``pip install 'phon-wigner[test]'``. Each is a function that returns a strategy::

    @given(spectra(), st.data())
    def test_something(frequencies, data):
        velocity = data.draw(velocity_operators(len(frequencies)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

LATTICE_SYSTEMS = ("cubic", "tetragonal", "orthorhombic", "hexagonal", "rhombohedral", "monoclinic", "triclinic")
"""What :func:`lattices` draws from."""

ELEMENTS = ("Na", "Cl", "Si", "Cu", "Pb")
"""What :func:`cells` places: natural masses between 23 and 207 u."""


@st.composite
def spectra(draw: DrawFn, max_blocks: int = 4, gap: float = 0.3) -> NDArray[np.float64]:
    """Frequencies of one q point, shape (n_bands,), THz: blocks of one to three equal bands, ``gap`` or more apart.

    Bands of a block differ by far less than the degeneracy tolerance; the order of all bands is drawn too.
    """
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=max_blocks))
    steps = draw(st.lists(st.floats(gap, 4.0), min_size=len(sizes), max_size=len(sizes)))
    levels = np.repeat(np.cumsum(steps), sizes)
    jitter = draw(hnp.arrays(np.float64, len(levels), elements=st.floats(0.0, 1e-8)))
    return np.asarray(draw(st.permutations(list(levels + jitter))))


def linewidths(n_bands: int, least: float = 1e-3, most: float = 0.5) -> SearchStrategy[NDArray[np.float64]]:
    """Half widths of one q point, shape (n_bands,), THz."""
    return hnp.arrays(np.float64, n_bands, elements=st.floats(least, most))


@st.composite
def velocity_operators(draw: DrawFn, n_bands: int) -> NDArray[np.complex128]:
    """Draw a Hermitian velocity operator, shape (3, n_bands, n_bands), Å·THz, with elements up to 20."""
    shape = (3, n_bands, n_bands)
    elements = st.floats(-10, 10)
    real, imag = (draw(hnp.arrays(np.float64, shape, elements=elements)) for _ in range(2))
    matrix = real + 1j * imag
    return np.asarray(matrix + matrix.conj().transpose(0, 2, 1))


@st.composite
def rotations(draw: DrawFn) -> NDArray[np.float64]:
    """Draw a proper rotation, shape (3, 3)."""
    w, x, y, z = draw(hnp.arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
    n = w * w + x * x + y * y + z * z
    matrix = [
        [1 - 2 * (y * y + z * z) / n, 2 * (x * y - z * w) / n, 2 * (x * z + y * w) / n],
        [2 * (x * y + z * w) / n, 1 - 2 * (x * x + z * z) / n, 2 * (y * z - x * w) / n],
        [2 * (x * z - y * w) / n, 2 * (y * z + x * w) / n, 1 - 2 * (x * x + y * y) / n],
    ]
    return np.array(matrix)


@st.composite
def block_unitaries(draw: DrawFn, blocks: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Draw a unitary matrix that mixes bands of one degenerate block only, shape (n_bands, n_bands)."""
    matrix = np.zeros((len(blocks), len(blocks)), dtype=np.complex128)
    for label in np.unique(blocks):
        index = np.flatnonzero(blocks == label)
        shape = (len(index), len(index))
        real, imag = (draw(hnp.arrays(np.float64, shape, elements=st.floats(-1, 1))) for _ in range(2))
        matrix[np.ix_(index, index)] = np.linalg.qr(real + 1j * imag + 3 * np.eye(len(index)))[0]
    return matrix


@st.composite
def lattices(draw: DrawFn, system: str | None = None) -> NDArray[np.float64]:
    """Right-handed lattice vectors as rows, shape (3, 3), Å, of one lattice system or any."""
    system = system or draw(st.sampled_from(LATTICE_SYSTEMS))
    a, b, c = (round(draw(st.floats(3.2, 5.0)), 3) for _ in range(3))
    angles = [round(draw(st.floats(75, 105)), 2) for _ in range(3)]
    if system in ("cubic", "rhombohedral"):
        b = c = a
    elif system in ("tetragonal", "hexagonal"):
        b = a
    alpha, beta, gamma = {
        "hexagonal": (90.0, 90.0, 120.0),
        "rhombohedral": (angles[0],) * 3,
        "monoclinic": (90.0, angles[0], 90.0),
        "triclinic": tuple(angles),
    }.get(system, (90.0, 90.0, 90.0))
    cos_a, cos_b, cos_c = np.cos(np.radians([alpha, beta, gamma]))
    sin_c = np.sin(np.radians(gamma))
    third = (cos_a - cos_b * cos_c) / sin_c
    lattice = [
        [a, 0, 0],
        [b * cos_c, b * sin_c, 0],
        [c * cos_b, c * third, c * np.sqrt(1 - cos_b**2 - third**2)],
    ]
    return np.array(lattice)


@st.composite
def cells(draw: DrawFn, system: str | None = None, max_atoms: int = 2) -> PhonopyAtoms:
    """Draw a unit cell of one to ``max_atoms`` atoms, none closer than 1.4 Å to another, in any lattice system."""
    lattice = draw(lattices(system))
    n_atoms = draw(st.integers(1, max_atoms))
    symbols = [draw(st.sampled_from(ELEMENTS)) for _ in range(n_atoms)]
    offsets = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]][:n_atoms]
    shifts = draw(hnp.arrays(np.float64, (n_atoms, 3), elements=st.floats(-0.06, 0.06)))
    shifts[0] = 0.0
    special = draw(st.booleans())  # half of the crystals keep their symmetry
    return PhonopyAtoms(symbols=symbols, cell=lattice, scaled_positions=np.array(offsets) + (0 if special else shifts))


def plain_documents() -> SearchStrategy[dict[str, object]]:
    """YAML mappings of plain data: what a safe loader gives back unchanged."""
    text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12)
    leaves = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | text
    values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))
    return st.dictionaries(text.filter(bool), values, max_size=5)


def unsafe_documents() -> SearchStrategy[str]:
    """YAML texts that ask an unsafe loader to import or call something."""
    tags = ("object/apply:os.system", "object/new:subprocess.Popen", "name:os.system", "module:os", "object/apply:eval")
    keys = st.sampled_from(("phono3py", "unit_cell", "supercell_matrix", "force_constants", "nac", "anything"))
    return st.builds(
        lambda key, tag, argument: f"{key}:\n  inner: !!python/{tag} [{argument!r}]\n",
        keys,
        st.sampled_from(tags),
        st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8),
    )
