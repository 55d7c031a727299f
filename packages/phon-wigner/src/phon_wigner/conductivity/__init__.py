"""Conductivities, their spectra, comparisons and figures."""
