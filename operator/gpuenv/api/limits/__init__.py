"""What the administrator allows environments to ask for: the values, the parser of their file, and the comparison."""
