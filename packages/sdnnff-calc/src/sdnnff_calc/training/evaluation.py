"""Errors of a model against labels: overall, per element, per structure, and as a picture."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from numpy.typing import NDArray

from sdnnff_calc.calculators.results import Result
from sdnnff_calc.calculators.sdnnff import SDNNFF
from sdnnff_calc.data.samples import stress_matrix
from sdnnff_calc.data.structure_label import in_structure
from sdnnff_calc.data.structures import energy_label
from sdnnff_calc.errors import ConfigError, EmptyInputError, MissingExtraError, nearest_hint
from sdnnff_calc.file_access.atomic_write import write_atomically
from sdnnff_calc.file_access.figure_file import FORMATS, figure_content, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ForceReport", "OneByOne", "Predictor", "check_picture", "embed", "evaluate_forces", "plot_parity"]


class Predictor(Protocol):
    """What predicts many structures in one call, as :meth:`SDNNFF.predict <sdnnff_calc.SDNNFF.predict>`."""

    def predict(self, structures: list[Atoms], *, memory_gb: float = 1.0) -> Sequence[Mapping[str, Result]]:
        """Give ``forces`` (n_atoms, 3), eV/Å, and perhaps ``energy``, eV, of each structure."""
        ...


class OneByOne:
    """Any ASE calculator as a :class:`Predictor`: a peer to compare with.

    Parameters
    ----------
    calculator : object
        Gives forces.
    """

    def __init__(self, calculator: GetPropertiesMixin) -> None:
        self.calculator = calculator

    def predict(self, structures: list[Atoms], *, memory_gb: float = 1.0) -> Sequence[Mapping[str, Result]]:
        """Call the calculator for each structure."""
        return [{"forces": np.asarray(self.calculator.get_forces(atoms.copy()))} for atoms in structures]


@dataclass(frozen=True)
class ForceReport:
    """Force errors over a labelled set.

    Attributes
    ----------
    n_structures, n_atoms : int
        Size of the set.
    rmse, mae : float
        Over all components, eV/Å.
    scale : float
        Root mean square of the labels' components, eV/Å: the error of predicting zero.
    by_element : dict of str to float
        RMSE, eV/Å, by symbol.
    by_structure : NDArray[np.float64]
        RMSE of each structure, shape (n_structures,), eV/Å.
    origins : list of str
        File and frame of each structure, or its formula.
    energy_mae : float or None
        Per atom, eV; None without energies on both sides.
    stress_mae : float or None
        Of the six components, eV/Å³; None without stresses on both sides.
    labels, predictions : NDArray[np.float64]
        All force components, shape (n_atoms, 3), eV/Å.
    never_trained : tuple of str
        Labels of the set that the model was never trained on: its errors in them are those of a guess, or, for a
        stress, not given.
    """

    n_structures: int
    n_atoms: int
    rmse: float
    mae: float
    scale: float
    by_element: dict[str, float]
    by_structure: NDArray[np.float64]
    origins: list[str]
    energy_mae: float | None
    stress_mae: float | None
    labels: NDArray[np.float64]
    predictions: NDArray[np.float64]
    never_trained: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Give the numbers for JSON."""
        return {
            "n_structures": self.n_structures,
            "n_atoms": self.n_atoms,
            "force_rmse_ev_per_angstrom": self.rmse,
            "force_mae_ev_per_angstrom": self.mae,
            "force_scale_ev_per_angstrom": self.scale,
            "relative_force_rmse": self.rmse / self.scale if self.scale else None,
            "force_rmse_by_element": self.by_element,
            "force_rmse_by_structure": [float(x) for x in self.by_structure],
            "structures": self.origins,
            "energy_mae_ev_per_atom": self.energy_mae,
            "stress_mae_ev_per_cubic_angstrom": self.stress_mae,
            "never_trained": list(self.never_trained),
        }

    def lines(self) -> list[str]:
        """Say it as a table, meV/Å."""
        rows = [
            f"{self.n_structures} structures, {self.n_atoms} atoms",
            f"force RMSE {1000 * self.rmse:9.3f} meV/Å ({100 * self.rmse / max(self.scale, 1e-30):.2f} %)",
            f"force MAE  {1000 * self.mae:9.3f} meV/Å",
            f"force scale {1000 * self.scale:8.3f} meV/Å (RMS component of the labels)",
        ]
        rows += [f"  {symbol:2s}       {1000 * value:9.3f} meV/Å" for symbol, value in self.by_element.items()]
        worst = int(np.argmax(self.by_structure))
        rows.append(f"worst structure: {self.origins[worst]}, {1000 * float(self.by_structure[worst]):.3f} meV/Å")
        if self.energy_mae is not None:
            mark = " (never trained on: its zero is arbitrary)" if "energies" in self.never_trained else ""
            rows.append(f"energy MAE {1000 * self.energy_mae:9.3f} meV/atom{mark}")
        if self.stress_mae is not None:
            rows.append(f"stress MAE {self.stress_mae / GPa:9.3f} GPa")
        elif "stresses" in self.never_trained:
            rows.append("stress MAE: not given, this model was never trained on stresses")
        if "forces" in self.never_trained:
            rows.append("forces were never trained on")
        return rows


