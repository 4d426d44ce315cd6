"""The physics, torch only: what a layer, a pass and an assignment of credit are."""

from altprop.core.feedback import INITIALISERS, Feedback, draw_feedback, project
from altprop.core.layer import Layer, Refused, layers
from altprop.core.local import Ready, Trace, forward, learn, products, pull, push, slope
from altprop.core.loss import LOSSES
from altprop.core.rule import Claims, Rule

__all__ = [
    "INITIALISERS", "LOSSES", "Claims", "Feedback", "Layer", "Ready", "Refused", "Rule", "Trace",
    "draw_feedback", "forward", "layers", "learn", "products", "project", "pull", "push", "slope",
]  # fmt: skip
