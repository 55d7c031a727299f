"""Neighbours and environments of atoms."""
