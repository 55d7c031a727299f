"""The stages of the pipeline: pure functions from records and settings to a record."""
