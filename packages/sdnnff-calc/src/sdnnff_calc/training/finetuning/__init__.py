"""Adapt an existing model to new data: whole, its readout, or by low-rank additions."""
