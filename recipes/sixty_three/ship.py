"""Give trained weights their card and put them where the package looks: the model and the four others of its committee.

    python ship.py round-7/model.pt --members members/[1-4]/model.pt --errors errors.json --reliability reliability.json
        --elements data/element-energies.json --data "labels of 51,000 crystals ..." --out weights

``errors.json`` is what ``errors.py data/test.extxyz`` wrote, ``reliability.json`` what ``reliability.py`` wrote.
``--elements`` is what ``sixty_three.py collect`` wrote: the elements in their own structures by the teacher, against
which screen-cli takes formation energies.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sdnnff_calc import load_model, save_model
from sdnnff_calc.calculators.committee_calculator import SCALE_TOPIC
from sdnnff_calc.calculators.sdnnff import ELEMENTS_TOPIC

LICENCE = "BSD-3-Clause"
UNSEEN = "unseen_force_errors_ev_per_angstrom"


def unseen_errors(errors: dict[str, Any]) -> dict[str, object]:
    """Take from errors.json what the card says of crystals that nothing was learned from; eV and Å."""
    kinds = [kind for kind, entry in errors.items() if isinstance(entry, dict) and "rmse_and_interval" in entry]
    return {
        "unseen_crystals": errors[kinds[0]]["crystals"],
        UNSEEN: {
            kind: {
                "rmse": round(errors[kind]["rmse_and_interval"][0] / 1e3, 5),
                "median_crystal": round(errors[kind]["median_crystal"] / 1e3, 5),
                "scale": round(errors[kind]["scale"] / 1e3, 4),
            }
            for kind in kinds
        },
        "unseen_energy_mae_ev_per_atom": round(errors["energy_mae_mev_per_atom"] / 1e3, 4),
    }


def main(argv: list[str] | None = None) -> None:
    """Write default.pt and default-member-2.pt to -5.pt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--members", type=Path, nargs="*", default=[])
    parser.add_argument("--errors", type=Path, required=True)
    parser.add_argument("--reliability", type=Path, required=True)
    parser.add_argument("--elements", type=Path, required=True)
    parser.add_argument("--data", required=True, help="what was learned from, in words")
    parser.add_argument("--limits", help="what it is not for; default: what the bundled weights say")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    told = json.loads(arguments.errors.read_text())
    of_model = next(entry for name, entry in told.items() if name.startswith("test |") and str(arguments.model) in name)
    elements = {symbol: round(energy, 4) for symbol, energy in json.loads(arguments.elements.read_text()).items()}
    shared = {
        "data": arguments.data,
        "licence": LICENCE,
        "limits": arguments.limits or load_model().card["limits"],
        ELEMENTS_TOPIC: elements,
    }
    model = load_model(arguments.model)
    model.card.update(shared, **unseen_errors(of_model))
    model.card[SCALE_TOPIC] = round(json.loads(arguments.reliability.read_text())["scale"], 3)
    save_model(model, arguments.out / "default.pt")
    for k, file in enumerate(arguments.members, 2):
        member = load_model(file)
        member.card.update(
            shared,
            committee=f"member {k} of {len(arguments.members) + 1}; ended on a quarter of the first's crystals",
        )
        save_model(member, arguments.out / f"default-member-{k}.pt")


if __name__ == "__main__":
    main()
