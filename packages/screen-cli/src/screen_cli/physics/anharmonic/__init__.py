"""Crystals at a temperature: the harmonic density matrix, averages over it, and how far the forces are from it."""
