"""The physics, torch only: what a layer, a pass and an assignment of credit are."""

from altprop.core.feedback import INITIALISERS, Feedback, draw_feedback, project
from altprop.core.layer import Layer, layers
from altprop.core.local import Ready, Trace, correlate, drive, forward, learn, pull, push, slope
from altprop.core.loss import LOSSES, Weighted, bare, weighed
from altprop.core.passes import ascend, descend
from altprop.core.phase import Phase
from altprop.core.rule import Claims, Rule
from altprop.core.search import Population, Search, SearchClaims
from altprop.core.stages import Staged
from altprop.core.steps import accumulate
from altprop.limits import Refused, RuleWarning
from altprop.suits import Suits

__all__ = [
    "INITIALISERS", "LOSSES", "Claims", "Feedback", "Layer", "Phase", "Population", "Ready", "Refused", "Rule",
    "RuleWarning", "Search", "SearchClaims", "Staged", "Suits", "Trace", "Weighted", "accumulate", "ascend", "bare",
    "correlate", "descend", "draw_feedback", "drive", "forward", "layers", "learn", "project", "pull", "push", "slope",
    "weighed",
]  # fmt: skip
