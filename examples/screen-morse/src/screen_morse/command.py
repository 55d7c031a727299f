"""The command ``screen-cli morse-table``."""

from __future__ import annotations

import argparse

from screen_morse.potential import PARAMETERS


def main(argv: list[str]) -> int:
    """Print the parameters as a table."""
    parser = argparse.ArgumentParser(prog="screen-cli morse-table", description="Print the Morse parameters.")
    parser.add_argument("elements", nargs="*", help="only these elements")
    arguments = parser.parse_args(argv)
    print(f"{'element':<8}{'D (eV)':>10}{'a (1/A)':>10}{'r0 (A)':>10}")
    for element, values in PARAMETERS.items():
        if not arguments.elements or element in arguments.elements:
            print(f"{element:<8}" + "".join(f"{value:>10.4f}" for value in values))
    return 0
