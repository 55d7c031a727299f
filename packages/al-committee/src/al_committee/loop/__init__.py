"""The active-learning loop: rounds of scoring, selection, labels and training in a run directory."""
