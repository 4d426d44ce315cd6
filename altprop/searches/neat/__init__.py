"""Neuroevolution of augmenting topologies: nets that grow while their weights evolve."""

from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.module import GenomeNet
from altprop.searches.neat.neat import NEAT
from altprop.searches.neat.settings import CANONICAL, NEAT_PYTHON, SETTINGS, Settings

REFERENCES: dict[str, str] = {
    "stanley2002": """@article{stanley2002,
  author = {Stanley, Kenneth O. and Miikkulainen, Risto},
  title = {Evolving neural networks through augmenting topologies},
  journal = {Evolutionary Computation}, volume = {10}, number = {2}, pages = {99--127}, year = {2002}}""",
}

__all__ = [
    "CANONICAL", "NEAT", "NEAT_PYTHON", "REFERENCES", "SETTINGS", "Frame", "Genes", "Genome", "GenomeNet", "Settings",
]  # fmt: skip
