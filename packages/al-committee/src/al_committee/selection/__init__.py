"""The pool of supercells, their scores, and which of them to label."""
