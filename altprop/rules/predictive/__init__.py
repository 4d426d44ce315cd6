"""Predictive coding: activities, or the errors between them and their predictions, settle before anything learns."""

from altprop.rules.predictive.errors import EPC
from altprop.rules.predictive.states import PC

__all__ = ["EPC", "PC"]
