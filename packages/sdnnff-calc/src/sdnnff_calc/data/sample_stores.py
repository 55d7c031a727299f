"""Collections of samples: in memory, or in a sharded cache on disk.

The cache is a folder of shards; a shard is a folder of ``.npy`` files that are mapped, not read, so that the
memory in use does not grow with the number of environments.

    index.json            samples per shard, atoms and crystal of each sample, hash of all
    shard-00000/*.npy     the arrays of :class:`~sdnnff_calc.data.samples.Sample`, joined, with their bounds
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdnnff_calc.data.samples import Sample
from sdnnff_calc.errors import DataError
from sdnnff_calc.geometry.environments import EdgeArrays

__all__ = ["MemoryStore", "SampleStore", "ShardedStore", "SubsetStore", "row_widths"]


class SampleStore(Protocol):
    """A random-access collection of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each sample, shape (n_samples,)."""
        ...

    @property
    def crystals(self) -> Sequence[str]:
        """Crystal of each sample."""
        ...

    @property
    def digest(self) -> str:
        """Hash of all environments and labels: what a resume point belongs to."""
        ...


def _hash(digest: Any, sample: Sample) -> None:
    """Add a sample to a running hash."""
    edges = sample.edges
    arrays = (edges.numbers, edges.centre, edges.neighbour, edges.vector, sample.forces, sample.energy, sample.stress)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float32 if np.size(array) > 1 else np.float64))


class MemoryStore:
    """Samples in a list."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each sample."""
        return np.array([s.n_atoms for s in self.samples], dtype=np.int64)

    @property
    def crystals(self) -> list[str]:
        """Crystal of each sample."""
        return [s.crystal for s in self.samples]

    @functools.cached_property
    def digest(self) -> str:
        """Hash of all environments and labels."""
        digest = hashlib.blake2b(digest_size=16)
        for sample in self.samples:
            _hash(digest, sample)
        return digest.hexdigest()


class SubsetStore:
    """Some samples of a store.

    Parameters
    ----------
    store : SampleStore
        All samples.
    indices : NDArray[np.int64]
        Of those that belong to it, shape (n_samples,).
    """

    def __init__(self, store: SampleStore, indices: NDArray[np.int64]) -> None:
        self._store, self._indices = store, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._store[int(self._indices[index])]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each sample."""
        return self._store.sizes[self._indices]

    @property
    def crystals(self) -> list[str]:
        """Crystal of each sample."""
        every = self._store.crystals
        return [every[int(index)] for index in self._indices]

    @property
    def digest(self) -> str:
        """Hash of the whole store and of the choice."""
        chosen = hashlib.blake2b(self._indices.astype(np.int64).tobytes(), digest_size=16).hexdigest()
        return f"{self._store.digest} {chosen}"


_ARRAYS = ("numbers", "centre", "neighbour", "vector", "forces", "energy", "stress", "volume")


class ShardedStore:
    """Samples on disk, mapped shard by shard.

    Parameters
    ----------
    folder : str or Path
        Written by :meth:`write`.
    n_open : int
        Shards kept mapped at a time.

    Raises
    ------
    DataError
        When the folder holds no complete cache.
    """

    def __init__(self, folder: str | Path, n_open: int = 32) -> None:
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            self.digest = str(index["digest"])
            self.crystals = [str(name) for name in index["crystals"]]
            self.shard_lengths = [int(n) for n in index["shard_lengths"]]
            self._sizes = np.array(index["sizes"], dtype=np.int64)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{self.folder} holds no complete cache ({error}). Delete it and run again.") from error
        self._starts = np.concatenate([[0], np.cumsum(self.shard_lengths)]).astype(np.int64)
        self._open: OrderedDict[int, dict[str, NDArray[Any]]] = OrderedDict()
        self._n_open = n_open

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each sample."""
        return self._sizes

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        arrays = self._map(shard)
        k = index - int(self._starts[shard])
        atoms = slice(*(int(b) for b in arrays["atom_bounds"][k : k + 2]))
        edges = slice(*(int(b) for b in arrays["edge_bounds"][k : k + 2]))
        return Sample(
            EdgeArrays(
                np.array(arrays["numbers"][atoms]),
                np.array(arrays["centre"][edges]),
                np.array(arrays["neighbour"][edges]),
                np.array(arrays["vector"][edges]),
                float(arrays["volume"][k]),
            ),
            np.array(arrays["forces"][atoms]),
            float(arrays["energy"][k]),
            np.array(arrays["stress"][k]),
            self.crystals[index],
        )

    def _map(self, shard: int) -> dict[str, NDArray[Any]]:
        """Map a shard's arrays, closing the least recently used one."""
        if shard not in self._open:
            folder = self.folder / f"shard-{shard:05d}"
            names = (*_ARRAYS, "atom_bounds", "edge_bounds")
            try:
                self._open[shard] = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in names}
            except (OSError, ValueError) as error:
                raise DataError(f"{folder} is damaged ({error}). Delete {self.folder} and run again.") from error
            if len(self._open) > self._n_open:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]

    @classmethod
    def write(
        cls, folder: str | Path, samples: Iterable[Sample], *, shard_atoms: int, dtype: str = "float32"
    ) -> ShardedStore:
        """Write samples as they come, holding one shard in memory; then open the result.

        Vectors and forces are stored in the precision of the training. Where the same samples are there already, they
        stay: another process may be reading them.
        """
        folder = Path(folder)
        _sweep(folder)
        temporary = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            digest = _write_shards(temporary, samples, shard_atoms, dtype)
            if _digest_in(folder) != digest:
                shutil.rmtree(folder, ignore_errors=True)
                try:
                    os.replace(temporary, folder)
                except OSError:  # another process was faster
                    if _digest_in(folder) != digest:
                        raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(folder)


