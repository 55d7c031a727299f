"""Sources of labels: an ASE calculator in this process or in worker processes, always through the cache."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, Protocol

from ase import Atoms
from pebble import ProcessExpired, ProcessPool

from al_committee.errors import CommitteeError, LabelFailedError
from al_committee.labels.cache import LabelCache
from al_committee.labels.labels import LabelOutcome, LabelRequest, attach_label

__all__ = ["CalculatorLabeller", "Labeller", "WorkerLabeller", "label_through_cache"]

logger = logging.getLogger(__name__)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""mallopt(3): large blocks stay with a worker instead of being mapped and cleared afresh for every label."""


class Labeller(Protocol):
    """A source of labels."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What determines the labels, JSON-like: part of the cache's key."""
        ...

    def label(self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool]) -> Iterator[LabelOutcome]:
        """Yield an outcome per finished request, in any order.

        Requests without an outcome are pending: asked for again later. `stop` is polled between labels.
        """
        ...


def compute_label(calculator: Any, request: LabelRequest) -> LabelOutcome:
    """Run one ASE calculator on one structure; every exception becomes a failed outcome with its reason."""
    start = time.perf_counter()
    try:
        atoms = request.atoms.copy()
        atoms.calc = calculator
        forces = atoms.get_forces()
        offered = getattr(calculator, "implemented_properties", ())
        energy = atoms.get_potential_energy() if "energy" in offered else None
        if energy is not None:  # the energy whose derivative the forces are, where the two differ
            energy = getattr(calculator, "results", {}).get("free_energy", energy)
        stress = atoms.get_stress() if "stress" in offered and atoms.pbc.all() else None
        labelled = attach_label(
            request.atoms,
            forces=forces,
            energy=energy,
            stress=stress,
            answered=atoms,
            source=type(calculator).__name__,
        )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return LabelOutcome(
            request.key,
            reason=reason,
            traceback=traceback.format_exc(),
            seconds=time.perf_counter() - start,
        )
    return LabelOutcome(request.key, labelled, seconds=time.perf_counter() - start)


class CalculatorLabeller:
    """Label in this process, one structure after the other.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    settings
        What determines its labels: name, parameters, version.
    """

    def __init__(self, calculator: Any, settings: Mapping[str, Any]) -> None:
        self.calculator = calculator
        self._settings = dict(settings)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What determines the labels."""
        return self._settings

    def label(
        self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[LabelOutcome]:
        """Yield outcomes in the order of the requests."""
        for request in requests:
            if stop():
                return
            outcome = compute_label(self.calculator, request)
            if outcome.failed and hasattr(self.calculator, "reset"):
                self.calculator.reset()  # its next label must not see the remains of this one
            yield outcome


_WORKER_CALCULATOR: dict[str, Any] = {}


def _start_worker(factory: Callable[[], Any]) -> None:
    """Remember how to build this worker's calculator; the first label builds it, where errors are seen."""
    _WORKER_CALCULATOR.clear()
    _WORKER_CALCULATOR["factory"] = factory


def _label_in_worker(request: LabelRequest) -> LabelOutcome:
    """Label one structure in a worker."""
    if "calculator" not in _WORKER_CALCULATOR:
        _WORKER_CALCULATOR["calculator"] = _WORKER_CALCULATOR["factory"]()
    outcome = compute_label(_WORKER_CALCULATOR["calculator"], request)
    if outcome.failed:  # a calculator may be left in a bad state by its failure
        _WORKER_CALCULATOR.pop("calculator")
    return outcome


