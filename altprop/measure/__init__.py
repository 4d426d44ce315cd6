"""Read-only probes of a rule and its net.  Functions, no state."""

from altprop.measure.alignment import angle, angles_to_bp
from altprop.measure.memory import peak_activation_bytes

__all__ = ["angle", "angles_to_bp", "peak_activation_bytes"]