def _sweep(folder: Path) -> None:
    """Remove what writers of this machine that were killed have left beside a cache."""
    for left in folder.parent.glob(f".{folder.name}.{platform.node()}.*"):
        try:
            os.kill(int(left.suffix[1:]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, OSError):  # not ours to judge, or somebody else's process
            continue


def _write_shards(folder: Path, samples: Iterable[Sample], shard_atoms: int, dtype: str) -> str:
    """Write all shards and the index; the hash of all samples."""
    sizes: list[int] = []
    lengths: list[int] = []
    crystals: list[str] = []
    pending: list[Sample] = []

    def flush() -> None:
        if pending:
            _write_shard(folder / f"shard-{len(lengths):05d}", pending, dtype)
            lengths.append(len(pending))
            pending.clear()

    held = 0
    digest = hashlib.blake2b(digest_size=16)
    for sample in samples:
        _hash(digest, sample)
        pending.append(sample)
        sizes.append(sample.n_atoms)
        crystals.append(sample.crystal)
        held += sample.n_atoms
        if held >= shard_atoms:
            flush()
            held = 0
    flush()
    index = {"shard_lengths": lengths, "sizes": sizes, "crystals": crystals, "digest": digest.hexdigest()}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return digest.hexdigest()


def _digest_in(folder: Path) -> str | None:
    """Read the hash of a cache; None where there is none."""
    try:
        return str(json.loads((folder / "index.json").read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return None


def _write_shard(folder: Path, samples: Sequence[Sample], dtype: str) -> None:
    """Join the arrays of some samples and save them."""
    folder.mkdir()
    edges = [s.edges for s in samples]
    arrays: dict[str, NDArray[Any]] = {
        "numbers": np.concatenate([e.numbers for e in edges]).astype(np.int16),
        "centre": np.concatenate([e.centre for e in edges]).astype(np.int32),
        "neighbour": np.concatenate([e.neighbour for e in edges]).astype(np.int32),
        "vector": np.concatenate([e.vector for e in edges]).astype(dtype),
        "forces": np.concatenate([s.forces for s in samples]).astype(dtype),
        "energy": np.array([s.energy for s in samples], dtype=np.float64),
        "stress": np.array([s.stress for s in samples], dtype=np.float64),
        "volume": np.array([e.volume for e in edges], dtype=np.float64),
        "atom_bounds": np.cumsum([0, *(len(e.numbers) for e in edges)]),
        "edge_bounds": np.cumsum([0, *(len(e.centre) for e in edges)]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def row_widths(store: SampleStore) -> NDArray[np.int64]:
    """Count the most neighbours of one element that an atom of each sample has: a batch's rows are padded to that."""
    widths = np.zeros(len(store), dtype=np.int64)
    for k in range(len(store)):
        edges = store[k].edges
        pairs = edges.centre.astype(np.int64) * 128 + edges.numbers[edges.neighbour]  # in ascending order
        bounds = np.flatnonzero(np.diff(pairs, prepend=-1, append=-1))
        widths[k] = np.diff(bounds).max(initial=0)
    return widths
