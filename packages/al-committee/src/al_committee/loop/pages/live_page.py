"""One page that shows where a loop stands, written anew after each step and, while labels are made, now and then."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from al_committee.file_access.atomic_write import write_atomically
from al_committee.loop.pages.dress import table, whole_page
from al_committee.loop.pages.round_page import format_rows
from al_committee.loop.records import Comparison, GroupError
from al_committee.loop.run_directory import RunDirectory

__all__ = ["LivePage"]

EVERY_S = 10.0


class LivePage:
    """The page ``live.html`` of a run directory; it reloads itself.

    Parameters
    ----------
    run : RunDirectory
        The run directory.
    clock : callable
        Monotonic clock, s.
    """

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self._clock = run, clock
        self.path: Path = run.path / "live.html"
        self._last = -EVERY_S
        self._state = ""

    def on_label(self, what: str, done: int, total: int, seconds: float) -> None:
        """Take note of progress; write the page when the last one is old enough."""
        if self._clock() - self._last < EVERY_S and done < total:
            return
        rate = f", {3600 * done / seconds:.0f} per hour" if seconds > 0 else ""
        self.write(f"{what}: {done} of {total}{rate}", done / total if total else None)

    def write(self, state: str, share: float | None = None) -> None:
        """Write the page.

        Parameters
        ----------
        state : str
            What is being done.
        share : float, optional
            How much of it is, 0 to 1.
        """
        self._last = self._clock()
        page = self._page(state, share)
        write_atomically(self.path, lambda handle: handle.write(page.encode()))

    def _page(self, state: str, share: float | None) -> str:
        """Give the whole page."""
        rounds = self.run.rounds
        numbers = rounds.numbers()
        rows = format_rows([rounds.summary(n) for n in numbers])
        parts = [
            f"<p>{html.escape(state)}</p>",
            "" if share is None else f'<div class="track"><i style="width:{100 * share:.1f}%"></i></div>',
            f'<p class="soft">{time.strftime("%Y-%m-%d %H:%M:%S")} · {rounds.hours():.2f} hours of work in '
            f"{len(numbers)} rounds · {len(self.run.failed())} failed labels</p>",
            table(rows[0], rows[1:], "Rounds"),
            self._histogram(numbers),
            self._errors(numbers),
        ]
        body = "\n".join(part for part in parts if part)
        return whole_page(self.run.path.name, body, reload_s=0 if state.startswith("finished") else int(EVERY_S))

    def _histogram(self, numbers: Sequence[int]) -> str:
        """ε over the pool's atoms in the last scored round."""
        for number in reversed(numbers):
            record = self.run.rounds.selection(number)
            if record is None or not any(record.histogram):
                continue
            largest = max(record.histogram)
            bars = "".join(
                f'<rect x="{9 * k}" y="{120 - 110 * count / largest:.1f}" width="8" '
                f'height="{110 * count / largest:.1f}"/>'
                for k, count in enumerate(record.histogram)
            )
            marks = "".join(f'<text x="{90 * k}" y="135">{10.0 ** (k - 1):g}</text>' for k in range(7))
            facts = f"{record.n_scored} supercells, largest {1e3 * record.largest_score:.3g} meV/Å"
            if record.n_at_rest or record.not_at_rest:
                facts += f"; {record.n_at_rest} crystals at rest by the committee"
                facts += "".join(f", {count}× not: {html.escape(why)}" for why, count in record.not_at_rest.items())
            return (
                f"<h2>ε over the pool's atoms, round {number} (meV/Å)</h2>"
                f'<svg class="histogram" viewBox="0 0 545 140" style="max-width:40rem" role="img" '
                f'aria-label="Histogram of ε">{bars}{marks}</svg><p>{facts}</p>'
            )
        return ""

    def _errors(self, numbers: Sequence[int]) -> str:
        """Errors on the test set by prototype, kind and element, by round."""
        tests: dict[int, Comparison] = {}
        for number in numbers:
            evaluation = self.run.rounds.evaluation(number)
            if evaluation is not None and evaluation.test is not None:
                tests[number] = evaluation.test
        names = sorted({name for test in tests.values() for name in test.groups}, key=_order)
        if not names:
            return ""
        shown = list(tests)[-8:]
        head = ["", *(f"round {n}" for n in shown), "rms force", "structures"]
        rows = [
            [name, *(_cell(tests[n].groups, name) for n in shown), *_size(tests[shown[-1]].groups, name)]
            for name in names
        ]
        return f"<h2>Force RMSE on the test set (meV/Å)</h2>{table(head, rows, 'Errors by group')}"


def _order(name: str) -> tuple[int, str]:
    """Prototypes, then kinds, then elements."""
    what = name.partition(" ")[0]
    return {"group": 0, "kind": 1}.get(what, 2), name


def _cell(groups: Mapping[str, GroupError], name: str) -> str:
    """Error of a group."""
    return f"{1e3 * groups[name].force_rmse:.1f}" if name in groups else "–"


def _size(groups: Mapping[str, GroupError], name: str) -> tuple[str, str]:
    """Size of the forces and of the group."""
    found = groups.get(name)
    return ("–", "–") if found is None else (f"{1e3 * found.force_rms:.0f}", str(found.n_structures))
