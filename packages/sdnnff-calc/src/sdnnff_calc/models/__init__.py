"""Networks and the densities they read."""
