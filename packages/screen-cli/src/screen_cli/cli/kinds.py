"""``screen-cli kinds``: what crystals of one symmetry share, kept between runs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import cast

import click

from screen_cli.cli import run_command


@click.group(name="kinds", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List, warm or clear the cache of kinds: solved fits that all crystals of one symmetry share.

    The folder is SCREEN_KINDS, else screen-cli/kinds in the user's cache folder; SCREEN_KINDS_GB limits its size (10),
    and SCREEN_KINDS=off does without. It may be deleted at any time.
    """
    if context.invoked_subcommand is not None:
        return
    from screen_cli.kinds.cache import shared_cache

    cache = shared_cache()
    entries = [] if cache is None else list(cache.entries())
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=1))
        return
    for entry in entries:
        about = entry.about
        if "damaged" in about:
            click.echo(f"{entry.key[:12]}  damaged; it is made again when needed")
            continue
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        unknowns = ", ".join(
            f"{count} of fc{order}" for order, count in cast("dict[str, int]", about["n_parameters"]).items()
        )
        click.echo(
            f"{about['kind']}  like {about['example']}: {about['n_atoms']} atoms, {about['n_pairs']} pairs, "
            f"{unknowns}; {entry.n_bytes / 1e6:.0f} MB, last used {used}"
        )
    where = "switched off" if cache is None else str(cache.folder)
    click.echo(f"{len(entries)} kinds, {sum(entry.n_bytes for entry in entries) / 1e9:.2f} GB in {where}", err=True)


@command.command()
@click.argument("prototypes", nargs=-1)
def warm(prototypes: tuple[str, ...]) -> None:
    """Solve the kinds of PROTOTYPES (default: all that fit) before a run meets them, with the default supercells."""
    from screen_cli.config import DisplaceSettings
    from screen_cli.crystal.phonopy_cells import known_action
    from screen_cli.crystal.prototypes import build, guess_lattice_constant
    from screen_cli.crystal.prototypes import prototypes as table
    from screen_cli.errors import StructureError, unknown_name
    from screen_cli.kinds.cache import shared_cache
    from screen_cli.kinds.fit import kind_fit
    from screen_cli.solvers.force_constants import supercell_displacements
    from screen_cli.stages.displace import displace
    from screen_cli.stages.phonon_objects import load_phono3py

    cache = shared_cache()
    if cache is None:
        raise click.UsageError("the cache is switched off: SCREEN_KINDS=off.")
    known = table()
    for name in prototypes or known:
        if name not in known:
            raise unknown_name("prototype", name, known)
        symbols = ["Na", "Cl", "K", "O", "Mg"][: known[name]["elements"]]
        start = time.perf_counter()
        try:
            displaced = displace(build(name, symbols, guess_lattice_constant(name, symbols)), DisplaceSettings())
        except StructureError as error:
            click.echo(f"{name}: {error}", err=True)
            continue
        phono3py = load_phono3py(displaced)
        supercell, primitive_atoms = phono3py.supercell, phono3py.primitive.p2s_map
        action = known_action(phono3py.symmetry, supercell.cell)
        displacements = supercell_displacements(phono3py)
        symprec = phono3py.symmetry.tolerance
        fit = kind_fit(supercell, action, primitive_atoms, displacements, (2, 3), cache, symprec=symprec)
        result = "too large for a kind" if fit is None else f"{time.perf_counter() - start:.1f} s"
        click.echo(f"{name}: {result}")


@command.command()
@click.argument("keys", nargs=-1)
def clear(keys: tuple[str, ...]) -> None:
    """Delete the kinds whose keys begin with KEYS, or all of them."""
    from screen_cli.kinds.cache import shared_cache

    cache = shared_cache()
    if cache is None:
        raise click.UsageError("the cache is switched off: SCREEN_KINDS=off.")
    chosen = None
    if keys:
        chosen = [
            entry.key
            for entry in cache.entries()
            if any(entry.key.startswith(key) or str(entry.about.get("kind", "")).startswith(key) for key in keys)
        ]
    click.echo(f"{cache.clear(chosen)} kinds deleted")


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
