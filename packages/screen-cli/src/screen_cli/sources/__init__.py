"""Built-in sources of crystals: files, prototypes, and the demonstration set."""