class WorkerLabeller:
    """Label in worker processes with a time limit per label; a worker that dies costs one label, not the run.

    Parameters
    ----------
    factory
        Makes the calculator inside each worker; must be picklable (a module-level function, a class, a
        ``functools.partial`` of them).
    settings
        What determines the labels.
    n_workers
        Processes, started by spawn.
    timeout_s
        Limit per label, seconds; 0 for none.
    threads
        BLAS and OpenMP threads per worker.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        settings: Mapping[str, Any],
        *,
        n_workers: int = 2,
        timeout_s: float = 0.0,
        threads: int = 1,
    ) -> None:
        self.factory = factory
        self._settings = dict(settings)
        self.n_workers, self.timeout_s, self.threads = n_workers, timeout_s, threads

    @property
    def settings(self) -> Mapping[str, Any]:
        """What determines the labels."""
        return self._settings

    def label(
        self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[LabelOutcome]:
        """Yield outcomes as they finish."""
        if not requests:
            return
        waiting = list(requests)[::-1]
        with (
            _worker_environment(self.threads),
            ProcessPool(
                max_workers=min(self.n_workers, len(requests)),
                context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.factory,),
            ) as pool,
        ):
            running: dict[Any, LabelRequest] = {}
            try:
                while running or (waiting and not stop()):
                    while waiting and len(running) < self.n_workers and not stop():
                        request = waiting.pop()
                        future = pool.schedule(_label_in_worker, args=(request,), timeout=self.timeout_s or None)
                        running[future] = request
                    done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield self._read(future, running.pop(future))
            finally:
                for future in running:
                    future.cancel()

    def _read(self, future: Any, request: LabelRequest) -> LabelOutcome:
        """Turn a worker's end into an outcome, whatever end it was."""
        try:
            outcome: LabelOutcome = future.result()
            return outcome
        except TimeoutError:
            reason = f"took longer than timeout_s = {self.timeout_s:g} s and was stopped"
        except ProcessExpired as error:
            reason = f"the worker process died (exit code {error.exitcode})"
        except Exception as error:
            detail = "".join(traceback.format_exception(error))
            return LabelOutcome(request.key, reason=f"{type(error).__name__}: {error}", traceback=detail)
        return LabelOutcome(request.key, reason=reason)


@contextlib.contextmanager
def _worker_environment(threads: int) -> Iterator[None]:
    """Set the thread and memory variables that spawned workers inherit; what the user set of the latter stays."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, *KEEP_FREED_MEMORY)}
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    os.environ.update({name: value for name, value in KEEP_FREED_MEMORY.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def label_through_cache(
    requests: Iterable[LabelRequest],
    labeller: Labeller,
    cache: LabelCache,
    *,
    on_failure: Callable[[LabelOutcome], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[LabelOutcome]:
    """Label what the cache does not hold, store every label the moment it exists, and yield all outcomes.

    Parameters
    ----------
    requests
        Structures; equal content is asked for once.
    labeller
        The source.
    cache
        Where labels are kept; labels found there are yielded first and cost nothing.
    on_failure
        Called with every failed outcome before it is yielded.
    stop
        Polled between labels; True ends the work after those in progress.

    Yields
    ------
    LabelOutcome
        Of finished requests. Missing ones are pending: not collected yet, or being computed by another run.
    """
    unique = {request.key: request for request in requests}
    missing = {}
    for key, request in unique.items():
        labelled = cache.get(key)
        if labelled is not None:
            yield LabelOutcome(key, labelled)
        else:
            missing[key] = request
    with contextlib.ExitStack() as claims:
        mine = {}
        for key, request in missing.items():
            if not claims.enter_context(cache.claim(key)):
                logger.info("label %s is being computed by another run; left to it", key)
                continue
            labelled = cache.get(key)  # it may have appeared between the look and the claim
            if labelled is not None:
                yield LabelOutcome(key, labelled)
            else:
                mine[key] = request
        for outcome in labeller.label(list(mine.values()), stop=stop):
            if outcome.key not in mine:
                raise LabelFailedError(f"{type(labeller).__name__} answered {outcome.key}, which nobody asked.")
            if outcome.atoms is None:
                on_failure(outcome)
                yield outcome
                continue
            try:
                details = {"seconds": outcome.seconds, "name": mine[outcome.key].name, **outcome.details}
                cache.put(outcome.key, outcome.atoms, details)
            except (CommitteeError, ValueError) as error:
                refused = LabelOutcome(outcome.key, reason=f"{type(error).__name__}: {error}")
                on_failure(refused)
                yield refused
                continue
            stored = cache.get(outcome.key)
            yield LabelOutcome(outcome.key, stored, seconds=outcome.seconds)


def labelled_forces(atoms: Atoms) -> Any:
    """Forces of a label, shape ``(n_atoms, 3)``, eV/Å."""
    return atoms.calc.results["forces"]
