r"""Which part of the force field earns what: force, frequency and κ error with one setting changed at a time.

    python benchmarks/scripts/ablations.py --part crystals --train train.extxyz --test test.extxyz --json ablations.json
    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/ablations.py --part nacl --json ablations.json
    python benchmarks/scripts/ablations.py --part wheel --train train.extxyz --test test.extxyz --unseen 400 --keep kept
    python benchmarks/scripts/ablations.py --markdown ablations.md --json ablations.json

``crystals`` trains on many crystals and measures forces on crystals never seen (the recipe's train.extxyz and
test.extxyz; supercells with displacements of 0.03 Å). Every model sees the same structures equally often, the grid
models twice as often, for their frame copies. The learning curve keeps the number of steps. The last layer is not
refitted: a thousand atoms of some crystals do not speak for others. ``wheel`` does the same around the model of the
bundled weights: all crystals and kinds of supercells, Muon and absolute errors, three passes. ``--keep`` leaves the
models of both, for frequencies and κ of unseen crystals as the teacher relaxed them (which asks neither energy nor
stress of a model):

    screen-cli export teacher relaxed.extxyz --filter "stable == 1"
    as_relaxed="--set source.options={paths=['relaxed.extxyz']} --set relax.enabled=false"
    screen-cli run kappa.toml --run-dir reference $as_relaxed
    screen-cli run kappa.toml --run-dir l_max-1 $as_relaxed --set calculator.name=sdnnff \
        --set 'calculator.options={path="kept/l_max-1.pt"}'
    screen-cli compare reference l_max-1

``nacl`` trains on 20 of 100 DFT supercells, refit included, and measures forces on the other 80, frequencies on an 8³
mesh and κ (RTA, 300 K) against those from all DFT forces. The JSON file is a resume point: what it holds is not done
again; ``--limit`` stops before a new model once so many minutes have passed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from sdnnff_calc import SDNNFF, load_model
from sdnnff_calc.models.checkpoint import Model, save_model
from sdnnff_calc.config import DataConfig, EquivariantConfig, GridConfig, ModelConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import new_model, train_member
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.training.epoch import FitData
from sdnnff_calc.training.fit import Fit, Stage

GRID_EPOCHS = 2
REFIT_ATOMS = 1000
"""NaCl only."""
N_VALIDATION = 15


@dataclass(frozen=True)
class Variant:
    """One changed setting; ``freeze`` switches a part of the element encoding off."""

    config: ModelConfig
    freeze: str = ""
    direct_share: float = 0.0
    n_crystals: int = 0


def learned_only(model: Model) -> None:
    """Element channels without the table of properties."""
    linear = model.network.elements.linear
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    linear.requires_grad_(False)
    torch.nn.init.normal_(model.network.elements.correction)


def properties_only(model: Model) -> None:
    """Element channels as a linear map of group, period, electronegativity and radius."""
    torch.nn.init.zeros_(model.network.elements.correction)
    model.network.elements.correction.requires_grad_(False)


def extend(model: Model, numbers: set[int]) -> None:
    """Let a model speak of elements it has not seen, from their properties alone."""
    new = sorted(numbers - set(model.elements))
    with torch.no_grad():
        model.network.elements.correction[new] = 0.0
    model.elements = tuple(sorted({*model.elements, *new}))


FREEZE: dict[str, Callable[[Model], None]] = {"learned only": learned_only, "properties only": properties_only}
BASE = EquivariantConfig()


def changed(**settings: Any) -> EquivariantConfig:
    return dataclasses.replace(BASE, **settings)


SHARED = {
    "e-sdnnff": Variant(BASE),
    "sdnnff, 3 frames": Variant(GridConfig()),
    "sdnnff, 1 frame": Variant(GridConfig(n_frames=1)),
    "direct head": Variant(changed(head="direct")),
    "2 layers": Variant(changed(n_layers=2)),
    "l_max 1": Variant(changed(l_max=1)),
    "l_max 2": Variant(changed(l_max=2)),
    "2 factors": Variant(changed(n_factors=2)),
}
CRYSTALS = {
    **SHARED,
    "properties only": Variant(BASE, freeze="properties only"),
    "learned only": Variant(BASE, freeze="learned only"),
    "100 crystals": Variant(BASE, n_crystals=100),
    "50 crystals": Variant(BASE, n_crystals=50),
    "400 crystals": Variant(BASE, n_crystals=400),
    "1000 crystals": Variant(BASE, n_crystals=1000),
    "bond-scaled radial functions": Variant(changed(radial_basis="bond-scaled")),
    "2 element channels": Variant(changed(n_element_channels=2)),
    "l_max 4": Variant(changed(l_max=4)),
    "1 factor": Variant(changed(n_factors=1)),
    "direct, then conservative": Variant(BASE, direct_share=0.5),
}
BUNDLED = load_model(None).config
WHEEL = {
    "as in the wheel": Variant(BUNDLED),
    "1 layer": Variant(dataclasses.replace(BUNDLED, n_layers=1)),
    "l_max 1": Variant(dataclasses.replace(BUNDLED, l_max=1)),
    "1 factor": Variant(dataclasses.replace(BUNDLED, n_factors=1)),
    "Bessel functions of r": Variant(dataclasses.replace(BUNDLED, radial_basis="bessel")),
    "direct head": Variant(dataclasses.replace(BUNDLED, head="direct")),
    "sdnnff, 1 frame": Variant(GridConfig(cutoff=4.5, sigma=0.54, n_frames=1)),
    "sdnnff, 3 frames": Variant(GridConfig(cutoff=4.5, sigma=0.54)),
    "4 element channels": Variant(dataclasses.replace(BUNDLED, n_element_channels=4)),
    "properties only": Variant(BUNDLED, freeze="properties only"),
    "learned only": Variant(BUNDLED, freeze="learned only"),
    "1000 crystals": Variant(BUNDLED, n_crystals=1000),
}
MUON = {"optimiser": "muon", "warmup_steps": 200, "weight_decay": 0.1, "structure_scaling": 0.75}
NACL = {
    **SHARED,
    "l_max 4": Variant(changed(l_max=4)),
    "cutoff 8 Å": Variant(changed(cutoff=8.0)),
    "1 factor": Variant(changed(n_factors=1)),
    "direct, then conservative": Variant(BASE, direct_share=0.5),
}


def fit(
    variant: Variant,
    structures: Sequence[Atoms],
    held: Sequence[Atoms],
    *,
    epochs: int,
    batch: int,
    refit_atoms: int,
    **settings: Any,
) -> SDNNFF:
    """Train one variant; ``held`` chooses epoch and ridge of the refit."""
    config = variant.config
    grid = isinstance(config, GridConfig)
    n_direct = round(variant.direct_share * epochs)
    training = TrainingConfig(
        epochs=epochs * GRID_EPOCHS if grid else epochs - n_direct,
        direct_epochs=n_direct,
        batch_atoms=batch,
        ema_decay=0.995,
        refit_atoms=refit_atoms,
        device="cpu",
        **{"learning_rate": 1e-3 if grid else 4e-3, **settings},
    )
    stores = Stores(store_of(structures, config.cutoff), store_of(held, config.cutoff), DataReport())
    with tempfile.TemporaryDirectory() as folder:
        if not variant.freeze:
            run = RunConfig(model=config, data=DataConfig(), training=training)
            return SDNNFF(train_member(run, stores, Path(folder), 0), device="cpu")
        model = new_model(config, stores.train, "float32", 0, False)
        FREEZE[variant.freeze](model)
        data = FitData(stores.train, stores.validation)
        model = Fit(model, data, training, Stage("conservative", Path(folder))).run()
        return SDNNFF(model, device="cpu")


class Salt:
    """The DFT supercells of NaCl, and frequencies and κ from forces on all of them."""

    def __init__(self, yaml: Path, mesh: int, kept: Path) -> None:
        self.yaml, self.mesh = yaml, mesh
        structures = list(iterate_structures([yaml]))
        self.small = [a for a in structures if len(a) == 64]
        self.large = [a for a in structures if len(a) != 64]
        if not kept.is_file():
            np.savez(kept, **self.phonons(None))
        with np.load(kept) as arrays:
            self.reference = dict(arrays)

    def phonons(self, calculator: SDNNFF | None) -> dict[str, Any]:
        """Frequencies (THz) on an 8³ mesh, and κ (W/mK) with own and with DFT fc2."""
        import phono3py

        ph3 = phono3py.load(self.yaml, produce_fc=False, log_level=0)
        ph3.produce_fc2(fc_calculator="symfc")
        dft_fc2 = ph3.fc2
        if calculator is not None:
            ph3.forces = np.array([r["forces"] for r in calculator.predict(self.small)])
            ph3.phonon_forces = np.array([r["forces"] for r in calculator.predict(self.large)])
            ph3.produce_fc2(fc_calculator="symfc")
        ph3.produce_fc3(fc_calculator="symfc")
        own = self._conductivity(ph3)
        frequencies = self._frequencies(ph3)
        if calculator is not None:
            ph3.fc2 = dft_fc2
        other = own if calculator is None else self._conductivity(ph3)
        return {"frequencies": frequencies, "kappa": own, "kappa_dft_fc2": other}

    def _conductivity(self, ph3: Any) -> float:
        ph3.mesh_numbers = [self.mesh] * 3
        ph3.init_phph_interaction()
        ph3.run_thermal_conductivity(temperatures=[300])
        return float(np.ravel(ph3.thermal_conductivity.kappa)[0])

    def _frequencies(self, ph3: Any) -> NDArray[np.float64]:
        from phonopy import Phonopy

        phonon = Phonopy(ph3.unitcell, ph3.phonon_supercell_matrix, primitive_matrix=ph3.primitive_matrix, log_level=0)
        phonon.nac_params = ph3.nac_params
        phonon.force_constants = ph3.fc2
        phonon.run_mesh([8, 8, 8], is_gamma_center=True)
        return np.asarray(phonon.mesh.frequencies)

    def errors(self, calculator: SDNNFF) -> dict[str, float]:
        """Errors against the DFT forces of the same supercells, as fractions."""
        own, dft = self.phonons(calculator), self.reference
        difference = own["frequencies"] - dft["frequencies"]
        return {
            "frequency_error": float(np.linalg.norm(difference) / np.linalg.norm(dft["frequencies"])),
            "kappa_error": float(own["kappa"] / dft["kappa"] - 1),
            "kappa_error_dft_fc2": float(own["kappa_dft_fc2"] / dft["kappa"] - 1),
        }


def forces_row(calculator: SDNNFF, test: Sequence[Atoms]) -> dict[str, float]:
    """Force errors over a test set, meV/Å; the median crystal's relative to its own scale."""
    report = evaluate_forces(calculator, test)
    scale = np.array([np.sqrt(np.mean(a.get_forces() ** 2)) for a in test])
    return {
        "force_rmse_mev": 1000 * report.rmse,
        "force_scale_mev": 1000 * report.scale,
        "median_relative_error": float(np.median(report.by_structure / scale)),
    }


