"""``screen-cli env``: Python environments for force fields that cannot live together."""

from __future__ import annotations

import json
import time

import click

from screen_cli.calculators.environments.virtual import ModelEnvironment
from screen_cli.cli import run_command
from screen_cli.errors import MissingExtraError, ModelEnvironmentError, ScreenError, unknown_name
from screen_cli.plugins.manager import installed_plugins
from screen_cli.plugins.records import CalculatorPlugin, EnvironmentRecipe, PropertyPlugin

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@click.group(name="env", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Give a force field a Python environment of its own.

    Foundation models pin libraries that others do not accept. In an environment of its own each gets what it wants, and
    'calculator.name' finds it there; nothing else changes. Environments lie in SCREEN_ENVIRONMENTS, else in
    screen-cli/environments in the user's data folder. Only 'create' uses the network.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command(name="list")
@_JSON
def list_command(as_json: bool = False) -> None:
    """List the environments that were made, and the force fields that one can be made for."""
    from screen_cli.calculators.environments.virtual import disk_use, environments_folder, list_environments

    made = list(list_environments())
    recipes = _recipes()
    if as_json:
        rows = [{"name": item.name, "python": str(item.python), "bytes": disk_use(item), **item.about} for item in made]
        offered = [{"name": name, "requirements": recipe.all_requirements()} for name, recipe in recipes.items()]
        click.echo(json.dumps({"made": rows, "offered": offered}, indent=1))
        return
    for item in made:
        versions = item.about.get("versions", {})
        named = ", ".join(f"{name} {version}" for name, version in dict(versions).items())  # type: ignore[call-overload]
        click.echo(f"{item.name}: Python {item.about.get('python')}, {named}; {disk_use(item) / 1e9:.1f} GB")
    if not made:
        click.echo("no environment was made yet", err=True)
    missing = [name for name in recipes if name not in {item.name for item in made}]
    click.echo(f"In {environments_folder()}. Can be made: {', '.join(missing)}.", err=True)


@command.command()
@click.argument("name")
@click.option("--python", default=None, help="Interpreter to make it with; default: this one where it fits.")
@click.option("--dry-run", is_flag=True, help="Say what would be installed, and stop.")
def create(name: str, python: str | None, dry_run: bool) -> None:
    """Make the environment of the force field or program NAME; this downloads and installs its libraries."""
    from screen_cli.calculators.environments.virtual import create_environment

    recipe = _recipe(name)
    low, high = recipe.python
    click.echo(
        f"{name}: {', '.join(recipe.all_requirements())}; Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, about "
        f"{recipe.gigabytes:g} GB. Weights: {recipe.weights}.{f' Note: {recipe.note}.' if recipe.note else ''}",
        err=True,
    )
    if dry_run:
        return
    start = time.perf_counter()
    environment = create_environment(
        name,
        recipe,
        python=python,
        say=lambda line: click.echo(f"[{time.perf_counter() - start:4.0f} s] {line}", err=True),
    )
    click.echo(f"{environment.python}  ({time.perf_counter() - start:.0f} s)")


@command.command()
@click.argument("names", nargs=-1)
@click.option("-o", "--option", "options", multiple=True, help="Option of the calculator, KEY=VALUE (TOML), e.g. path.")
@_JSON
def check(names: tuple[str, ...], options: tuple[str, ...], as_json: bool) -> int:
    """Import the libraries of environments NAMES (default: all), and compute forces where the weights are at hand."""
    from screen_cli.calculators.environments.virtual import find_environment, list_environments

    chosen = [find_environment(name) for name in names] or list(list_environments())
    rows = [_check(environment, options) for environment in chosen]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            click.echo(f"{row['name']}: {row['state']}, {row['remark']}")
        if not rows:
            click.echo("there is no environment to check", err=True)
    return 1 if any(row["state"] == "broken" for row in rows) else 0


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete the environment NAME."""
    from screen_cli.calculators.environments.virtual import remove_environment

    click.echo(f"deleted {remove_environment(name)}")


def _recipes() -> dict[str, EnvironmentRecipe]:
    """Recipes of calculators and properties, by the name of the environment."""
    records = installed_plugins().records
    plugins = [*records["calculators"].items(), *records["properties"].items()]
    return {
        plugin.environment.name or name: plugin.environment
        for name, plugin in plugins
        if isinstance(plugin, (CalculatorPlugin, PropertyPlugin)) and plugin.environment is not None
    }


def _recipe(name: str) -> EnvironmentRecipe:
    """Recipe of one environment."""
    recipes = _recipes()
    if name not in recipes:
        raise unknown_name("recipe for an environment", name, recipes)
    return recipes[name]


def _check(environment: ModelEnvironment, options: tuple[str, ...]) -> dict[str, object]:
    """Make the calculator of an environment and let it compute one crystal."""
    from screen_cli.calculators.environments.check import check_environment
    from screen_cli.settings_file import apply_override

    if environment.name in _recipes() and environment.name not in installed_plugins().records["calculators"]:
        return _check_program(environment)
    tables: dict[str, object] = {}
    for option in options:
        apply_override(tables, option)
    try:
        remark = check_environment(environment.name, tables)
    except (ModelEnvironmentError, MissingExtraError) as error:
        return {"name": environment.name, "state": "broken", "remark": str(error)}
    except ScreenError as error:
        return {"name": environment.name, "state": "no forces", "remark": str(error)}
    return {"name": environment.name, "state": "ok", "remark": remark}


def _check_program(environment: ModelEnvironment) -> dict[str, object]:
    """Import the libraries of an environment that holds no force field."""
    modules = [text.partition("==")[0].replace("-", "_") for text in _recipe(environment.name).requirements]
    try:
        environment.run(f"import {', '.join(modules)}")
        versions = environment.owners(modules)
    except ModelEnvironmentError as error:
        return {"name": environment.name, "state": "broken", "remark": str(error)}
    remark = ", ".join(f"{name} {version}" for name, version in versions.items())
    return {"name": environment.name, "state": "ok", "remark": f"imported {remark}"}


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
