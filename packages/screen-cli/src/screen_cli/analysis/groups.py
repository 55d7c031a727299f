"""How many crystals of each prototype, space group or other column are stable and have κ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from screen_cli.analysis.gate_audit import Share, share_of
from screen_cli.crystal.prototypes import PrototypeEntry, prototypes
from screen_cli.store.record import Json
from screen_cli.store.row import Row, number


@dataclass(frozen=True)
class Group:
    """Crystals with one value of a column, without those that a filter dropped.

    Parameters
    ----------
    name : str
        The value; empty where crystals have none.
    n : int
        Crystals.
    n_judged : int
        Of these, whose stability is known: neither failed, nor held back before, nor waiting.
    n_stable : int
    n_kappa : int
        With κ.
    n_low : int
        With κ below 1 W/(m K).
    stable : Share
        Stable of judged, with Wilson's 95 % interval.
    paper : float or None
        That share in Table 1 of the SDNNFF paper (doi:10.1038/s43246-023-00390-3) for a prototype of it, whose pool was
        filtered by formation energy and hull.
    """

    name: str
    n: int
    n_judged: int
    n_stable: int
    n_kappa: int
    n_low: int
    stable: Share
    paper: float | None

    def to_dict(self) -> dict[str, Json]:
        """JSON-ready fields."""
        return asdict(self)


def group_by(rows: Iterable[Row], column: str) -> list[Group]:
    """Count the crystals of each value of a column; the prototypes of the paper come in its order, others behind.

    Parameters
    ----------
    rows : iterable of mapping
    column : str
        Short name, e.g. ``"prototype"`` or ``"space_group"``.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("state") != "filtered":
            value = row.get(column)
            found.setdefault("" if value is None else str(value), []).append(row)
    order = {name: place for place, name in enumerate(prototypes())} if column == "prototype" else {}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name.zfill(4) if name.isdigit() else name))
    return [_group(name, found[name], prototypes().get(name) if column == "prototype" else None) for name in names]


def _group(name: str, rows: list[Row], prototype: PrototypeEntry | None) -> Group:
    """Count one group."""
    judged = [row for row in rows if row.get("stable") is not None]
    n_stable = sum(bool(row["stable"]) for row in judged)
    kappas = [kappa for row in rows if (kappa := number(row, "kappa_total_w_mk")) is not None]
    paper = prototype["stable"] / prototype["pool"] if prototype and "stable" in prototype else None
    n_low = sum(kappa < 1 for kappa in kappas)
    return Group(name, len(rows), len(judged), n_stable, len(kappas), n_low, share_of(n_stable, len(judged)), paper)
