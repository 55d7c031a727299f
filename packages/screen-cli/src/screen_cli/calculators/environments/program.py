"""The program of a serving process: it makes one calculator and answers for any number of clients.

It runs by path with the Python of any environment that has numpy and ASE (``python program.py FD`` on an inherited
socket, ``python program.py --listen PATH``), so the force field may live apart from screen-cli. The factories of
screen-cli are read from the folder in which this file lies. The protocol is small and without pickle: a message is one
line of JSON, whose ``arrays`` lists ``[name, dtype, shape]``; the arrays follow as raw little-endian bytes in C order.

============================================== =====================================================================
to the server                                  answer
============================================== =====================================================================
``{"do": "start", "factory": "m:a",            ``{"say": "ready", "class", "properties", "elements", "descriptors"}``,
"options": {…}}``                              or ``{"say": "refused", "error", "reason"}``
``{"do": "evaluate", "fresh": bool,            ``{"say": "results", "results": [{} or {"error", "reason"}, …]}``
"properties": […], "notes": [{…}, …]}`` with   with arrays ``name/k``, numbers among them
``numbers/k positions/k cell/k pbc/k`` and
further arrays per atom
``{"do": "describe"}`` with one structure      ``{"say": "results", …}`` with ``descriptors/0``
============================================== =====================================================================

``fresh`` makes the calculator forget earlier atoms first. One structure that fails does not keep the others from their
results; the rest of the message is not evaluated. What the force field prints goes to the log. The process ends with
its last client, and at once when the client whose request it works on is gone.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules must not stand in for others

import contextlib
import importlib
import json
import os
import queue
import signal
import socket
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

__all__ = ["Header", "read_message", "write_message"]

Header = dict[str, object]
"""The first line of a message, without its list of arrays."""

LINGER = 5.0
"""Seconds that a shared server waits for another client after the last one has left."""
IDLE = 3.0
"""Seconds without a request after which the memory of the last ones is given back."""
_MOST_BYTES = 1 << 34


class _HasDescriptors(Protocol):
    """A calculator that gives the features of each atom."""

    def descriptors(self, atoms: Atoms) -> NDArray[np.generic]:
        """Features, (n_atoms, n_features)."""


def write_message(stream: BinaryIO, header: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write one message.

    Parameters
    ----------
    stream : binary file
    header : mapping
        JSON-like.
    arrays : mapping of str to ndarray
        Any shape and numeric dtype.
    """
    packed = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    packed = {name: value.astype(value.dtype.newbyteorder("<"), copy=False) for name, value in packed.items()}
    listed = [[name, value.dtype.str, list(value.shape)] for name, value in packed.items()]
    parts = [json.dumps({**header, "arrays": listed}).encode() + b"\n"]
    stream.write(b"".join(parts + [value.tobytes() for value in packed.values()]))
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[Header, dict[str, NDArray[np.generic]]] | None:
    """Read one message; None at the end of the stream.

    Raises
    ------
    ValueError
        It is malformed.
    EOFError
        The stream ends within it.
    """
    line = stream.readline()
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise EOFError("the stream ends within a message")
    header = json.loads(line)
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, code, shape in header.pop("arrays"):
        kind = np.dtype(code)
        n_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        if kind.hasobject or not 0 <= n_bytes <= _MOST_BYTES:
            raise ValueError(f"array {name} of dtype {code} and shape {shape} is refused")
        content = stream.read(n_bytes)
        if len(content) != n_bytes:
            raise EOFError("the stream ends within an array")
        arrays[name] = np.frombuffer(content, dtype=kind).reshape(shape).copy()
    return header, arrays


