"""Readers of structure files: each turns bytes of a stranger into frames, or says in one sentence why not."""
