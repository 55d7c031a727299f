"""Labels: what is asked of a source, what comes back, and the cache that runs share."""
