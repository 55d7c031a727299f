"""Calculators by name, and what they raise."""
