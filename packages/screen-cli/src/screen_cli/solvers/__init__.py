"""Built-in solvers of force constants and of conductivity."""
