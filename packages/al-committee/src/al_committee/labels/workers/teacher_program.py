"""The program of a worker process: makes one source of labels and answers over its standard streams.

It runs by path with any Python that has numpy and ASE (``python teacher_program.py``), so the source of labels may live
in an environment of its own, without al-committee. The protocol is small and without pickle. A message is one line of
JSON; its ``arrays`` lists ``[name, dtype, shape]``, and the arrays follow as raw little-endian bytes in C order.

====================================== ===============================================================================
to the worker                          answer
====================================== ===============================================================================
``{"do": "start", "factory": "m:a",    ``{"say": "ready", "identity": {…}}``, or ``{"say": "failed", "reason": …,
"options": {…}, "path": […]}``         "traceback": …}`` and the end
``{"do": "label", "notes": [{…}, …]}`` ``{"say": "labels", "results": [{"energy": …} or {"reason": …, …}]}``
with ``numbers/k positions/k cell/k    with ``forces/k`` (eV/Å) and ``stress/k`` (eV/Å³, Voigt) where given
pbc/k`` and further arrays per atom
end of the stream                      the end
====================================== ===============================================================================

What the source prints goes to standard error. The worker ends with whoever started it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules must not stand in for others

import contextlib
import importlib
import inspect
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["call_factory", "compute_results", "identify", "read_message", "write_message"]

_ARRAYS = ("forces", "stress")
Label: TypeAlias = "dict[str, NDArray[np.float64] | float | str]"
"""Forces, energy and stress of a structure, or the reason why there are none."""


def write_message(stream: IO[bytes], header: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write one message.

    Parameters
    ----------
    stream : IO[bytes]
        Binary, writable.
    header : mapping of str to object
        JSON-like.
    arrays : mapping of str to np.ndarray[Any, Any]
        Name to array.
    """
    packed = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    packed = {name: value.astype(value.dtype.newbyteorder("<")) for name, value in packed.items()}
    listed = [[name, value.dtype.str, list(value.shape)] for name, value in packed.items()]
    stream.write(json.dumps({**header, "arrays": listed}).encode() + b"\n")
    for value in packed.values():
        stream.write(value.tobytes())
    stream.flush()


def read_message(
    read_line: Callable[[], bytes], read_bytes: Callable[[int], bytes]
) -> tuple[dict[str, object], dict[str, NDArray[np.generic]]] | None:
    """Read one message; None at the end of the stream.

    Parameters
    ----------
    read_line, read_bytes : callable
        Give a line, and exactly so many bytes.
    """
    line = read_line()
    if not line:
        return None
    header = json.loads(line)
    arrays = {}
    for name, dtype, shape in header.pop("arrays"):
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise ValueError(f"array {name} holds Python objects.")
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(read_bytes(count * kind.itemsize), dtype=kind).reshape(shape).copy()
    return header, arrays


def call_factory(reference: str, options: Mapping[str, object]) -> object:
    """Import ``module:attr`` and call it with its options."""
    module, _, attribute = reference.partition(":")
    value: Any = importlib.import_module(module)
    for part in attribute.split("."):
        value = getattr(value, part)
    return value(**options)


def identify(source: object, reference: str) -> dict[str, object]:
    """Say what a source of labels is: the version of its package, and what it says about itself in ``settings``."""
    from importlib.metadata import distributions

    module = reference.partition(":")[0].partition(".")[0]
    owner = next((item for item in distributions() if _holds(item, module)), None)
    found: dict[str, object] = {"package": f"{owner.metadata['Name']} {owner.version}"} if owner else {}
    own = getattr(source, "settings", None)
    return {**found, "settings": dict(own)} if isinstance(own, dict) else found


def _holds(distribution: Distribution, module: str) -> bool:
    """Whether a distribution holds a top-level module; importlib's list of all takes half a second."""
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return module in declared
    record = distribution.read_text("RECORD")
    if record is not None and f"\n{module}" not in f"\n{record}":
        return False
    paths = distribution.files or ()
    return any(module == (path.parts[0] if len(path.parts) > 1 else inspect.getmodulename(path)) for path in paths)


