"""Formulas without files or phono3py."""
