"""Neuroevolution of augmenting topologies: nets that grow while their weights evolve."""

from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.module import GenomeNet
from altprop.searches.neat.neat import NEAT
from altprop.searches.neat.settings import CANONICAL, NEAT_PYTHON, SETTINGS, Settings

__all__ = [
    "CANONICAL", "NEAT", "NEAT_PYTHON", "SETTINGS", "Frame", "Genes", "Genome", "GenomeNet", "Settings",
]  # fmt: skip
