"""One run, from a recipe to weights: what is checked, built, trained, kept, and used again."""
