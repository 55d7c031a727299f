"""The pool of a campaign: crystals in the proportions of the paper's Table 1, none of them learned from.

    python pool.py make  --out data                  # data/pool.extxyz and data/pool.csv, counts per prototype
    python pool.py check --out data                  # what of it may have been learned from, counted
    python pool.py bound campaign.csv                # how many of each prototype a run found bound, against the goal

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
    """Write the pool, and print how many of each prototype there are."""
    goal = goals(arguments.size)
    shares = bound_shares(arguments.bound, arguments.limit) if arguments.bound else {}
    factors = {name: 1 / shares[name] if name in shares else arguments.surplus for name in goal}
    wanted = {name: math.ceil(factors[name] * n) for name, n in goal.items()}
    rows = chosen(wanted, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    cells: list[Atoms] = []
    with (
        whole_file(arguments.out / "pool.csv") as table,
        whole_file(arguments.out / "pool.extxyz") as crystals,  # for whoever reads files instead of the table
        table.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["name", "prototype", "elements", "composition"])
        for name, elements in rows:
            atoms = decorated_structure(name, elements).atoms
            atoms.info = {"name": f"{name}-{''.join(elements)}"}
            cells.append(atoms)
            writer.writerow([atoms.info["name"], name, " ".join(elements), composition_of(name, elements)])
        ase.io.write(crystals, cells, format="extxyz")
    print_counts({"goal": goal, "pool": Counter(name for name, _ in rows)})


def print_counts(columns: dict[str, dict[str, int]]) -> None:
    """Print numbers by prototype, the paper's first."""
    print(f"| prototype | paper | {' | '.join(columns)} |\n|---|{'---|' * (1 + len(columns))}")
    rows = {name: entry["pool"] for name, entry in prototypes().items() if "pool" in entry}
    for name, pool in rows.items():
        print(f"| {name} | {pool} | {' | '.join(str(column.get(name, 0)) for column in columns.values())} |")
    totals = [sum(column.get(name, 0) for name in rows) for column in columns.values()]
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


def with_energy(table: Path) -> list[dict[str, str]]:
    """Read the rows of an exported run that have a formation energy."""
    with table.open(encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["formation_energy_model_ev_atom"]]


def bound_shares(table: Path, limit: float) -> dict[str, float]:
    """Estimate the share of each prototype that is bound, from a run of some of them: (bound + 1)/(all + 2)."""
    rows = with_energy(table)
    total = Counter(row["prototype"] for row in rows)
    below = Counter(row["prototype"] for row in rows if float(row["formation_energy_model_ev_atom"]) <= limit)
    return {name: (below[name] + 1) / (n + 2) for name, n in total.items()}


def bound(arguments: argparse.Namespace) -> None:
    """Print how many of each prototype of an exported run are bound and stable, beside what was wanted."""
    rows = with_energy(arguments.table)
    below = [row for row in rows if float(row["formation_energy_model_ev_atom"]) <= arguments.limit]
    stable = [row for row in below if row.get("stable") in ("1", "True", "true")]
    columns = {"with energy": rows, "bound": below, "stable": stable}
    counts = {name: Counter(row["prototype"] for row in found) for name, found in columns.items()}
    print_counts({"goal": goals(arguments.size), **counts})


def main(argv: list[str] | None = None) -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for function in (make, check, bound):
        step = steps.add_parser(function.__name__, help=str(function.__doc__).partition("\n")[0])
        step.set_defaults(function=function)
        if function is not bound:
            step.add_argument("--out", type=Path, default=Path("data"))
        step.add_argument("--size", type=int, default=GOAL, help="crystals wanted in the end")
        if function is make:
            step.add_argument("--surplus", type=float, default=3.0, help="candidates for each that is wanted")
            step.add_argument("--bound", type=Path, help="exported run: as many as its bound shares let expect to need")
            step.add_argument("--seed", type=int, default=23)
        if function is bound:
            step.add_argument("table", type=Path, help="screen-cli export RUN TABLE.csv")
        if function is not check:
            step.add_argument("--limit", type=float, default=0.0, help="eV per atom")
    arguments = parser.parse_args(argv)
    arguments.function(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
