"""Read-only probes of a rule and its net.  Functions, no state."""

from altprop.measure.alignment import angle, angles_to_bp, feedback_angles, vanished
from altprop.measure.competition import Winners, silent, winners
from altprop.measure.curves import Plateau, plateau
from altprop.measure.embedding import activity, tsne
from altprop.measure.fields import has_pictures, receptive_fields
from altprop.measure.in_time import Agreement, InTime, against_time, agreement, sequences
from altprop.measure.linear import FITS, fit_ridge, fit_svc
from altprop.measure.memory import peak_activation_bytes, peak_bytes
from altprop.measure.operations import held, multiply_adds, state_bytes
from altprop.measure.readout import READOUTS, by_depth, nearest, ridge, svc
from altprop.measure.regression import regression_scores
from altprop.measure.robustness import ATTACKS, accuracy_under, fgsm, gaussian, pgd, square_attack
from altprop.measure.units import KINDS, shares, unit_kinds
from altprop.measure.watch import watched
from altprop.measure.weights import Distribution, Fit, norms, unit_norms, weight_distribution
from altprop.measure.whitening import Whitening, fit_whitening

__all__ = [
    "ATTACKS", "FITS", "KINDS", "READOUTS", "Agreement", "Distribution", "Fit", "InTime", "Plateau", "Whitening",
    "Winners", "accuracy_under", "activity", "against_time", "agreement", "angle", "angles_to_bp", "by_depth",
    "feedback_angles", "fgsm", "fit_ridge", "fit_svc", "fit_whitening", "gaussian", "has_pictures", "held",
    "multiply_adds", "nearest", "norms", "peak_activation_bytes", "peak_bytes", "pgd", "plateau", "receptive_fields",
    "regression_scores", "ridge", "sequences", "shares", "silent", "square_attack", "state_bytes", "svc", "tsne",
    "unit_kinds", "unit_norms", "vanished", "watched", "weight_distribution", "winners",
]  # fmt: skip
