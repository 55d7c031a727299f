"""The other members of the committee: a quarter of the crystals each, and a resume point of the last round as start.

    python members.py data/train.extxyz round-2/model.pt snapshots/*.pt --out members

writes members/quarter-1.extxyz and members/start-1.pt … of as many members as resume points are given (copies of the
last round's resume-finetune.pt, kept while it ran); then `sdnnff finetune member_1.toml` and so on.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import ase.io
import torch

from sdnnff_calc import load_model, save_model


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="what the last round learned from")
    parser.add_argument("model", type=Path, help="any model of that architecture")
    parser.add_argument("resume_points", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("members"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    n = len(arguments.resume_points)
    quarters = [(arguments.out / f"quarter-{k + 1}.extxyz").open("w") for k in range(n)]
    for atoms in ase.io.iread(arguments.train, ":"):
        share = zlib.crc32(f"quarter {atoms.info['structure_id']}".encode()) % n
        ase.io.write(quarters[share], atoms, format="extxyz")
    for quarter in quarters:
        quarter.close()
    for k, path in enumerate(arguments.resume_points):
        model = load_model(arguments.model)
        model.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["weights"])
        save_model(model, arguments.out / f"start-{k + 1}.pt")


if __name__ == "__main__":
    main()