def crystals_of(file: Path, kinds: str = "0.03") -> list[list[Atoms]]:
    """Group a file's supercells of some kinds (0.03 Å) by crystal; crystals that fell apart are left out."""
    crystals: dict[str, list[Atoms]] = {}
    for atoms in iterate_structures([file]):
        if str(atoms.info["kind"]).endswith(kinds) and np.abs(atoms.get_forces()).max() > 0:
            crystals.setdefault(str(atoms.info["structure_id"]), []).append(atoms)
    return list(crystals.values())


def flat(crystals: Sequence[Sequence[Atoms]]) -> list[Atoms]:
    return [atoms for crystal in crystals for atoms in crystal]


def run_crystals(
    arguments: argparse.Namespace,
    todo: Callable[[str], bool],
    keep: Callable[..., None],
    variants: dict[str, Variant] = CRYSTALS,
) -> None:
    wheel = variants is WHEEL
    crystals = crystals_of(arguments.train, "" if wheel else "0.03")
    test = flat(crystals_of(arguments.test)[: arguments.unseen])
    all_elements = {int(z) for atoms in test for z in atoms.numbers}
    rng = np.random.default_rng(0)
    crystals = [crystals[k] for k in rng.permutation(len(crystals))]
    held, crystals = flat(crystals[:N_VALIDATION]), crystals[N_VALIDATION:]
    usual, passes = (len(crystals), arguments.epochs_wheel) if wheel else (arguments.crystals, arguments.epochs)
    for name, variant in variants.items():
        if not todo(name):
            continue
        chosen = crystals[: variant.n_crystals or usual]
        epochs = round(passes * usual / len(chosen))
        settings: dict[str, Any] = {"batch": 160}
        if wheel:  # the grid model keeps the squares: it learns less from absolute errors
            settings = {
                "batch": 256,
                "loss": "squared" if isinstance(variant.config, GridConfig) else "absolute",
                **MUON,
            }
        begin = time.process_time()
        calculator = fit(variant, flat(chosen), held, epochs=epochs, refit_atoms=0, **settings)
        seconds = time.process_time() - begin
        extend(calculator.model, all_elements)  # fewer crystals may lack an element
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            save_model(calculator.model, arguments.keep / f"{name.replace(' ', '-').replace(',', '')}.pt")
        keep(name, cpu_seconds=seconds, n_train=len(chosen), n_test=len(test), **forces_row(calculator, test))


