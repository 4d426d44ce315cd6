"""PEPITA and its variants: the error is presented at the input, and everything travels forward."""

from altprop.rules.pepita.hebbian import PEPITAHebbian, PEPITALocal
from altprop.rules.pepita.pepita import PEPITA

__all__ = ["PEPITA", "PEPITAHebbian", "PEPITALocal"]
