"""A training's folder belongs to that training, and to one process at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sdnnff_calc.data.loss_labels import say_once
from sdnnff_calc.errors import MissingExtraError, TrainingError
from sdnnff_calc.models.checkpoint import Model, save_model
from sdnnff_calc.training.log import EpochRecord, plot_learning_curve

__all__ = ["finish", "held"]

_log = logging.getLogger(__name__)


@contextmanager
def held(workdir: Path, stages: Sequence[str]) -> Iterator[None]:
    """Hold a folder while training in it.

    The lock is the operating system's, so a killed training leaves none behind. That a resume point found here is of
    this very training is checked by :class:`~sdnnff_calc.training.fit.Fit`, which wrote it.

    Parameters
    ----------
    workdir : Path
        Made if it is not there.
    stages : sequence of str
        Of this training, the last one ending in ``model.pt``.

    Raises
    ------
    TrainingError
        While another process trains there, or when it holds the model or a resume point of another training.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{workdir} is in use: another process is training there and holds {lock.lock_file}."
        ) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s cannot be locked (%s): nothing keeps a second training out of it.", workdir, error)
    try:
        for litter in workdir.glob(".*.tmp"):  # of a training that was killed while it wrote
            litter.unlink(missing_ok=True)
        found = {path.name for path in workdir.glob("resume-*.pt")}
        strange = sorted(found - {f"resume-{stage}.pt" for stage in stages})
        if (workdir / "model.pt").exists() and f"resume-{stages[-1]}.pt" not in found:
            strange.append("model.pt")
        if strange:
            raise TrainingError(
                f"{workdir} holds {' and '.join(strange)} of another training, or of one whose resume point is gone. "
                "Choose another workdir, or delete what is in the way to start again."
            )
        yield
    finally:
        lock.release()


def finish(model: Model, records: list[EpochRecord], workdir: Path) -> Path:
    """Write the checkpoint and draw the learning curve."""
    path = save_model(model, workdir / "model.pt")
    try:
        plot_learning_curve(records, workdir / "learning-curve")
    except MissingExtraError as error:
        say_once(f"no learning curve is drawn: {error}")
    return path
