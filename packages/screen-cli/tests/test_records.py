"""Typed records: through the store and back, refused where they are not what they say; documented as declared."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from screen_cli.errors import PhysicsError, PluginError, RecordError
from screen_cli.plugins.manager import load_plugins
from screen_cli.plugins.records import PropertyPlugin
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import Forces, ForceSet
from screen_cli.stages.gate import GateDecision
from screen_cli.stages.harmonic import Harmonic
from screen_cli.stages.phonon_cells import BaseCell
from screen_cli.stages.property import declared_record, record_of
from screen_cli.stages.relax import Relaxed
from screen_cli.stages.warm.renormalise import Renormalised
from screen_cli.stages.warm.selection import Selection
from screen_cli.store.record import Record, TypedRecord, declared_arrays
from screen_cli.store.records import RecordStore
from screen_cli.testing.record_strategies import same_storage, typed_records

BUILTIN = list(load_plugins(points=()).records["properties"].values())
OF_PROPERTIES = tuple(declared_record(plugin) for plugin in BUILTIN)
OF_STAGES = (
    *(Relaxed, Displaced, Forces, ForceConstants, Harmonic, GateDecision, Conductivity, Selection, Renormalised),
    *OF_PROPERTIES,
)
EVERY = (*OF_STAGES, SupercellSet, BaseCell, ForceSet)
any_record = st.sampled_from(OF_STAGES).flatmap(typed_records)


@pytest.mark.parametrize("record_class", OF_STAGES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_record_survives_its_storage_form(record_class: type[TypedRecord], data: st.DataObject) -> None:
    record = data.draw(typed_records(record_class))
    again = record_class.from_storage(record.to_storage())
    assert type(again) is record_class
    assert same_storage(again, record)
    for item in dataclasses.fields(record_class):
        if item.name not in declared_arrays(record_class) and "part" not in item.metadata:
            assert getattr(again, item.name) == getattr(record, item.name)


@settings(max_examples=25, deadline=None)
@given(record=any_record)
def test_every_record_survives_the_files_of_the_store(record: TypedRecord, tmp_path_factory: Any) -> None:
    stored = record.to_storage()
    stored.check_finite("x")
    store = RecordStore(tmp_path_factory.mktemp("store"))
    store.write("ab12", "x", "k", stored, seconds=0.0)
    read = store.read("ab12", "x", "k")
    assert read is not None
    assert same_storage(type(record).from_storage(read), record)


@settings(max_examples=40, deadline=None)
@given(record=any_record, data=st.data())
def test_a_missing_array_value_or_document_is_named(record: TypedRecord, data: st.DataObject) -> None:
    stored = record.to_storage()
    needed = [item.name for item in dataclasses.fields(record) if item.default is dataclasses.MISSING]
    arrays = {described.name for described in declared_arrays(type(record)).values() if not described.optional}
    candidates = sorted((arrays | set(needed)) & (stored.arrays.keys() | stored.data.keys()))
    assume(candidates)
    name = data.draw(st.sampled_from(candidates))
    cut = Record(
        {key: value for key, value in stored.data.items() if key != name},
        {key: value for key, value in stored.arrays.items() if key != name},
        stored.documents,
    )
    with pytest.raises(RecordError, match=name):
        type(record).from_storage(cut)


@settings(max_examples=40, deadline=None)
@given(record=any_record, data=st.data())
def test_another_dtype_or_shape_is_refused(record: TypedRecord, data: st.DataObject) -> None:
    there = [name for name in declared_arrays(type(record)) if getattr(record, name) is not None]
    assume(there)
    name = data.draw(st.sampled_from(there))
    values = getattr(record, name)
    spoiled = data.draw(st.sampled_from([np.zeros(values.shape, np.float32), values[..., None], values.tolist()]))
    with pytest.raises(RecordError, match=f"{type(record).__name__}.{name}"):
        dataclasses.replace(record, **{name: spoiled})


@settings(max_examples=30, deadline=None)
@given(record=typed_records(Harmonic), extra=st.integers(1, 3))
def test_sizes_with_one_name_agree_throughout_a_record(record: Harmonic, extra: int) -> None:
    longer = np.zeros(len(record.weights) + extra, dtype=np.int64)
    with pytest.raises(RecordError, match=r"Harmonic.weights has shape .* expected"):
        dataclasses.replace(record, weights=longer)


@settings(max_examples=30, deadline=None)
@given(record=any_record, bad=st.sampled_from([np.nan, np.inf, -np.inf]), data=st.data())
def test_what_is_not_finite_is_never_written(record: TypedRecord, bad: float, data: st.DataObject) -> None:
    floats = [
        name
        for name, described in declared_arrays(type(record)).items()
        if described.dtype == np.float64 and getattr(record, name) is not None and getattr(record, name).size
    ]
    assume(floats)
    name = data.draw(st.sampled_from(floats))
    values = getattr(record, name).copy()
    values.flat[data.draw(st.integers(0, values.size - 1))] = bad
    with pytest.raises(PhysicsError, match="not finite|is nan|is inf|is -inf"):
        dataclasses.replace(record, **{name: values}).to_storage().check_finite("stage")


def test_values_of_another_type_are_refused() -> None:
    stored = GateDecision(passed_gate=True, gate_audited=False, gate_reason="").to_storage()
    with pytest.raises(RecordError, match="passed_gate = 'yes'"):
        GateDecision.from_storage(Record(stored.data | {"passed_gate": "yes"}))


@pytest.mark.parametrize("record_class", EVERY)
def test_every_array_is_documented_with_dtype_and_shape(record_class: type[TypedRecord]) -> None:
    entries = [entry for part in record_class.__mro__ for entry in _entries(inspect.getdoc(part) or "")]
    for name, described in declared_arrays(record_class).items():
        paragraph = next(part for part in entries if name in part[0])
        shape = ", ".join(str(size) for size in described.shape)
        shape = f"({shape},)" if len(described.shape) == 1 else f"({shape})"
        assert f"{described.dtype} {shape}" in paragraph[1], f"{name}: {described.dtype} {shape}"


def test_every_built_in_property_gives_a_typed_record() -> None:
    assert len(BUILTIN) > 8
    assert all(issubclass(declared_record(plugin), TypedRecord) for plugin in BUILTIN)


@dataclasses.dataclass(frozen=True)
class Spread:
    """What a plugin that does not know the host may give."""

    sigma: float
    reason: str | None
    members: Any


def test_a_plugin_gives_a_dataclass_of_its_own_and_no_other_record_than_it_declares() -> None:
    plain = PropertyPlugin(name="spread", summary="", factory="x:y")
    stored = record_of(plain, Spread(0.5, None, np.arange(3.0)))
    assert isinstance(stored, Record)
    assert stored.data == {"sigma": 0.5, "reason": None}
    assert stored.floats("members").tolist() == [0.0, 1.0, 2.0]
    assert record_of(plain, {"a": 1}).to_storage().data == {"a": 1}
    with pytest.raises(PluginError, match="returned list, expected a dict"):
        record_of(plain, [1.0])
    declares = dataclasses.replace(plain, record="screen_cli.properties.rattler:Rattler")
    rattler = declared_record(declares)(rattler_element="Na", rattler_ratio=1.5)
    assert record_of(declares, rattler) is rattler
    with pytest.raises(PluginError, match="returned dict, expected screen_cli.properties.rattler:Rattler"):
        record_of(declares, {"rattler_element": "Na", "rattler_ratio": 1.5})
    with pytest.raises(PluginError, match="no TypedRecord"):
        declared_record(dataclasses.replace(plain, record="screen_cli.properties.rattler:rattler"))


def _entries(text: str) -> list[tuple[list[str], str]]:
    """Names and text of each entry under *Parameters*."""
    found: list[tuple[list[str], str]] = []
    for line in text.splitlines():
        if " : " in line and not line.startswith(" "):
            found.append(([name.strip() for name in line.split(" : ")[0].split(",")], ""))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
    return found


def test_names_on_disk_are_those_of_phono3py_and_of_the_table(tmp_path: Path) -> None:
    supercells = SupercellSet(
        displacements=np.zeros((2, 1, 3)), cell=np.eye(3), positions=np.zeros((1, 3)), numbers=np.array([29])
    )
    displaced = Displaced(
        supercells=supercells,
        supercells_fc2=supercells,
        base_cell=BaseCell(
            cell=np.eye(3), positions=np.zeros((1, 3)), numbers=np.array([29]), primitive_matrix=np.eye(3)
        ),
        yaml="",
        kind="random",
        paired=True,
        distance=0.03,
        n_params_fc2=1,
        n_params_fc3=1,
        supercell_dim=(1, 1, 1),
        supercell_base="primitive",
        supercell_length=2.0,
    ).to_storage()
    names = ("displacements", "supercell_cell", "supercell_positions", "supercell_numbers")
    base = ("unitcell_cell", "unitcell_positions", "unitcell_numbers", "primitive_matrix")
    assert displaced.arrays.keys() == {*names, *(f"{name}_fc2" for name in names), *base}
    assert displaced.data["n_supercells_fc2"] == 2
    assert "equations_ratio" not in displaced.data
