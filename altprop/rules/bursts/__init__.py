"""Bursts: units signal forward by events and backward by what part of them are bursts."""

from altprop.rules.bursts.burstccn import BurstCCN
from altprop.rules.bursts.burstprop import Burstprop

__all__ = ["BurstCCN", "Burstprop"]
