"""The record of a training: a CSV log, and its picture."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdnnff_calc.errors import MissingExtraError
from sdnnff_calc.file_access.atomic_write import write_atomically
from sdnnff_calc.file_access.figure_file import label_few_ticks, new_figure, paper_style

if TYPE_CHECKING:
    pass

__all__ = ["EpochRecord", "plot_learning_curve", "write_log"]


@dataclass(frozen=True)
class EpochRecord:
    """One line of ``log-STAGE.csv``.

    Attributes
    ----------
    stage : str
        ``direct``, ``conservative`` or ``finetune``.
    epoch, step : int
        Done so far in this stage.
    seconds : float
        Wall time of this stage, kills and resumes included.
    learning_rate, loss, validation_loss : float
        Of the last step; average over the epoch; the same of the averaged weights on the validation set (or on the
        training set, where there is none): its least chooses the epoch to keep.
    train_force_rmse, validation_force_rmse : float, eV/Å
        The first with the weights as they moved, the second with the averaged ones.
    validation_force_mae : float, eV/Å
    validation_energy_mae, validation_stress_mae : float, optional
        eV/atom and, of its components, eV/Å³; None where they are not trained on or not labelled.
    """

    stage: str
    epoch: int
    step: int
    seconds: float
    learning_rate: float
    loss: float
    train_force_rmse: float
    validation_loss: float
    validation_force_rmse: float
    validation_force_mae: float
    validation_energy_mae: float | None = None
    validation_stress_mae: float | None = None


def write_log(records: list[EpochRecord], path: Path) -> None:
    """Write all records as CSV."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow([f.name for f in dataclasses.fields(EpochRecord)])
    writer.writerows(dataclasses.astuple(record) for record in records)
    write_atomically(path, lambda stream: stream.write(table.getvalue().encode()))


def plot_learning_curve(records: list[EpochRecord], path: Path) -> None:
    """Draw training and validation error against the step, as PNG, SVG and PDF; the data are those of the log.

    Parameters
    ----------
    records : list of EpochRecord
    path : Path
        Without an ending.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    try:
        style = paper_style()
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'sdnnff-calc[plot]'.") from error
    from sdnnff_calc.training.evaluation import save_figure

    steps, offset, last = [], 0, None
    for record in records:
        if last is not None and record.stage != last.stage:
            offset += last.step
        steps.append(offset + record.step)
        last = record
    with style:
        figure = new_figure(3.39, 2.5)
        axes = figure.add_subplot()
        axes.plot(steps, [1000 * r.train_force_rmse for r in records], label="training")
        axes.plot(steps, [1000 * r.validation_force_rmse for r in records], label="validation, averaged weights")
        axes.set(xlabel="step", ylabel="force RMSE (meV/Å)", yscale="log")
        label_few_ticks(axes)
        axes.legend()
        save_figure(figure, path)
