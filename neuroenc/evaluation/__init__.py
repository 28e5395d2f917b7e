"""How good a prediction is, and how good it could be."""
