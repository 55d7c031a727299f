"""Force fields in Python environments of their own: made once, served over a local socket, used like any other."""
