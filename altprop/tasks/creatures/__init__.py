"""Creatures: a body and its muscles, evolved together to move, and two ways in which they cheat."""

from altprop.tasks.creatures.body import GENES
from altprop.tasks.creatures.creature import Creature
from altprop.tasks.creatures.shaping import SHAPINGS, Shaping

__all__ = ["GENES", "SHAPINGS", "Creature", "Shaping"]
