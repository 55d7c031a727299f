"""Commands that start, follow, join and mend a run directory."""
