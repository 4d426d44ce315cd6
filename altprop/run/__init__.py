"""Experiments: recipes, training, comparison, reports."""
