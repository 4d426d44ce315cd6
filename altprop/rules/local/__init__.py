"""Local losses: every hidden layer has an aim of its own, and a head beside it that says how far it is from it."""

from altprop.rules.local.mono import MonoForward
from altprop.rules.local.nokland import LocalLoss

__all__ = ["LocalLoss", "MonoForward"]
