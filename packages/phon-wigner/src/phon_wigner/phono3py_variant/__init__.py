"""The variant ``wigner`` of phono3py's own conductivity calculators."""
