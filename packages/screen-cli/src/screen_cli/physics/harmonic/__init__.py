"""What follows from harmonic frequencies and eigenvectors."""
