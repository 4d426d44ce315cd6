"""Train neural networks without backpropagation."""

from altprop.core import Claims, Layer, Refused, Rule, layers
from altprop.rules import DFA, DRTP, FA, IFA, PEPITA, RULES, SDFA, Backprop, Shallow
from altprop.run.experiment import Result, fit, load

__version__ = "0.1.0"
__all__ = [
    "DFA", "DRTP", "FA", "IFA", "PEPITA", "RULES", "SDFA", "Backprop", "Claims", "Layer", "Refused", "Result", "Rule",
    "Shallow", "fit", "layers", "load",
]  # fmt: skip