def run_nacl(arguments: argparse.Namespace, todo: Callable[[str], bool], keep: Callable[..., None]) -> None:
    salt = None
    yaml = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
    for name, variant in NACL.items():
        if not todo(name):
            continue
        salt = salt or Salt(yaml, arguments.mesh, arguments.json.with_suffix(f".dft-{arguments.mesh}.npz"))
        begin = time.process_time()
        train, held = salt.small[:18], salt.small[18:20]
        calculator = fit(variant, train, held, epochs=arguments.epochs_nacl, batch=64, refit_atoms=REFIT_ATOMS)
        seconds = time.process_time() - begin
        row = {**forces_row(calculator, salt.small[20:]), **salt.errors(calculator)}
        keep(name, cpu_seconds=seconds, n_train=20, n_test=80, kappa_reference=float(salt.reference["kappa"]), **row)


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Tables of both parts."""
    lines = []
    for part, variants in (("crystals", CRYSTALS), ("wheel", WHEEL)):
        lines += ["| | unseen crystals: force RMSE (meV/Å) | median relative | training (CPU s) |", "|---|---|---|---|"]
        for name in variants:
            if (row := rows.get(f"{part}/{name}")) is not None:
                relative = f"{100 * row['median_relative_error']:.1f} %"
                lines.append(f"| {name} | {row['force_rmse_mev']:.2f} | {relative} | {row['cpu_seconds']:.0f} |")
        lines.append("")
    lines += [
        "| | force RMSE (meV/Å) | frequencies | κ | κ with DFT fc2 | training (CPU s) |",
        "|---|---|---|---|---|---|",
    ]
    for name in NACL:
        if (row := rows.get(f"nacl/{name}")) is not None:
            errors = [f"{100 * row['frequency_error']:.3f} %"]
            errors += [f"{100 * row[key]:+.1f} %" for key in ("kappa_error", "kappa_error_dft_fc2")]
            cells = [name, f"{row['force_rmse_mev']:.3f}", *errors, f"{row['cpu_seconds']:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["crystals", "wheel", "nacl"])
    parser.add_argument("--train", type=Path, default=Path("data/train.extxyz"))
    parser.add_argument("--test", type=Path, default=Path("data/test.extxyz"))
    parser.add_argument("--variants", nargs="+", help="default: all")
    parser.add_argument("--crystals", type=int, default=200, help="to train on, learning curve apart")
    parser.add_argument("--unseen", type=int, default=40, help="crystals to test on")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save the models trained on crystals")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--epochs-wheel", type=int, default=3)
    parser.add_argument("--epochs-nacl", type=int, default=60)
    parser.add_argument("--mesh", type=int, default=11)
    parser.add_argument("--limit", type=float, default=np.inf, help="minutes after which no new model is begun")
    parser.add_argument("--json", type=Path, default=Path("ablations.json"))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows: dict[str, Any] = json.loads(arguments.json.read_text()) if arguments.json.is_file() else {}
    begin = time.monotonic()
    labelled = arguments.train.is_file() and arguments.test.is_file()
    for part, run, there in (
        ("crystals", run_crystals, labelled),
        ("wheel", functools.partial(run_crystals, variants=WHEEL), labelled),
        ("nacl", run_nacl, "SDNNFF_REFERENCE_DATA" in os.environ),
    ):
        if arguments.part not in (None, part):
            continue
        if not there:
            print(f"{part}: left out, its data are not there", file=sys.stderr)
            continue

        def todo(name: str, part: str = part) -> bool:
            wanted = arguments.variants is None or name in arguments.variants
            return wanted and f"{part}/{name}" not in rows and time.monotonic() - begin < 60 * arguments.limit

        def keep(name: str, part: str = part, **row: Any) -> None:
            rows[f"{part}/{name}"] = row
            arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            print(part, name, {k: round(v, 4) for k, v in row.items()}, flush=True)

        run(arguments, todo, keep)
    table = markdown(rows)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
