"""Many runs: comparisons and the papers' tables."""
