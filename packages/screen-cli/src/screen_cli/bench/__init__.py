"""Benchmark of a force field on κ: published protocol, scores against a reference, models side by side."""
