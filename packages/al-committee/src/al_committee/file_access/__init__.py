"""Files as the operating system sees them: whole or not at all, and how deep a reader may go."""
