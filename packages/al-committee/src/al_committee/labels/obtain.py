"""Labels through the cache: what exists is read, what is missing is asked for and stored the moment it exists."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from al_committee.errors import CommitteeError, LabelFailedError
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import Labeller
from al_committee.labels.outcome import LabelOutcome, LabelRequest

__all__ = ["label_through_cache"]

logger = logging.getLogger(__name__)
WINDOW = 384
"""Requests handled together: each holds one open file, its claim."""


def label_through_cache(
    requests: Iterable[LabelRequest],
    labeller: Labeller,
    cache: LabelCache,
    *,
    on_failure: Callable[[LabelOutcome], None] = lambda outcome: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[LabelOutcome]:
    """Label what the cache does not hold, store every label the moment it exists, and yield all outcomes.

    Parameters
    ----------
    requests : iterable of LabelRequest
        Structures; equal content is asked for once.
    labeller : Labeller
        The source.
    cache : LabelCache
        Where labels are kept; labels found there cost nothing.
    on_failure : callable
        Called with every failed outcome before it is yielded.
    stop : callable
        Polled between labels; True ends the work after those in progress.

    Yields
    ------
    LabelOutcome
        Of finished requests. Missing ones are pending: not collected yet, or being computed by another run.
    """
    seen: set[str] = set()
    missing: dict[str, LabelRequest] = {}
    for request in requests:
        if request.key in seen:
            continue
        seen.add(request.key)
        labelled = cache.get(request.key)
        if labelled is not None:
            yield LabelOutcome(request.key, labelled)
            continue
        missing[request.key] = request
        if len(missing) == WINDOW:
            yield from _label_window(missing, labeller, cache, on_failure, stop)
            missing = {}
    if missing:
        yield from _label_window(missing, labeller, cache, on_failure, stop)


def _label_window(
    missing: Mapping[str, LabelRequest],
    labeller: Labeller,
    cache: LabelCache,
    on_failure: Callable[[LabelOutcome], None],
    stop: Callable[[], bool],
) -> Iterator[LabelOutcome]:
    """Claim and label some requests."""
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
            stored = _store(outcome, mine[outcome.key], cache)
            if stored.failed:
                on_failure(stored)
            yield stored


def _store(outcome: LabelOutcome, request: LabelRequest, cache: LabelCache) -> LabelOutcome:
    """Store a label; one that the cache refuses is a failure."""
    if outcome.atoms is None:
        return outcome
    try:
        details = {"seconds": outcome.seconds, "name": request.name, **outcome.details}
        cache.put(outcome.key, outcome.atoms, details)
    except (CommitteeError, ValueError) as error:
        return LabelOutcome(outcome.key, reason=f"{type(error).__name__}: {error}")
    return LabelOutcome(outcome.key, cache.get(outcome.key), seconds=outcome.seconds)
