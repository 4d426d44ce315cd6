"""One run on several processes, that ``torchrun`` starts: every process computes its share of every batch."""
