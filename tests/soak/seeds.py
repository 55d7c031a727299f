"""Every reader of the four packages with whole files to damage: what a stranger may hand to it."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

HERE = Path(__file__).parent
PACKAGES = HERE.parents[1] / "packages"
ID = "ab12cd34ef56"


@dataclass(frozen=True)
class Reader:
    """A reader, and a whole file for it.

    Parameters
    ----------
    name : str
    whole : bytes
        Of a file that it reads; for JSON with ``reseal``, the text of the content.
    read : callable
        Takes the bytes of a damaged file.
    reseal : bool
        The file is JSON with a checksum: change its values, and give it the checksum that a forger would.
    """

    name: str
    whole: bytes
    read: Callable[[bytes], object]
    reseal: bool = False


def all_readers(root: Path) -> Iterator[Reader]:
    """Yield the readers of every package; ``root`` is an empty folder for their files."""
    yield from structures_of_the_host(root)
    yield from stores_of_the_host(root)
    yield from others_of_the_host(root)
    yield from transport(root)
    yield from force_field(root)
    yield from loop(root)


def put(path: Path, content: bytes) -> Path:
    """Write a file; give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def copper(labelled: bool = False):
    """Four atoms, with forces where asked for."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=1)
    if labelled:
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
    return atoms


def written(name: str, atoms, **options: object) -> bytes:
    """Bytes of a file as ASE writes it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, atoms, **options)
        return (Path(folder) / name).read_bytes()


def vasprun() -> bytes:
    """A vasprun.xml of a finished run."""
    import tempfile

    from al_committee.testing.vasprun import write_vasprun

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "POSCAR", copper(), format="vasp")
        write_vasprun(Path(folder), forces=np.full((4, 3), 0.1))
        return (Path(folder) / "vasprun.xml").read_bytes()


CIF = b"""data_x
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Al1 0 0 0 1.0
"""


