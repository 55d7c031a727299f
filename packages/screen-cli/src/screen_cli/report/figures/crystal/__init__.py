"""Figures of one crystal: they take arrays and return a matplotlib figure."""
