"""Genetic programming: expressions that evolve."""

from altprop.searches.gp.gp import GP
from altprop.searches.gp.growing import CONSTANTS
from altprop.searches.gp.module import ProgramNet
from altprop.searches.gp.primitives import NUMBER, PRIMITIVES, TRUTH, USUAL, Primitive
from altprop.searches.gp.program import Program

__all__ = ["CONSTANTS", "GP", "NUMBER", "PRIMITIVES", "TRUTH", "USUAL", "Primitive", "Program", "ProgramNet"]
