"""Built-in properties of one crystal, computed from earlier records."""
