"""Plugins: hook specifications, records, discovery, and the built-in ones."""
