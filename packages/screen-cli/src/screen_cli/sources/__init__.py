"""Where crystals come from: files, prototypes, the demonstration set."""