def compute_results(source: object, structures: Sequence[Atoms]) -> list[Label]:
    """Label structures with an ASE calculator or anything with ``predict(structures)``.

    Parameters
    ----------
    source : object
        The source of labels.
    structures : sequence of Atoms
        ASE ``Atoms`` without constraints.

    Returns
    -------
    list of dict
        ``forces``, and ``energy`` and ``stress`` where the source has them; or ``reason`` and ``traceback``.
    """
    if hasattr(source, "predict") and len(structures) > 1:
        try:
            found = [_only_labels(result) for result in source.predict([atoms.copy() for atoms in structures])]
            if len(found) == len(structures):
                return found
        except Exception:
            pass  # one of them is to blame: ask for each alone
    return [_label_alone(source, atoms) for atoms in structures]


def _only_labels(result: Mapping[str, Any]) -> Label:
    """Give what a label needs of the results; the energy whose derivative the forces are, where the two differ."""
    found: Label = {
        name: np.asarray(result[name], dtype=np.float64)
        for name in ("forces", "stress")
        if result.get(name) is not None
    }
    energy = result.get("free_energy", result.get("energy"))
    return {**found, "energy": float(energy)} if energy is not None else found


def _label_alone(source: Any, atoms: Atoms) -> Label:
    """Label one structure; whatever it raises becomes its reason, a person's interrupt apart."""
    with _heard_interrupts() as heard:
        try:
            return _single_point(source, atoms)
        except BaseException as error:
            if heard and isinstance(error, KeyboardInterrupt):
                raise
            if hasattr(source, "reset"):
                source.reset()  # the next label must not see the remains of this one
            return {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


@contextlib.contextmanager
def _heard_interrupts() -> Iterator[list[int]]:
    """Note the interrupts that come from outside: a KeyboardInterrupt without one is the source's own."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield heard
        return

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _single_point(source: Any, atoms: Atoms) -> dict[str, Any]:
    """Label one structure."""
    if hasattr(source, "predict"):
        return _only_labels(source.predict([atoms.copy()])[0])
    copy = atoms.copy()
    copy.calc = source
    offered = getattr(source, "implemented_properties", ())
    result: dict[str, Any] = {"forces": copy.get_forces()}
    if "energy" in offered:
        result["energy"] = copy.get_potential_energy()
        result["free_energy"] = getattr(source, "results", {}).get("free_energy", result["energy"])
    if "stress" in offered and atoms.pbc.all():
        result["stress"] = copy.get_stress()
    if getattr(source, "converged", None) is False:
        raise RuntimeError(f"{type(source).__name__} says that it did not converge")
    if len(copy) != len(atoms) or np.abs(copy.positions - atoms.positions).max() > 1e-3:
        raise RuntimeError(f"{type(source).__name__} moved the atoms; labels are single points")
    return _only_labels(result)


def _structures(notes: Sequence[Mapping[str, object]], arrays: Mapping[str, NDArray[np.generic]]) -> list[Atoms]:
    """Structures of a message."""
    from ase import Atoms

    found = []
    for k, info in enumerate(notes):
        own = {name.partition("/")[0]: value for name, value in arrays.items() if name.partition("/")[2] == str(k)}
        atoms = Atoms(
            numbers=own.pop("numbers"), positions=own.pop("positions"), cell=own.pop("cell"), pbc=own.pop("pbc")
        )
        for name, value in own.items():
            atoms.set_array(name, value)
        atoms.info = dict(info)
        found.append(atoms)
    return found


def _end_with_parent(parent: int) -> None:
    """End, with all that was started from here, when the parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    try:
        os.killpg(os.getpgid(0), signal.SIGKILL)
    finally:
        os._exit(1)


def main() -> None:
    """Answer until the stream ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the source prints must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    source: object = None
    own = os.getpid()
    while True:
        message = read_message(requests.readline, requests.read)
        if message is None:
            return
        header, arrays = message
        if header["do"] == "start":
            try:
                sys.path[:0] = cast("list[str]", header.get("path", []))
                reference = str(header["factory"])
                source = call_factory(reference, cast("dict[str, object]", header["options"]))
                write_message(answers, {"say": "ready", "identity": identify(source, reference)}, {})
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
                write_message(answers, {"say": "failed", "reason": reason, "traceback": traceback.format_exc()}, {})
                return
            continue
        notes = cast("list[dict[str, object]]", header["notes"])
        results = compute_results(source, _structures(notes, arrays))
        if os.getpid() != own:
            os._exit(0)  # a fork that the source forgot: the answer is its parent's
        found = {
            f"{name}/{k}": np.asarray(result.pop(name))
            for k, result in enumerate(results)
            for name in ("forces", "stress")
            if name in result
        }
        write_message(answers, {"say": "labels", "results": results}, found)


if __name__ == "__main__":
    main()
