"""Read-only probes of a rule and its net.  Functions, no state."""

from altprop.measure.alignment import angle, angles_to_bp, feedback_angles
from altprop.measure.memory import peak_activation_bytes

__all__ = ["angle", "angles_to_bp", "feedback_angles", "peak_activation_bytes"]
