"""Bonding and antibonding of crystals: from LOBSTER's files, or computed by GPAW in a basis of local orbitals."""
