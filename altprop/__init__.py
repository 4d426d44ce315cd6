"""Train neural networks without backpropagation."""

from altprop.core import Claims, Layer, Refused, Rule, layers
from altprop.rules import (
    AFA,
    BRSF,
    DFA,
    DRTP,
    FA,
    FRSF,
    IFA,
    KP,
    PEPITA,
    RULES,
    SDFA,
    SSDFA,
    USF,
    WM,
    Backprop,
    ForwardForward,
    PEPITAHebbian,
    PEPITALocal,
    Shallow,
)  # fmt: skip
from altprop.rules.graph import align, feedback, report, restore
from altprop.run.experiment import Result, fit, load

__version__ = "0.1.0"
__all__ = [
    "AFA", "BRSF", "DFA", "DRTP", "FA", "FRSF", "IFA", "KP", "PEPITA", "RULES", "SDFA", "SSDFA", "USF", "WM",
    "Backprop", "Claims", "ForwardForward", "Layer", "PEPITAHebbian", "PEPITALocal", "Refused", "Result", "Rule",
    "Shallow", "align", "feedback", "fit", "layers", "load", "report", "restore",
]  # fmt: skip