def _rms(values: NDArray[np.float64]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def evaluate_forces(calculator: Predictor, structures: Sequence[Atoms], memory_gb: float = 1.0) -> ForceReport:
    """Compare a model with labels.

    Parameters
    ----------
    calculator : Predictor
        The model, or ``OneByOne(calculator)``.
    structures : sequence of Atoms
        With calculators that hold forces (eV/Å).
    memory_gb : float
        Limit for one batch.

    Raises
    ------
    EmptyInputError
        For an empty list.
    """
    if len(structures) == 0:
        raise EmptyInputError("there is no structure to evaluate.")
    predicted = calculator.predict(list(structures), memory_gb=memory_gb)
    labels = [np.asarray(a.calc.results["forces"], dtype=float) for a in structures]
    errors = [p["forces"] - f for p, f in zip(predicted, labels, strict=True)]
    error, numbers = np.concatenate(errors), np.concatenate([a.numbers for a in structures])
    energy = [
        abs(float(p["energy"]) - label) / len(a)
        for p, a in zip(predicted, structures, strict=True)
        if "energy" in p and np.isfinite(label := energy_label(a.calc.results))
    ]
    stress = [
        np.abs(p["stress"] - full_3x3_to_voigt_6_stress(stress_matrix(a.calc.results["stress"]))).mean()
        for p, a in zip(predicted, structures, strict=True)
        if "stress" in p and "stress" in a.calc.results
    ]
    return ForceReport(
        n_structures=len(structures),
        n_atoms=len(numbers),
        rmse=_rms(error),
        mae=float(np.abs(error).mean()),
        scale=_rms(np.concatenate(labels)),
        by_element={chemical_symbols[z]: _rms(error[numbers == z]) for z in np.unique(numbers)},
        by_structure=np.array([_rms(e) for e in errors]),
        origins=[str(a.info.get("origin", a.get_chemical_formula())) for a in structures],
        energy_mae=float(np.mean(energy)) if energy else None,
        stress_mae=float(np.mean(stress)) if stress else None,
        labels=np.concatenate(labels),
        predictions=np.concatenate([p["forces"] for p in predicted]),
        never_trained=_never_trained(calculator, structures),
    )


def _never_trained(calculator: Predictor, structures: Sequence[Atoms]) -> tuple[str, ...]:
    """Name the labels of a set that an SDNNFF model was never trained on."""
    trained = calculator.model.trained if isinstance(calculator, SDNNFF) else None
    if trained is None:
        return ()
    results = [atoms.calc.results for atoms in structures]
    present = {
        "forces": True,
        "energies": any(np.isfinite(energy_label(r)) for r in results),
        "stresses": any("stress" in r for r in results),
    }
    return tuple(name for name, is_there in present.items() if is_there and getattr(trained, name) == 0)


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be drawn, before the work that it would show.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    ConfigError
        When the folder is not there, or the name ends in no format of matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'sdnnff-calc[plot]'.") from error
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}.")
    formats, ending = FigureCanvasAgg.get_supported_filetypes(), path.suffix.lower().removeprefix(".")
    if ending and ending not in formats:
        raise ConfigError(f"{path} ends in no known format of pictures. {nearest_hint(ending, formats)}")


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure in the format that its ending names; without one as PNG, SVG and PDF. Return the files."""
    forms = [path.suffix.lower().removeprefix(".")] if path.suffix else FORMATS
    paths = [path if path.suffix else path.with_name(f"{path.name}.{form}") for form in forms]
    for target, form in zip(paths, forms, strict=True):
        write_atomically(target, operator.methodcaller("write", figure_content(figure, form)))
    return paths


def plot_parity(report: ForceReport, path: Path) -> None:
    """Draw predicted against labelled force components as a density, with the errors.

    Parameters
    ----------
    report : ForceReport
        Labels and predictions, eV/Å.
    path : Path
        Picture; its ending names the format, and without one it is written as PNG, SVG and PDF. The components lie
        beside it as CSV.
    """
    check_picture(path)
    labels, predictions = report.labels.ravel(), report.predictions.ravel()
    limit = 1.05 * max(float(np.abs(labels).max()), 1e-12)
    with paper_style():
        figure = new_figure(3.39, 2.8)
        axes = figure.add_subplot()
        bins = axes.hexbin(
            labels, predictions, gridsize=80, bins="log", extent=(-limit, limit, -limit, limit), mincnt=1
        )
        axes.plot([-limit, limit], [-limit, limit], color="#333333", linewidth=0.8)
        figure.colorbar(bins, ax=axes, label="components")
        axes.set(xlabel="labelled force (eV/Å)", ylabel="predicted force (eV/Å)", aspect="equal")
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
        error = predictions - labels
        text = (
            f"RMSE {1000 * report.rmse:.3g} meV/Å\nMAE {1000 * float(np.abs(error).mean()):.3g} meV/Å\n"
            f"mean {1000 * float(error.mean()):.2g} meV/Å\n{labels.size:,} components"
        ).replace("-", "−")
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=7)
        save_figure(figure, path)
    plain = path.with_suffix("") if path.suffix else path
    table = np.column_stack([report.labels.reshape(-1, 3), report.predictions.reshape(-1, 3)])
    head = ",".join(f"{what}_{axis}_ev_angstrom" for what in ("label", "prediction") for axis in "xyz")
    write_atomically(
        plain.with_name(f"{plain.name}.csv"),
        lambda stream: np.savetxt(stream, table, "%.8g", ",", header=head, comments=""),
    )


def embed(calculator: SDNNFF, structures: Sequence[Atoms]) -> NDArray[np.float64]:
    """Give one descriptor vector per structure: the mean of its atoms' descriptors.

    Parameters
    ----------
    calculator : SDNNFF
        The model.
    structures : sequence of Atoms
        At least one.

    Returns
    -------
    ndarray, float64, shape (n_structures, n_features)
        Dimensionless; invariant under rotation, permutation and the choice of supercell.
    """
    if len(structures) == 0:
        raise EmptyInputError("there is no structure to embed.")
    vectors = []
    for index, atoms in enumerate(structures):
        with in_structure(index, atoms):
            vectors.append(calculator.descriptors(atoms).mean(axis=0))
    return np.stack(vectors)
