"""The pool of a campaign: crystals in the proportions of the paper's Table 1, none of them learned from.

    python pool.py make                              # drawn/pool.csv and pool.extxyz: candidates, counted
    python pool.py choose hull.csv                   # data/pool.csv: of those bound, the nearest to the hull
    python pool.py check                             # what of these may have been learned from, counted

A compound is held out by its composition (:func:`crystals.is_held_out` of ``recipes/sixty_three``), in all its
arrangements. The bundled weights began from earlier ones that held crystals out by prototype and elements; a crystal of
their 34 elements is taken only if that rule held it out too. README.md says the rest.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from screen_cli.crystal.prototypes import element_sites, prototypes
from screen_cli.sources.decoration import Decoration, decorate, decorated_structure
from screen_cli.store.atomic_write import whole_file

sys.path.insert(0, str(Path(__file__).parents[1] / "sixty_three"))
from crystals import EARLIER, ELEMENTS, composition, is_held_out, proposals, was_unseen

GOAL = 7709
"""A tenth of the paper's 77,091."""
LEARNED_FROM, SEED_LEARNED_FROM = 60000, 63
"""Crystals of the pool that the bundled weights were labelled from, and its seed (``sixty_three.py pool``)."""


def counts_of(name: str) -> list[int]:
    """Atoms of each element of a prototype in its primitive cell."""
    return [site.n_atoms for site in element_sites(name)]


def composition_of(name: str, elements: Sequence[str]) -> str:
    """Give the composition of a decorated prototype, as the held-out rule spells it."""
    return composition([s for s, n in zip(elements, counts_of(name), strict=True) for _ in range(n)])


def goals(size: int) -> dict[str, int]:
    """Crystals of each prototype: the shares of the paper's Table 1, rounded up."""
    pools = {name: entry["pool"] for name, entry in prototypes().items() if "pool" in entry}
    return {name: math.ceil(size * pool / sum(pools.values())) for name, pool in pools.items()}


def was_learned_from(name: str, elements: Sequence[str]) -> bool:
    """Tell whether the bundled weights, or those they began from, may have learned from a crystal."""
    of_earlier = set(elements) <= set(EARLIER)
    return not is_held_out(composition_of(name, elements), set()) or (
        of_earlier and not was_unseen(name, list(elements))
    )