def pack_structures(structures: Sequence[Atoms]) -> tuple[list[Header], dict[str, NDArray[np.generic]]]:
    """Take structures apart into JSON and arrays; constraints stay behind."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for k, atoms in enumerate(structures):
        own = {**atoms.arrays, "cell": atoms.cell.array, "pbc": np.asarray(atoms.pbc)}
        kept = {name: np.asarray(value) for name, value in own.items()}
        arrays.update({f"{name}/{k}": value for name, value in kept.items() if value.dtype.kind in "biufc"})
    plain = (str, int, float, bool)
    return [
        {key: value for key, value in atoms.info.items() if isinstance(value, plain)} for atoms in structures
    ], arrays


def unpack_structures(notes: Sequence[Header], arrays: Mapping[str, NDArray[np.generic]]) -> list[Atoms]:
    """Make structures of JSON and arrays."""
    from ase import Atoms

    found = []
    for k, info in enumerate(notes):
        own = {name.rpartition("/")[0]: value for name, value in arrays.items() if name.endswith(f"/{k}")}
        atoms = Atoms(
            numbers=own.pop("numbers"), positions=own.pop("positions"), cell=own.pop("cell"), pbc=own.pop("pbc")
        )
        for name, value in own.items():
            atoms.set_array(name, value)
        atoms.info = dict(info)
        found.append(atoms)
    return found


# -- the calculator -------------------------------------------------------------------------------------------


def _borrow_host() -> None:
    """Make the factories of ``screen_cli`` importable from where this file lies, without what they do not need."""
    own = Path(__file__).resolve()
    for name, folder in (("screen_cli", own.parents[2]), ("screen_cli.calculators", own.parents[1])):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def _make(factory: str, options: Mapping[str, object]) -> Calculator:
    """Import ``module:attribute`` and call it."""
    module, _, attribute = factory.partition(":")
    found: object = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return cast("Calculator", cast(Callable[..., object], found)(**options))


def _introduction(calculator: Calculator) -> Header:
    """Say what a calculator is and can."""
    from screen_cli.calculators.model_errors import supported_elements

    known = supported_elements(calculator)
    return {
        "say": "ready",
        "class": type(calculator).__name__,
        "properties": list(calculator.implemented_properties),
        "elements": None if known is None else sorted(known),
        "descriptors": callable(getattr(calculator, "descriptors", None)),
        "pid": os.getpid(),
    }


def _refusal(error: BaseException, say: str = "") -> Header:
    """Name an error: the classes of screen-cli by name, so that the client can raise the same."""
    name = type(error).__name__
    print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    return {**({"say": say} if say else {}), "error": name, "reason": str(error), "module": type(error).__module__}


def _evaluate_one(calculator: Calculator, atoms: Atoms, properties: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Evaluate one structure as ASE would; every result that is a number or an array of numbers."""
    from screen_cli.calculators.model_errors import translate_calculator_errors

    atoms.calc = calculator
    with translate_calculator_errors(atoms):
        for name in properties:
            calculator.get_property(name, atoms)
        found = dict(calculator.results)
    arrays = {name: np.asarray(value) for name, value in found.items() if value is not None}
    return {name: value for name, value in arrays.items() if value.dtype.kind in "biufc"}


def _evaluate(
    calculator: Calculator, header: Header, arrays: Mapping[str, NDArray[np.generic]]
) -> tuple[list[Header], dict[str, NDArray[np.generic]]]:
    """Evaluate the structures of a message until one fails."""
    structures = unpack_structures(cast("list[Header]", header["notes"]), arrays)
    properties = cast("list[str]", header["properties"])
    results: list[Header] = []
    found: dict[str, NDArray[np.generic]] = {}
    if header.get("fresh") and callable(getattr(calculator, "reset", None)):
        calculator.reset()
    for k, atoms in enumerate(structures):
        try:
            own = _evaluate_one(calculator, atoms, properties)
        except (Exception, SystemExit) as error:
            if callable(getattr(calculator, "reset", None)):
                calculator.reset()  # the next structure must not see the remains of this one
            results.append(_refusal(error))
            break
        results.append({})
        found.update({f"{name}/{k}": value for name, value in own.items()})
    return results, found


