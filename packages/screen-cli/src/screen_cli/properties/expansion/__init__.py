"""Thermal expansion: strains, elastic constants, mode Grüneisen tensors, α(T), and the quasi-harmonic check."""
