"""Train neural networks without backpropagation."""

from altprop.core import Claims, Layer, Refused, Rule, Weighted, layers
from altprop.graph import align, feedback, report, restore
from altprop.optim import NormSGD
from altprop.rules import (
    AFA,
    BRSF,
    DFA,
    DRTP,
    FA,
    FRSF,
    GHA,
    IFA,
    KP,
    PEPITA,
    RULES,
    SDFA,
    SOM,
    SSDFA,
    STDP,
    USF,
    WM,
    Backprop,
    ForwardForward,
    HardWTA,
    Hebb,
    Oja,
    PEPITAHebbian,
    PEPITALocal,
    Shallow,
    SoftHebb,
)  # fmt: skip
from altprop.run.experiment import Result, fit, load
from altprop.study.compare import Comparison, compare

__version__ = "0.1.0"
__all__ = [
    "AFA", "BRSF", "DFA", "DRTP", "FA", "FRSF", "GHA", "IFA", "KP", "PEPITA", "RULES", "SDFA", "SOM", "SSDFA", "STDP",
    "USF", "WM", "Backprop", "Claims", "Comparison", "ForwardForward", "HardWTA", "Hebb", "Layer", "NormSGD", "Oja",
    "PEPITAHebbian", "PEPITALocal", "Refused", "Result", "Rule", "Shallow", "SoftHebb", "Weighted", "align",
    "compare", "feedback", "fit", "layers", "load", "report", "restore",
]  # fmt: skip
