"""One file a search, or a tight family that shares its equation.  Adding one costs a file and a line here."""

from altprop.core import Search
from altprop.searches.cma_es import CMAES
from altprop.searches.evolution_strategy import MuCommaLambda, MuPlusLambda
from altprop.searches.evolutionary_programming import EvolutionaryProgramming
from altprop.searches.genetic import GA
from altprop.searches.gp import GP
from altprop.searches.hyperneat import HyperNEAT
from altprop.searches.mutation import MUTATIONS
from altprop.searches.neat import NEAT
from altprop.searches.recombination import RECOMBINATIONS
from altprop.searches.references import REFERENCES
from altprop.searches.selection import SELECTIONS
from altprop.searches.substrate import grid

SEARCHES: dict[str, type[Search]] = {
    "evolutionary_programming": EvolutionaryProgramming,
    "mu_plus_lambda": MuPlusLambda,
    "mu_comma_lambda": MuCommaLambda,
    "cma_es": CMAES,
    "ga": GA,
    "neat": NEAT,
    "gp": GP,
    "hyperneat": HyperNEAT,
}

__all__ = [
    "CMAES", "GA", "GP", "MUTATIONS", "NEAT", "RECOMBINATIONS", "REFERENCES", "SEARCHES", "SELECTIONS",
    "EvolutionaryProgramming", "HyperNEAT", "MuCommaLambda", "MuPlusLambda", "grid",
]  # fmt: skip
