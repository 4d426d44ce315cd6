"""A step of a rule as a graph, which can be batched over seeds, or compiled."""
