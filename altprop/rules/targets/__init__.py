"""Target propagation: each layer is told what it should have been, by decoders that lead from layer to layer down."""

from altprop.rules.targets.auxiliary import AOSDTP
from altprop.rules.targets.difference import DTP
from altprop.rules.targets.fixed import FWDTP
from altprop.rules.targets.jacobian import LDRL
from altprop.rules.targets.plain import TP
from altprop.rules.targets.simple import SDTP

__all__ = ["AOSDTP", "DTP", "FWDTP", "LDRL", "SDTP", "TP"]
