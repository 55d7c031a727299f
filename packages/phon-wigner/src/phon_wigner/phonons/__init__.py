"""Phonons and their linewidths, from phonopy and phono3py objects."""