def structures_of_the_host(root: Path) -> Iterator[Reader]:
    """Structure files, as the source ``files`` reads them, and answers of OPTIMADE."""
    import bz2
    import gzip
    import lzma

    from screen_cli.sources.files import iterate_files
    from screen_cli.sources.optimade.entry import atoms_of

    atoms, relaxed = copper(), copper(labelled=True)
    poscar = written("POSCAR", atoms, format="vasp")
    files = {
        "a.cif": CIF,
        "POSCAR": poscar,
        "a.xyz": written("a.xyz", relaxed, format="extxyz"),
        "a.traj": written("a.traj", [relaxed, relaxed]),
        "a.db": written("a.db", relaxed),
        "a.xsf": written("a.xsf", atoms),
        "a.res": written("a.res", atoms),
        "a.gen": written("a.gen", atoms),
        "a.pwo": (PACKAGES / "al-committee/tests/data/espresso/done-0.pwo").read_bytes(),
        "vasprun.xml": vasprun(),
        "a.cif.gz": gzip.compress(CIF),
        "a.vasp.bz2": bz2.compress(poscar),
        "a.vasp.xz": lzma.compress(poscar),
    }
    for name, content in files.items():
        yield Reader(name, content, lambda c, n=name: list(iterate_files([str(put(root / "files" / n, c))])))
    entry = {
        "lattice_vectors": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "cartesian_site_positions": [[0, 0, 0], [2, 2, 2]],
        "species_at_sites": ["Cs", "Cl"], "nsites": 2, "dimension_types": [1, 1, 1], "structure_features": [],
        "species": [{"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in ("Cs", "Cl")],
    }  # fmt: skip
    yield Reader(
        "an entry of OPTIMADE",
        json.dumps(entry).encode(),
        lambda c: atoms_of(as_table(c), 1.0, 200),
        reseal=True,
    )


def as_table(content: bytes) -> dict[str, object]:
    """JSON as a table, without its checksum."""
    found = json.loads(content)
    found.pop("checksum", None)
    return dict(found)


def stores_of_the_host(root: Path) -> Iterator[Reader]:
    """Parts of a run directory."""
    from screen_cli.config import settings_from_dict
    from screen_cli.crystal.structure import Structure
    from screen_cli.run.merge import merge_runs
    from screen_cli.run.rebuild import rebuild_index
    from screen_cli.store.record import Record
    from screen_cli.store.run_directory import RunDirectory
    from screen_cli.store.verify import verify

    plain = {"calculator": {"name": "emt"}, "conductivity": {"solver": "standard"}}
    run = RunDirectory.create(root / "run", settings_from_dict(plain))
    crystal = Structure.from_atoms(bulk("Al", a=4.05), provider="files", provider_id="Al.cif")
    run.store.write_structure(ID, {**crystal.to_dict(), "id": ID})
    record = Record({"a": 1.0, "b": "x"}, {"x": np.arange(9.0)}, {"yaml": "a: 1\n"})
    run.store.write(ID, "relax", "k1", record, seconds=0.0)
    run.store.quarantine(ID, {"id": ID, "stage": "relax", "reason": "it broke", "traceback": ""})
    (run.root / "filtered.jsonl").write_text('{"id": "filtered-1", "formula": "Al", "state": "filtered"}\n')
    rebuild_index(run)

    def read_run(relative: str, content: bytes) -> None:
        """Do to a run with one changed file what commands do."""
        folder = root / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(root / "merged", ignore_errors=True)
        shutil.copytree(run.root, folder)
        put(folder / relative, content)
        there = RunDirectory.open(folder)
        there.store.read(ID, "relax", "k1")
        there.store.find(ID, "relax", "k1")
        verify(there)
        there.running()
        if not relative.startswith("index"):
            rebuild_index(there)
            merge_runs([folder], root / "merged")
        there.rows("n_atoms > 0 or formula == 'Al'")

    record_path = run.store.path(ID, "relax", "k1")
    parts = {
        path.relative_to(run.root).as_posix(): path.read_bytes()
        for path in (
            *(record_path.with_suffix(suffix) for suffix in (".json", ".hdf5", ".yaml")),
            record_path.with_name("structure.json"),
            *(run.root / name for name in ("manifest.json", "filtered.jsonl", "index.sqlite", f"failed/{ID}.json")),
        )
    }
    for relative, content in parts.items():
        read = functools.partial(read_run, relative)
        yield Reader(f"run/{relative}", content, read)
        if relative.endswith(".json"):
            yield Reader(f"forged run/{relative}", content, read, reseal=True)


def others_of_the_host(root: Path) -> Iterator[Reader]:
    """Settings, filters, displacements, Born charges and references."""
    from screen_cli.bench.reference import read_references
    from screen_cli.config import load_settings
    from screen_cli.crystal.structure import Structure
    from screen_cli.sources.born_files import read_born
    from screen_cli.stages.phonon_objects import _read_yaml
    from screen_cli.store.expression import evaluate, to_sql
    from screen_cli.store.reading.hdf5 import arrays_of_hdf5

    for name in ("demo", "campaign", "ultralow"):
        toml = (HERE.parents[1] / "examples" / f"{name}.toml").read_bytes()
        yield Reader(f"{name}.toml", toml, lambda c: load_settings(put(root / "c.toml", c)))

    def read_filter(content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        to_sql(text, ["a", "b"])
        evaluate(text, {"a": 1.0, "b": "x"})

    for text in (
        b"a > 1.0 and b == 'x' or not a / 3 <= 2e3",
        b"b in ['x', 'y'] and -a * 2 != 4 - 3",
    ):
        yield Reader("a filter", text, read_filter)
    salt = Structure.from_atoms(bulk("NaCl", "rocksalt", a=5.64), provider="files", provider_id="x")
    born = b"14.4\n2.4 0 0 0 2.4 0 0 0 2.4\n1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n"
    yield Reader("BORN", born, lambda c: read_born(put(root / "born" / "BORN", c), salt))
    yield Reader("displacements", PHONO3PY_YAML, lambda c: _read_yaml(SimpleNamespace(yaml=c.decode("latin-1"))))

    def read_arrays(content: bytes) -> None:
        with contextlib.suppress(ValueError):  # which the store turns into a record that is absent
            arrays_of_hdf5(content)

    yield Reader("arrays of a record", hdf5(x=np.arange(9.0), y=np.zeros((200, 1000))), read_arrays)
    kappa = hdf5(
        temperature=np.array([300.0]), mode_kappa=np.ones((1, 2, 6, 6)), weight=np.array([1, 1]),
        qpoint=np.zeros((2, 3)), frequency=np.ones((2, 6)), mesh=np.array([2, 1, 1]),
    )  # fmt: skip
    yield Reader("reference.hdf5", kappa, lambda c: read_references(put(root / "kappa-m211.hdf5", c), 300.0))
    table = {
        "mp_id": "mp-1", "name": "x", "temperatures": [300.0], "kappa_tot_rta": [[1.0, 1, 1, 0, 0, 0]],
        "q_mesh": [1, 1, 1], "mode_kappa_tot_rta": np.ones((1, 1, 6, 3)).tolist(), "weights": [1],
        "qpoints": [[0, 0, 0]], "frequencies": [[1.0] * 6],
    }  # fmt: skip
    columns = json.dumps({name: {"0": value} for name, value in table.items()}).encode()
    yield Reader("reference.json", columns, lambda c: read_references(put(root / "reference.json", c), 300.0))


def hdf5(**arrays: np.ndarray) -> bytes:
    """Bytes of an HDF5 file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if array.size > 9 else None)
    return buffer.getvalue()


CELL = """  lattice:
  - [ 4.1, 0, 0 ]
  - [ 0, 4.1, 0 ]
  - [ 0, 0, 4.1 ]
  points:
  - symbol: Cs
    coordinates: [ 0, 0, 0 ]
    mass: 132.9
  - symbol: Cl
    coordinates: [ 0.5, 0.5, 0.5 ]
    mass: 35.45
"""
PHONO3PY_YAML = f"""phono3py:
  version: "4.10.0"
  calculator: vasp
physical_unit:
  length: "angstrom"
  force_constants: "eV/angstrom^2"
supercell_matrix:
- [ 1, 0, 0 ]
- [ 0, 1, 0 ]
- [ 0, 0, 1 ]
primitive_matrix:
- [ 1, 0, 0 ]
- [ 0, 1, 0 ]
- [ 0, 0, 1 ]
unit_cell:
{CELL}supercell:
{CELL}displacement_pairs:
- atom: 1
  displacement: [ 0.01, 0, 0 ]
  forces:
  - [ -0.1, 0, 0 ]
  - [ 0.1, 0, 0 ]
  paired_with:
  - atom: 2
    displacements:
    - [ 0.01, 0, 0 ]
    forces:
    -
      - [ -0.1, 0, 0 ]
      - [ 0.1, 0, 0 ]
""".encode()
PHONOPY_YAML = PHONO3PY_YAML.replace(b"phono3py:", b"phonopy:").replace(
    PHONO3PY_YAML[PHONO3PY_YAML.index(b"displacement_pairs") :],
    b"displacements:\n- atom: 1\n  displacement: [ 0.01, 0, 0 ]\n  forces:\n  - [ -0.1, 0, 0 ]\n  - [ 0.1, 0, 0 ]\n",
)


def transport(root: Path) -> Iterator[Reader]:
    """Files of phon-wigner."""
    from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
    from phon_wigner.files.force_constants import read_force_constants
    from phon_wigner.files.kappa_file import read_kappa_file
    from phon_wigner.files.phonopy_yaml import read_yaml_crystal
    from phon_wigner.files.shengbte import read_shengbte
    from phon_wigner.phonons.interfaces import units_of

    units = units_of("vasp")
    kappa = hdf5(
        temperature=np.array([300.0]), gamma=np.full((1, 2, 6), 0.1), weight=np.array([1, 1]),
        qpoint=np.zeros((2, 3)), frequency=np.ones((2, 6)), mesh=np.array([2, 1, 1]), gamma_isotope=np.ones((2, 6)),
        boundary_mfp=np.array(1.0), group_velocity=np.ones((2, 6, 3)), kappa_unit_conversion=np.array(16.0),
    )  # fmt: skip

    def read_kappa(content: bytes) -> None:
        widths = read_kappa_file(put(root / "kappa-m211.hdf5", content))
        np.asarray(widths.gamma[0])

    yield Reader("kappa.hdf5", kappa, read_kappa)
    for name, content in (("phono3py.yaml", PHONO3PY_YAML), ("phonopy.yaml", PHONOPY_YAML)):
        yield Reader(name, content, lambda c, n=name: read_yaml_crystal(put(root / n, c)))
    fc2 = hdf5(fc2=np.ones((2, 2, 3, 3)), physical_unit=np.array([b"eV/angstrom^2"]))
    text = "2 2\n" + "".join(
        f"{i} {j}\n" + "1.000000 0.0 0.0\n0.0 1.000000 0.0\n0.0 0.0 1.000000\n" for i in (1, 2) for j in (1, 2)
    )
    for name, content in (("fc2.hdf5", fc2), ("FORCE_CONSTANTS", text.encode())):
        yield Reader(
            name, content, lambda c, n=name: read_force_constants(put(root / "fc" / n, c), units, phono3py=False)
        )
    crystal = root / "crystal"
    put(crystal / "phonopy.yaml", PHONOPY_YAML)
    put(crystal / "FORCE_CONSTANTS", text.encode())
    born = b"14.4\n2.4 0 0 0 2.4 0 0 0 2.4\n1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n"

    def read_crystal(name: str, content: bytes) -> None:
        put(crystal / name, content)
        load_crystal(
            CrystalFiles(
                yaml=crystal / "phonopy.yaml", fc2=crystal / "FORCE_CONSTANTS", born=crystal / "BORN", calculator=None
            )
        )

    yield Reader("BORN of a crystal", born, functools.partial(read_crystal, "BORN"))
    whole = {
        "BTE.qpoints": b"1 1 1 0.0 0.0 0.0\n2 2 1 0.5 0.0 0.0\n",
        "BTE.omega": b"1.0 2.0 3.0 4.0 5.0 6.0\n" * 2,
        "T300K/BTE.w": "".join(f"{k + 1}.0 0.1\n" for k in range(6) for _ in range(2)).encode(),
    }

    def read_bte(name: str, content: bytes) -> None:
        for other, its in whole.items():
            put(root / "bte" / other, its)
        put(root / "bte" / name, content)
        read_shengbte(root / "bte")

    for name, content in whole.items():
        yield Reader(name, content, functools.partial(read_bte, name))


def force_field(root: Path) -> Iterator[Reader]:
    """Files of sdnnff-calc."""
    from sdnnff_calc.config import read_config
    from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures
    from sdnnff_calc.models.checkpoint import load_model

    relaxed = copper(labelled=True)
    files = {
        "labels.extxyz": written("a.extxyz", relaxed, format="extxyz"),
        "labels.traj": written("a.traj", relaxed),
        "labels.db": written("a.db", relaxed),
        "labels-vasprun.xml": vasprun(),
        "labels.out": (PACKAGES / "sdnnff-calc/tests/data/espresso/converged.out").read_bytes(),
        "labels-phonopy.yaml": PHONOPY_YAML,
        "labels-phono3py.yaml": PHONO3PY_YAML,
    }
    for name, content in files.items():
        yield Reader(
            name,
            content,
            lambda c, n=name: list(check_labels(iterate_structures([put(root / "data" / n, c)]), 100.0, DataReport())),
        )
    weights = (PACKAGES / "sdnnff-calc/tests/checkpoints/v2-conservative-1.pt").read_bytes()
    yield Reader("weights.pt", weights, lambda c: load_model(put(root / "weights.pt", c)))
    config = b'[model]\nkind = "e-sdnnff"\ncutoff = 4.5\n[data]\ntrain = ["a.xyz"]\n[training]\nepochs = 3\nseed = 1\n'
    yield Reader("training.toml", config, lambda c: read_config(put(root / "training.toml", c)))


LOOP = b"""seed = 1
[pool]
source = "al_committee.testing:toy_crystals"
test_structures = 3
[labels]
kind = "vasp"
options = { encut = 300 }
[training]
trainer = "al_committee.testing:PairPotentialTrainer"
n_members = 3
[stop]
max_rounds = 2
"""


def loop(root: Path) -> Iterator[Reader]:
    """Files of al-committee."""
    from al_committee.config import read_config
    from al_committee.labels.cache import LabelCache
    from al_committee.labels.dft_formats import EspressoFormat, VaspFormat
    from al_committee.labels.file_exchange import FileExchangeLabeller
    from al_committee.labels.identity import structure_key
    from al_committee.labels.outcome import LabelRequest, attach_label
    from al_committee.loop.run_directory import RunDirectory
    from al_committee.selection.crystal_index import Crystal, CrystalIndex
    from al_committee.selection.pool import read_crystals

    yield Reader("loop.toml", LOOP, lambda c: read_config(put(root / "loop.toml", c)))
    atoms = copper()
    request = LabelRequest(structure_key(atoms), atoms, "x")
    for dft, name, whole in (
        (VaspFormat({"encut": 300}), "vasprun.xml", vasprun()),
        (
            EspressoFormat(pseudopotentials={"Cu": "Cu.upf"}, input_data={"system": {"ecutwfc": 30}}),
            "espresso.pwo",
            (PACKAGES / "al-committee/tests/data/espresso/done-0.pwo").read_bytes(),
        ),
    ):
        labeller = FileExchangeLabeller(root / "exchange" / dft.name, dft)
        list(labeller.label([request], stop=lambda: False))
        yield Reader(
            f"exchange/{name}",
            whole,
            lambda c, la=labeller, n=name: (
                put(la.label_folder(request) / n, c),
                list(la.label([request], stop=lambda: False)),
            ),
        )
    cache = LabelCache(root / "labels", {"name": "x"})
    cache.put(request.key, attach_label(atoms, forces=np.ones((4, 3)), energy=-1.0))
    label = cache.path(request.key).read_bytes()
    yield Reader("a label", label, lambda c: (put(cache.path(request.key), c), cache.get(request.key)))
    run = RunDirectory.create(root / "loop" / "run", put(root / "loop" / "loop.toml", LOOP))
    manifest = (run.path / "manifest.json").read_bytes()

    def read_loop(content: bytes) -> None:
        put(run.path / "manifest.json", content)
        RunDirectory(run.path)

    yield Reader("manifest of a loop", manifest, read_loop)
    CrystalIndex.build([Crystal("x", atoms, "")], root / "pool.sqlite")
    pool = (root / "pool.sqlite").read_bytes()

    def read_pool(content: bytes) -> None:
        index = CrystalIndex.open(put(root / "damaged.sqlite", content))
        for name in index.ids:
            index.crystal(name)
            index.elements(name)

    yield Reader("pool.sqlite", pool, read_pool)
    yield Reader("pool.extxyz", written("a.extxyz", atoms), lambda c: list(read_crystals(put(root / "pool.extxyz", c))))
