"""One file a rule, or a tight family that shares its equation.  Adding one costs a file and a line here."""

from altprop.core import Rule
from altprop.rules.backprop import Backprop
from altprop.rules.direct import DFA, SDFA
from altprop.rules.drtp import DRTP
from altprop.rules.feedback_alignment import FA
from altprop.rules.indirect import IFA
from altprop.rules.pepita import PEPITA
from altprop.rules.references import REFERENCES
from altprop.rules.shallow import Shallow

RULES: dict[str, type[Rule]] = {
    "bp": Backprop,
    "shallow": Shallow,
    "fa": FA,
    "dfa": DFA,
    "ifa": IFA,
    "sdfa": SDFA,
    "drtp": DRTP,
    "pepita": PEPITA,
}

__all__ = ["DFA", "DRTP", "FA", "IFA", "PEPITA", "REFERENCES", "RULES", "SDFA", "Backprop", "Shallow"]
