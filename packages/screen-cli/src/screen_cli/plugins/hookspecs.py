"""The hook specifications: ten nouns a plugin may offer.

A plugin is a module named by an entry point of the group ``screen_cli``. Its functions carry the names
below and the :data:`hookimpl` marker, take no arguments, and yield frozen records. They run at every start
of ``screen-cli``, so they import nothing heavy: what is heavy hides behind the record's lazy ``factory``.

``HOOK_API`` is the version of this file. Hooks and record fields are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from screen_cli.plugins.records import (
    CalculatorPlugin,
    CommandPlugin,
    ConductivitySolverPlugin,
    EnginePlugin,
    ExporterPlugin,
    ForceConstantSolverPlugin,
    MetricPlugin,
    PropertyPlugin,
    StructureSourcePlugin,
    TrainerPlugin,
)

__all__ = [
    "CalculatorPlugin",
    "CommandPlugin",
    "ConductivitySolverPlugin",
    "EnginePlugin",
    "ExporterPlugin",
    "ForceConstantSolverPlugin",
    "MetricPlugin",
    "PropertyPlugin",
    "StructureSourcePlugin",
    "TrainerPlugin",
    "hookimpl",
]

PROJECT = "screen_cli"
ENTRY_POINT_GROUP = "screen_cli"
HOOK_API = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def screen_calculators() -> Iterable[CalculatorPlugin]:
    """Offer force fields by name.

    A complete plugin::

        # my_plugin.py, entry point  [project.entry-points.screen_cli]  my-plugin = "my_plugin"
        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import CalculatorPlugin

        @hookimpl
        def screen_calculators():
            yield CalculatorPlugin(
                name="morse",
                summary="Morse pair potential of ASE",
                factory="ase.calculators.morse:MorsePotential",
                licence="LGPL-2.1-or-later",
            )

    ``screen-cli run`` then accepts ``calculator.name = "morse"``, with ``calculator.options`` as keywords.
    """
    raise NotImplementedError


@hookspec
def screen_trainers() -> Iterable[TrainerPlugin]:
    """Offer a way to train a force field from a labelled set.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import TrainerPlugin

        @hookimpl
        def screen_trainers():
            yield TrainerPlugin(name="linear", summary="Linear pair model", factory="my_plugin.fit:Trainer")

    ``screen-cli al`` then accepts ``training.trainer = "linear"``, with ``training.options`` as keywords.
    """
    raise NotImplementedError


@hookspec
def screen_structure_sources() -> Iterable[StructureSourcePlugin]:
    """Offer crystals.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import StructureSourcePlugin

        @hookimpl
        def screen_structure_sources():
            yield StructureSourcePlugin(
                name="bulk", summary="Elements from ase.build.bulk", factory="my_plugin.source:iterate"
            )

        # my_plugin/source.py
        from ase.build import bulk
        from screen_cli.crystal.structure import Structure

        def iterate(symbols=("Cu", "Al")):
            for symbol in symbols:
                yield Structure.from_atoms(bulk(symbol), provider="bulk", provider_id=symbol)
    """
    raise NotImplementedError


@hookspec
def screen_force_constant_solvers() -> Iterable[ForceConstantSolverPlugin]:
    """Offer a fit from displacements and forces to force constants.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import ForceConstantSolverPlugin

        @hookimpl
        def screen_force_constant_solvers():
            yield ForceConstantSolverPlugin(
                name="bayes", summary="Bayesian ridge", factory="my_plugin.bayes:Solver"
            )
    """
    raise NotImplementedError


@hookspec
def screen_conductivity_solvers() -> Iterable[ConductivitySolverPlugin]:
    """Offer a transport solver for a prepared Phono3py object.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import ConductivitySolverPlugin

        @hookimpl
        def screen_conductivity_solvers():
            yield ConductivitySolverPlugin(
                name="wigner", summary="Populations and coherences", coherences=True,
                factory="my_plugin.wigner:WignerSolver",
            )
    """
    raise NotImplementedError


@hookspec
def screen_metrics() -> Iterable[MetricPlugin]:
    """Offer a judgement of one mode-resolved conductivity against another.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import MetricPlugin

        @hookimpl
        def screen_metrics():
            yield MetricPlugin(name="log", summary="Difference of ln κ", factory="my_plugin.log:compare")

        # my_plugin/log.py
        import math

        def compare(result, reference):
            return {"log_difference": math.log(result["kappa"] / reference["kappa"])}
    """
    raise NotImplementedError


@hookspec
def screen_properties() -> Iterable[PropertyPlugin]:
    """Offer a per-structure property computed from earlier records.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import PropertyPlugin

        @hookimpl
        def screen_properties():
            yield PropertyPlugin(
                name="bandwidth", summary="Width of the phonon spectrum", needs=("harmonic",),
                columns=(("bandwidth_thz", "highest minus lowest frequency, THz"),),
                factory="my_plugin.bandwidth:bandwidth",
            )

        # my_plugin/bandwidth.py
        def bandwidth(records):
            frequencies = records["harmonic"].frequencies
            return {"bandwidth_thz": float(frequencies.max() - frequencies.min())}
    """
    raise NotImplementedError


@hookspec
def screen_engines() -> Iterable[EnginePlugin]:
    """Offer a place where tasks run.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import EnginePlugin

        @hookimpl
        def screen_engines():
            yield EnginePlugin(name="dask", summary="A Dask cluster", factory="my_plugin.dask:DaskEngine")
    """
    raise NotImplementedError


@hookspec
def screen_exporters() -> Iterable[ExporterPlugin]:
    """Offer an output format for tables.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import ExporterPlugin

        @hookimpl
        def screen_exporters():
            yield ExporterPlugin(name="latex", summary="LaTeX table", suffix=".tex",
                                 factory="my_plugin.latex:write")
    """
    raise NotImplementedError


@hookspec
def screen_commands() -> Iterable[CommandPlugin]:
    """Offer a sub-command of screen-cli.

    A complete plugin::

        from screen_cli.plugins.hookspecs import hookimpl
        from screen_cli.plugins.records import CommandPlugin

        @hookimpl
        def screen_commands():
            yield CommandPlugin(name="hello", summary="Say hello", factory="my_plugin.cli:main")

        # my_plugin/cli.py
        def main(argv):
            print("hello", *argv)
            return 0
    """
    raise NotImplementedError
