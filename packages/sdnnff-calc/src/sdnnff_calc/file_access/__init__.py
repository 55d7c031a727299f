"""Files as the operating system sees them: whole or not at all, and those that come with the package."""
