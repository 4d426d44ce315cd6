"""Learning by the spikes of the net's own dynamics."""

from altprop.rules.spiking.ep_lif import EPLIF

__all__ = ["EPLIF"]
