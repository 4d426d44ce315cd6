"""What leaves: a run's model as a file for others."""
