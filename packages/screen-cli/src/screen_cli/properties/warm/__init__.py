"""Crystals at a temperature: σ^A, the soft mode and its child, the loop of the fourth order."""
