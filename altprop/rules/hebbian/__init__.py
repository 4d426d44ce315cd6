"""Learning without a teaching signal: the Hebbian family."""

from altprop.rules.hebbian.hard_wta import HardWTA
from altprop.rules.hebbian.hebb import GHA, Hebb, Oja
from altprop.rules.hebbian.lpl import LPL
from altprop.rules.hebbian.scff import SCFF
from altprop.rules.hebbian.softhebb import SoftHebb
from altprop.rules.hebbian.som import SOM
from altprop.rules.hebbian.stdp import STDP

__all__ = ["GHA", "LPL", "SCFF", "SOM", "STDP", "HardWTA", "Hebb", "Oja", "SoftHebb"]
