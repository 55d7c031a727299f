"""Files as the operating system sees them: guarded reading, and writing whole or not at all."""
