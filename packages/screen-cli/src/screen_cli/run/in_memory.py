"""One crystal through the stages without a run directory: typed records in memory, errors as exceptions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from screen_cli.config import RunSettings
from screen_cli.crystal.born import BornTensors
from screen_cli.crystal.metadata import source_columns
from screen_cli.crystal.structure import Structure
from screen_cli.errors import PluginError
from screen_cli.run.crystal import Records, merge_scalars
from screen_cli.run.pipeline import stages_for
from screen_cli.stages.stage import AnyRecord, ForceField, Inputs, Stops
from screen_cli.store.record import Scalar


@dataclass
class Passage:
    """What the stages gave.

    Parameters
    ----------
    records : dict of str to record
        By stage, in order.
    scalars : dict of str to value
        Columns, named as in the table of a run.
    seconds : dict of str to float
        Wall time of each stage.
    reason : str
        Why the crystal was held back before the end; empty where it was not.
    """

    records: dict[str, AnyRecord] = field(default_factory=dict)
    scalars: dict[str, Scalar | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reason: str = ""


def run_in_memory(
    structure: Structure,
    settings: RunSettings,
    force_field: ForceField,
    *,
    born: BornTensors | None = None,
    starts: Callable[[str], None] = lambda stage: None,
) -> Passage:
    """Take one crystal through the stages.

    Parameters
    ----------
    structure : Structure
    settings : RunSettings
        Resolved (:func:`screen_cli.run.driver.resolve`).
    force_field : ForceField
    born : BornTensors, optional
        In the frame and order of the crystal.
    starts : callable
        Told the name of each stage before it runs.

    Raises
    ------
    ScreenError
        With the sentence that a run would quarantine the crystal with; the stage stands in a note.
    """
    passage = Passage(scalars={**source_columns(structure.to_dict())})
    stages = stages_for(settings)
    stops = Stops(stages)
    for stage in stages:
        if stops.passes_by(stage):
            continue
        starts(stage.name)
        inputs = Inputs(
            structure=structure,
            settings=settings,
            force_field=force_field,
            records=Records(stage.needs, passage.records.__getitem__),
            scalars=passage.scalars,
            born=born,
        )
        start = time.perf_counter()
        try:
            record: AnyRecord = stage.run(inputs)
            stored = record.to_storage()
            stored.check_finite(stage.name)
        except ImportError as error:
            raise PluginError(f"{stage.name}: {error}") from error
        except Exception as error:
            error.add_note(f"{structure.formula} failed in the stage {stage.name}")
            raise
        passage.seconds[stage.name] = time.perf_counter() - start
        passage.records[stage.name] = record
        merge_scalars(passage.scalars, stage, stored.data)
        stops.look(stage, stored.data)
    passage.reason = stops.verdict()[1]
    return passage
