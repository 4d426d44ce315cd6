"""One file a rule, or a tight family that shares its equation.  Adding one costs a file and a line here."""

from altprop.core import Rule
from altprop.rules.adaptive import AFA
from altprop.rules.backprop import Backprop
from altprop.rules.broadcast import GEVB
from altprop.rules.bursts import BurstCCN, Burstprop
from altprop.rules.direct import DFA, SDFA
from altprop.rules.drtp import DRTP
from altprop.rules.equilibrium import EP
from altprop.rules.feedback_alignment import FA
from altprop.rules.forward_forward import ForwardForward
from altprop.rules.forward_gradient import ForwardGradient, ForwardGradientLocal
from altprop.rules.hebbian import GHA, LPL, SCFF, SOM, STDP, HardWTA, Hebb, Oja, SoftHebb
from altprop.rules.indirect import IFA
from altprop.rules.kolen_pollack import KP
from altprop.rules.local import LocalLoss, MonoForward
from altprop.rules.pepita import PEPITA, PEPITAHebbian, PEPITALocal
from altprop.rules.perturbation import ES, FZOO, MeZO
from altprop.rules.predictive import EPC, PC
from altprop.rules.references import REFERENCES
from altprop.rules.shallow import Shallow
from altprop.rules.sign_symmetry import BRSF, FRSF, USF
from altprop.rules.sparse_direct import SSDFA
from altprop.rules.spiking import EPLIF
from altprop.rules.targets import AOSDTP, DTP, FWDTP, LDRL, SDTP, TP
from altprop.rules.weight_mirror import WM

RULES: dict[str, type[Rule]] = {
    "bp": Backprop,
    "shallow": Shallow,
    "fa": FA,
    "usf": USF,
    "frsf": FRSF,
    "brsf": BRSF,
    "kp": KP,
    "wm": WM,
    "burstprop": Burstprop,
    "burstccn": BurstCCN,
    "dfa": DFA,
    "ifa": IFA,
    "sdfa": SDFA,
    "ssdfa": SSDFA,
    "drtp": DRTP,
    "gevb": GEVB,
    "afa": AFA,
    "pepita": PEPITA,
    "pepita_hebbian": PEPITAHebbian,
    "pepita_local": PEPITALocal,
    "pc": PC,
    "epc": EPC,
    "ff": ForwardForward,
    "mono": MonoForward,
    "forward_gradient": ForwardGradient,
    "forward_gradient_local": ForwardGradientLocal,
    "es": ES,
    "mezo": MeZO,
    "fzoo": FZOO,
    "ep": EP,
    "local": LocalLoss,
    "tp": TP,
    "dtp": DTP,
    "sdtp": SDTP,
    "ao_sdtp": AOSDTP,
    "ldrl": LDRL,
    "fwdtp": FWDTP,
    "hebb": Hebb,
    "oja": Oja,
    "gha": GHA,
    "hard_wta": HardWTA,
    "softhebb": SoftHebb,
    "som": SOM,
    "scff": SCFF,
    "lpl": LPL,
    "stdp": STDP,
    "ep_lif": EPLIF,
}

HEADS: dict[str, tuple[str, dict[str, bool]]] = {  # what teaches a last layer alone: the rule, and its arguments
    "descent": ("bp", {}),
    "hebbian": ("softhebb", {"supervised": True}),
    "ridge": ("bp", {}),  # which are solved, and only measured by it
    "svc": ("bp", {}),
}

__all__ = [
    "AFA", "AOSDTP", "BRSF", "DFA", "DRTP", "DTP", "EP", "EPC", "EPLIF", "ES", "FA", "FRSF", "FWDTP", "FZOO", "GEVB",
    "GHA", "HEADS", "IFA", "KP", "LDRL", "LPL", "PC", "PEPITA", "REFERENCES", "RULES", "SCFF", "SDFA", "SDTP", "SOM",
    "SSDFA", "STDP", "TP", "USF", "WM", "Backprop", "BurstCCN", "Burstprop", "ForwardForward", "ForwardGradient",
    "ForwardGradientLocal", "HardWTA", "Hebb", "LocalLoss", "MeZO", "MonoForward", "Oja", "PEPITAHebbian",
    "PEPITALocal", "Shallow", "SoftHebb",
]  # fmt: skip
