"""Scores as maps, figures and tables."""
