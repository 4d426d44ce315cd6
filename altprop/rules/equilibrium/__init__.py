"""States that settle under the input, and settle anew under a nudge."""

from altprop.rules.equilibrium.equilibrium import EP

__all__ = ["EP"]
