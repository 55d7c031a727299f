"""Strains, elastic constants, and what phonons do under them."""
