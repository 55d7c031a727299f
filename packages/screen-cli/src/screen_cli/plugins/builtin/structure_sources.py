"""Built-in structure sources."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import StructureSourcePlugin


@hookimpl
def screen_structure_sources() -> Iterator[StructureSourcePlugin]:
    """Register files, prototypes, OPTIMADE and the demonstration set."""
    yield StructureSourcePlugin(
        name="files",
        summary="CIF, POSCAR, extended XYZ, ASE database, and whatever ASE reads; folders and patterns",
        factory="screen_cli.sources.files:iterate_files",
    )
    yield StructureSourcePlugin(
        name="prototypes",
        summary="Cubic prototypes decorated with elements: written out, or made from element lists under a rule",
        factory="screen_cli.sources.prototypes:iterate_prototypes",
    )
    yield StructureSourcePlugin(
        name="optimade",
        summary="Any OPTIMADE provider (oqmd, mp, alexandria, jarvis, or a URL); downloads are kept and resumed",
        factory="screen_cli.sources.optimade:iterate_optimade",
        pip="screen-cli[optimade]",
    )
    yield StructureSourcePlugin(
        name="demo",
        summary="Twelve real cubic crystals from published lattice constants",
        factory="screen_cli.sources.prototypes:iterate_demo",
    )
    yield StructureSourcePlugin(
        name="children",
        summary="What the unstable crystals of a run become along their softest modes (property 'soft_mode')",
        factory="screen_cli.sources.children:iterate_children",
    )
    yield StructureSourcePlugin(
        name="benchmark",
        summary="Materials of a κ benchmark with their own supercells and meshes (used by 'bench kappa')",
        factory="screen_cli.bench.materials:iterate_materials",
    )
