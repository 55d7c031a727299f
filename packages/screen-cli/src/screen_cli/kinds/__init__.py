"""Kinds of crystal: what crystals of one symmetry share is computed once and kept."""
