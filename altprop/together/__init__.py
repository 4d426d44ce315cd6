"""Several seeds of one recipe side by side in one process, by batched products."""
