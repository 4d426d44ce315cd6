"""A run directory: everything that is written of a run, and read again."""
