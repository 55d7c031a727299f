"""Formulas on arrays: neither files nor phono3py."""
