"""The Protocol of sources of labels, and the one that labels in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from numpy.typing import NDArray

from al_committee.errors import CommitteeError, LabelMismatchError
from al_committee.labels.identity import bare_structure
from al_committee.labels.outcome import LabelOutcome, LabelRequest, attach_label
from al_committee.labels.workers.teacher_program import compute_results

__all__ = ["BatchedSource", "CalculatorLabeller", "Labeller", "outcome_of"]

Settings = Mapping[str, object]
Result = Mapping[str, "NDArray[np.float64] | float | str"]


class Labeller(Protocol):
    """A source of labels."""

    @property
    def settings(self) -> Settings:
        """What determines the labels, JSON-like: part of the cache's key."""
        ...

    def label(self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool]) -> Iterator[LabelOutcome]:
        """Yield an outcome per finished request, in any order.

        Requests without an outcome are pending: asked for again later. `stop` is polled between labels. Called for
        many requests in turn, a few hundred at a time.
        """
        ...

    def close(self) -> None:
        """Give back what the source holds (processes); it may be asked again afterwards."""
        ...


class BatchedSource(Protocol):
    """A source of energies and forces that takes many structures per call."""

    def predict(self, structures: Sequence[Atoms]) -> Sequence[Result]:
        """Give ``forces`` (eV/Å) and, where it has them, ``energy`` (eV) and ``stress`` (eV/Å³, Voigt) of each."""
        ...


class CalculatorLabeller:
    """Label in this process.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator or BatchedSource
        Any ASE calculator, or a source that takes many structures per call.
    settings : Settings
        What determines its labels: name, parameters, version.
    batch : int
        Structures per call of a source that takes many.

    Notes
    -----
    A calculator that calls ``os._exit`` ends this process with it: :class:`WorkerLabeller` keeps such ones apart.
    """

    def __init__(self, calculator: GetPropertiesMixin | BatchedSource, settings: Settings, *, batch: int = 1) -> None:
        self.calculator = calculator
        self._settings = dict(settings)
        self.batch = batch if hasattr(calculator, "predict") else 1

    @property
    def settings(self) -> Settings:
        """What determines the labels."""
        return self._settings

    def label(
        self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[LabelOutcome]:
        """Yield outcomes in the order of the requests."""
        for low in range(0, len(requests), self.batch):
            if stop():
                return
            part = requests[low : low + self.batch]
            start = time.perf_counter()
            results = compute_results(self.calculator, [bare_structure(request.atoms) for request in part])
            seconds = (time.perf_counter() - start) / len(part)
            for request, result in zip(part, results, strict=True):
                yield outcome_of(request, result, type(self.calculator).__name__, seconds)

    def close(self) -> None:
        """Keep the calculator: it is not ours."""


def outcome_of(request: LabelRequest, result: Result, source: str, seconds: float) -> LabelOutcome:
    """Turn what a source gave into an outcome; what does not fit the structure is a failure with its reason.

    Parameters
    ----------
    request : LabelRequest
        What was asked.
    result : Result
        ``forces``, ``energy``, ``stress``; or ``reason`` and ``traceback``.
    source : str
        Its name in messages.
    seconds : float
        Time it took.
    """
    if "reason" in result:
        reason, trace = str(result["reason"]), str(result.get("traceback", ""))
        return LabelOutcome(request.key, reason=reason, traceback=trace, seconds=seconds)
    try:
        if "forces" not in result:
            raise LabelMismatchError(f"{source} gave no forces. A label needs them.")
        energy = result.get("energy")
        labelled = attach_label(
            request.atoms,
            forces=result["forces"],
            energy=None if energy is None else float(energy),
            stress=result.get("stress"),
            source=source,
        )
    except CommitteeError as error:
        return LabelOutcome(request.key, reason=f"{type(error).__name__}: {error}", seconds=seconds)
    return LabelOutcome(request.key, labelled, seconds=seconds)