class _Service:
    """One calculator, and the requests of its clients one after another."""

    def __init__(self) -> None:
        self._calculator: Calculator | None = None
        self._made = ""

    def answer(
        self, header: Header, arrays: Mapping[str, NDArray[np.generic]]
    ) -> tuple[Header, Mapping[str, NDArray[np.generic]]]:
        """Answer one request."""
        if header["do"] == "start":
            return self._start(header), {}
        if self._calculator is None:
            return {"say": "refused", "error": "RuntimeError", "reason": "no calculator was started"}, {}
        if header["do"] == "describe":
            atoms = unpack_structures(cast("list[Header]", header["notes"]), arrays)[0]
            try:
                features = cast(_HasDescriptors, self._calculator).descriptors(atoms)
            except Exception as error:
                return {"say": "results", "results": [_refusal(error)]}, {}
            return {"say": "results", "results": [{}]}, {"descriptors/0": np.asarray(features)}
        results, found = _evaluate(self._calculator, header, arrays)
        return {"say": "results", "results": results}, found

    def _start(self, header: Header) -> Header:
        """Make the calculator, once; every client says which one it expects."""
        wanted = json.dumps([header["factory"], header["options"]], sort_keys=True)
        if self._calculator is None:
            try:
                self._calculator = _make(str(header["factory"]), cast("Mapping[str, object]", header["options"]))
                self._made = wanted
            except (Exception, SystemExit) as error:
                return _refusal(error, "refused")
        if wanted != self._made:
            return {"say": "refused", "error": "RuntimeError", "reason": "this server holds another calculator"}
        return _introduction(self._calculator)


# -- clients --------------------------------------------------------------------------------------------------


class _Client:
    """One connection; a thread reads it, so that its end is noticed while another request is worked on."""

    def __init__(self, connection: socket.socket, requests: queue.Queue[object]) -> None:
        self.connection = connection
        self.gone = threading.Event()
        self.served = False
        self._requests = requests
        self._writing = connection.makefile("wb")
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, header: Header, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Answer, if anyone is there to read it."""
        with contextlib.suppress(OSError):
            write_message(cast(BinaryIO, self._writing), header, arrays)

    def _read(self) -> None:
        """Hand on requests until the connection ends."""
        stream = cast(BinaryIO, self.connection.makefile("rb"))
        with contextlib.suppress(OSError, ValueError, EOFError):
            while (message := read_message(stream)) is not None:
                self._requests.put((self, message))
        self.gone.set()
        if self.served:  # it does not want the answer any more, and nobody knows how long it would still take
            os._exit(0)
        self._requests.put((self, None))


def _accept(listener: socket.socket, requests: queue.Queue[object]) -> None:
    """Take clients as they come."""
    while True:
        connection, _ = listener.accept()
        requests.put((_Client(connection, requests), "hello"))


def _requests(requests: queue.Queue[object], clients: set[_Client], linger: float) -> Iterator[tuple[_Client, object]]:
    """Iterate over requests until the last client has left; while none comes, keep no more memory than is used."""
    from screen_cli.calculators.memory import release_freed_memory

    wait: float | None = IDLE
    while True:
        try:
            yield cast("tuple[_Client, object]", requests.get(timeout=wait if clients else linger))
            wait = IDLE
        except queue.Empty:
            if not clients:
                return
            release_freed_memory()
            wait = None


def serve(listener: socket.socket | None, connection: socket.socket | None) -> None:
    """Answer until there is no client."""
    requests: queue.Queue[object] = queue.Queue()
    clients: set[_Client] = set()
    if connection is not None:
        clients.add(_Client(connection, requests))
    if listener is not None:
        threading.Thread(target=_accept, args=(listener, requests), daemon=True).start()
    service = _Service()
    for client, message in _requests(requests, clients, LINGER if listener else 0.01):
        if message == "hello":
            clients.add(client)
        elif message is None:
            clients.discard(client)
        elif not client.gone.is_set():
            header, arrays = cast("tuple[Header, dict[str, NDArray[np.generic]]]", message)
            client.served = True
            answer = service.answer(header, arrays)
            client.served = False
            client.send(*answer)


def main(arguments: Sequence[str]) -> None:
    """Serve an inherited socket, or listen on a path."""
    os.dup2(2, 1)  # what the force field prints goes to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's interrupt is the client's; this ends with its client
    _borrow_host()
    from screen_cli.calculators.memory import keep_freed_memory

    keep_freed_memory()
    if arguments[0] == "--listen":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(arguments[1])
        listener.listen(64)
        own = os.stat(arguments[1]).st_ino
        try:
            serve(listener, None)
        finally:
            with contextlib.suppress(OSError):
                if os.stat(arguments[1]).st_ino == own:  # else a successor listens there
                    os.unlink(arguments[1])
    else:
        serve(None, socket.socket(fileno=int(arguments[0])))
    sys.stderr.flush()
    os._exit(0)  # threads still wait for clients, and some libraries hang when Python ends


if __name__ == "__main__":
    main(sys.argv[1:])
