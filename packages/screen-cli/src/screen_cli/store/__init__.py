"""The store of a run: records, keys, index, run directory."""
