"""Force constants that reproduce themselves at a temperature, by sampling and fitting in symfc's basis."""
