"""Labelled structures from files, and the samples made of them."""
