"""The committee: members, their mean, their disagreement, and what follows from it."""
