"""Commands that show what a run directory holds."""
