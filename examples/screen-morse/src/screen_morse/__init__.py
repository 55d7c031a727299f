"""Morse potentials of fcc metals, as a screen-cli plugin."""
