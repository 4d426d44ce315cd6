"""Perturbations of weights: noise is added, and what the loss does of it is all that any layer hears."""

from altprop.rules.perturbation.es import ES
from altprop.rules.perturbation.fzoo import FZOO
from altprop.rules.perturbation.mezo import MeZO

__all__ = ["ES", "FZOO", "MeZO"]
