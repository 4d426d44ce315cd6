"""Read-only probes of a rule and its net.  Functions, no state."""

from altprop.measure.alignment import angle, angles_to_bp, feedback_angles
from altprop.measure.curves import Plateau, plateau
from altprop.measure.embedding import activity, tsne
from altprop.measure.fields import receptive_fields
from altprop.measure.memory import peak_activation_bytes
from altprop.measure.robustness import ATTACKS, accuracy_under, fgsm, gaussian, pgd, square_attack
from altprop.measure.weights import Distribution, Fit, norms, weight_distribution
from altprop.measure.whitening import Whitening, fit_whitening

__all__ = [
    "ATTACKS", "Distribution", "Fit", "Plateau", "Whitening", "accuracy_under", "activity", "angle", "angles_to_bp",
    "feedback_angles", "fgsm", "fit_whitening", "gaussian", "norms", "peak_activation_bytes", "pgd", "plateau",
    "receptive_fields", "square_attack", "tsne", "weight_distribution",
]  # fmt: skip
