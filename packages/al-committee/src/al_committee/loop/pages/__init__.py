"""Pages and figures about a run: one for each round, and one that shows where the loop stands."""