def candidates(name: str, seed: int) -> Iterator[tuple[str, ...]]:
    """Decorate a prototype with the 63 elements, what charge balance allows first, each chemistry once.

    With anions, what charge balance does not allow needs the more electronegative elements on their sites. Without,
    any elements take turns with the balanced ones: intermetallic compounds have no charges to balance.
    """

    def stream(rule: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        return decorate(Decoration(ELEMENTS, (name,), rule=rule, seed=seed))

    balanced = stream("charge-balance")
    if prototypes()[name].get("anions"):
        found = itertools.chain(balanced, stream("electronegativity"))
    else:
        pairs = itertools.zip_longest(balanced, stream("none"))
        found = (item for pair in pairs for item in pair if item is not None)
    seen: set[tuple[str, ...]] = set()
    for _, elements in found:
        if elements not in seen:
            seen.add(elements)
            yield elements


def chosen(wanted: dict[str, int], seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Take so many of each prototype, so that any number from the front has their proportions; fewer where it ends."""
    rows = []
    for name, n in wanted.items():
        unseen = (elements for elements in candidates(name, seed) if not was_learned_from(name, elements))
        rows += [((k + 0.5) / n, name, elements) for k, elements in enumerate(itertools.islice(unseen, n))]
    return [(name, elements) for _, name, elements in sorted(rows)]


def make(arguments: argparse.Namespace) -> None:
    """Write the candidates, and print how many of each prototype there are."""
    goal = goals(arguments.size)
    rows = chosen({name: math.ceil(arguments.surplus * n) for name, n in goal.items()}, arguments.seed)
    write_pool(arguments.out, rows)
    print_counts({"goal": goal, "candidates": Counter(name for name, _ in rows)})


def write_pool(folder: Path, rows: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Write prototypes and elements as a table, and the crystals for whoever reads files instead; both or neither."""
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[Atoms] = []
    with (
        whole_file(folder / "pool.csv") as table,
        whole_file(folder / "pool.extxyz") as crystals,
        table.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["name", "prototype", "elements", "composition"])
        for name, elements in rows:
            atoms = decorated_structure(name, elements).atoms
            atoms.info = {"name": name_of(name, elements)}
            cells.append(atoms)
            writer.writerow([atoms.info["name"], name, " ".join(elements), composition_of(name, elements)])
        ase.io.write(crystals, cells, format="extxyz")


def name_of(name: str, elements: Sequence[str]) -> str:
    """Name a crystal as runs do (``provider_id``)."""
    return f"{name}-{''.join(elements)}"


def choose(arguments: argparse.Namespace) -> None:
    """Take of each prototype the bound crystals nearest to the hull, as many as its share; print how far they go."""
    candidates = {name_of(name, elements): (name, elements) for name, elements, _ in read_pool(arguments.drawn)}
    with arguments.hull.open(encoding="utf-8") as stream:
        told = [row for row in csv.DictReader(stream) if row["provider_id"] in candidates]
    bound = [row for row in told if float(row["formation_energy_model_ev_atom"]) <= 0.0]
    bound.sort(key=lambda row: (float(row["e_above_hull_ev_atom"]), float(row["formation_energy_model_ev_atom"])))
    goal = goals(arguments.size)
    taken: dict[str, list[dict[str, str]]] = {
        name: [row for row in bound if row["prototype"] == name][:n] for name, n in goal.items()
    }
    kept = {row["provider_id"] for rows in taken.values() for row in rows}
    write_pool(arguments.out, [row for name, row in candidates.items() if name in kept])
    print_counts(
        {
            "goal": goal,
            "with energy": Counter(row["prototype"] for row in told),
            "bound": Counter(row["prototype"] for row in bound),
            "pool": {name: len(rows) for name, rows in taken.items()},
            "at most above the hull (meV/atom)": {
                name: round(1e3 * float(rows[-1]["e_above_hull_ev_atom"])) if rows else 0
                for name, rows in taken.items()
            },
        }
    )


def print_counts(columns: dict[str, dict[str, int]]) -> None:
    """Print numbers by prototype, the paper's first."""
    print(f"| prototype | paper | {' | '.join(columns)} |\n|---|{'---|' * (1 + len(columns))}")
    rows = {name: entry["pool"] for name, entry in prototypes().items() if "pool" in entry}
    for name, pool in rows.items():
        print(f"| {name} | {pool} | {' | '.join(str(column.get(name, 0)) for column in columns.values())} |")
    totals = [
        max(column.values(), default=0) if title.startswith("at most") else sum(column.get(name, 0) for name in rows)
        for title, column in columns.items()
    ]
    print(f"| all | {sum(rows.values())} | {' | '.join(map(str, totals))} |")


def read_pool(folder: Path) -> list[tuple[str, tuple[str, ...], str]]:
    """Read prototype, elements and composition of each crystal."""
    with (folder / "pool.csv").open(encoding="utf-8") as stream:
        return [
            (row["prototype"], tuple(row["elements"].split()), row["composition"]) for row in csv.DictReader(stream)
        ]


def check(arguments: argparse.Namespace) -> None:
    """Count what of the pool may have been learned from; exit with 1 where anything was."""
    pool = read_pool(arguments.out)
    learned = itertools.islice(proposals(SEED_LEARNED_FROM), 2 * LEARNED_FROM)
    drawn = {composition_of(name, elements) for name, elements in learned}
    trained = {formula for formula in drawn if not is_held_out(formula, set())}
    overlap = sum(formula in trained for *_, formula in pool)
    earlier = sum(set(elements) <= set(EARLIER) and not was_unseen(name, list(elements)) for name, elements, _ in pool)
    arrangements = sum(set(elements) <= set(EARLIER) for _, elements, _ in pool)
    print(f"{len(pool)} crystals, {len({formula for *_, formula in pool})} compositions")
    print(f"{overlap} of a composition that the 63-element weights may have learned from (of {len(trained)})")
    print(f"{earlier} that the 34-element weights, from which these began, may have learned from")
    print(f"{arrangements} of those 34 elements: another arrangement of the composition may have been learned from")
    if overlap or earlier:
        raise SystemExit(1)


def main(argv: list[str] | None = None) -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for function in (make, choose, check):
        step = steps.add_parser(function.__name__, help=str(function.__doc__).partition("\n")[0])
        step.set_defaults(function=function)
        step.add_argument("--out", type=Path, default=Path("drawn" if function is make else "data"))
        if function is not check:
            step.add_argument("--size", type=int, default=GOAL, help="crystals wanted in the end")
        if function is make:
            step.add_argument("--surplus", type=float, default=4.0, help="candidates for each that is wanted")
            step.add_argument("--seed", type=int, default=23)
        if function is choose:
            step.add_argument("hull", type=Path, help="screen-cli hull RUN -c provider_id --csv HULL.csv")
            step.add_argument("--drawn", type=Path, default=Path("drawn"), help="folder that make wrote")
    arguments = parser.parse_args(argv)
    arguments.function(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
