"""A run: the list of stages, one crystal through them, and the driver of many."""
