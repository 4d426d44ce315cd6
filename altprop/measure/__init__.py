"""Read-only probes of a rule and its net.  Functions, no state."""

from altprop.measure.alignment import angle, angles_to_bp, feedback_angles
from altprop.measure.curves import Plateau, plateau
from altprop.measure.memory import peak_activation_bytes
from altprop.measure.whitening import Whitening, fit_whitening

__all__ = [
    "Plateau", "Whitening", "angle", "angles_to_bp", "feedback_angles", "fit_whitening",
    "peak_activation_bytes", "plateau",
]  # fmt: skip
