"""CIF: symmetry, sites, claims, and the crystal they leave possible."""
