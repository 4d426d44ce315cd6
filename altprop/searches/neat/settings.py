"""What NEAT may be set to.  ``CANONICAL`` is the paper of 2002, ``NEAT_PYTHON`` the example configuration of the
package of that name; ``dataclasses.replace`` makes others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from altprop.limits import Refused, nearest, shown
from altprop.searches.neat.activations import ACTIVATIONS

Way = Literal["canonical", "neat_python"]


@dataclass(frozen=True)
class Settings:
    """Rates are probabilities; those of structure are a genome's, those of weights a gene's."""

    way: Way = "canonical"  # of distance, of sharing, of offspring numbers and of who represents a species
    bias: Literal["input", "node"] = "input"  # one more input that is 1, or a number of every node, never unlearned
    activation: str = "steep_sigmoid"  # of outputs, and of hidden nodes where there are no ``functions``
    functions: tuple[str, ...] = ()  # of hidden nodes, by their numbers: each in its turn
    remember: Literal["generation", "run"] = "generation"  # how long the same structure gets the same number
    # distance
    excess: float = 1.0  # c1
    disjoint: float = 1.0  # c2
    difference: float = 0.4  # c3
    threshold: float = 3.0  # delta_t
    small: int = 20  # genomes below this many genes are not divided by their length; canonical
    # selection
    survival: float = 0.2  # of a species, who may be parents
    stagnation: int = 15  # generations without progress after which a species has no offspring
    kept: int = 2  # best species that stagnation does not touch
    refocus: int | None = None  # generations without progress of all after which only two species have offspring, once
    elitism: int = 1  # champions of a species that are copied unchanged
    elite_size: int = 6  # only where a species is as large
    smallest: int = 1  # offspring that a species gets at least; neat_python
    # crossover
    crossover: float = 0.75  # offspring of two parents; the rest of one
    interspecies: float = 0.001
    disabled: float = 0.75  # a gene that is disabled in either parent
    tie: Literal["random", "second"] = "random"  # who counts as fitter among equals
    # weights
    genomes: float = 0.8  # whose weights are mutated
    perturb: float = 0.9
    fresh: float = 0.1
    perturb_bias: float = 0.9  # of biases where they are of nodes
    fresh_bias: float = 0.1
    noise: Literal["uniform", "normal"] = "uniform"
    power: float = 2.5  # of what is added: the half width, or the deviation
    spread: float = 2.5  # of fresh and of first weights
    limit: float = 8.0  # of a weight's size
    # structure
    add_node: float = 0.03
    add_connection: float = 0.05  # the paper has .3 for a population of 1,000
    delete_node: float = 0.0
    delete_connection: float = 0.0
    enable: float = 0.0  # a gene that is disabled
    disable: float = 0.0  # a gene that is enabled
    tries: int = 20  # pairs of nodes that add_connection draws before it gives up


CANONICAL = Settings()
NEAT_PYTHON = Settings(
    way="neat_python", bias="node", activation="clipped_sigmoid", excess=1.0, disjoint=1.0, difference=0.5,
    threshold=3.0, survival=0.2, stagnation=20, kept=2, elitism=2, elite_size=1, smallest=2, crossover=1.0,
    interspecies=0.0, tie="second", genomes=1.0, perturb=0.8, fresh=0.1, perturb_bias=0.7, fresh_bias=0.1,
    noise="normal", power=0.5, spread=1.0, limit=30.0, add_node=0.2, add_connection=0.5, delete_node=0.2,
    delete_connection=0.5, enable=0.005, disable=0.005, tries=1,
)  # fmt: skip

KINDS: dict[str, Any] = {  # a number where a number stands, which a whole one is too
    each.name: str if isinstance(each.default, str) else int if isinstance(each.default, int) else (int, float)
    for each in fields(Settings)
    if each.name not in ("activation", "functions")
}
SETTINGS: dict[str, Settings] = {"canonical": CANONICAL, "neat_python": NEAT_PYTHON}


def chosen(settings: str | Settings, activation: str | None, changes: Mapping[str, Any]) -> Settings:
    """By name or as they are, with another activation where one is given, and changes by name.

    Raises ``Refused`` for unknown names, and for changes that are not of their kind."""
    if not isinstance(settings, Settings):
        if settings not in SETTINGS:
            raise Refused(f"settings={shown(settings)} came{nearest(str(settings), SETTINGS)}")
        settings = SETTINGS[settings]
    activation = settings.activation if activation is None else activation
    if activation not in ACTIVATIONS:
        raise Refused(f"activation={shown(activation)} came{nearest(str(activation), ACTIVATIONS)}")
    for name in settings.functions:
        if name not in ACTIVATIONS:
            raise Refused(f"functions=({shown(name)}, ...) came{nearest(str(name), ACTIVATIONS)}")
    for name, value in changes.items():
        if name not in KINDS:
            raise Refused(f"NEAT has no argument {shown(name)}{nearest(name, KINDS)}")
        if not isinstance(value, KINDS[name]) or isinstance(value, bool):
            raise Refused(f"{name}={shown(value)} came: give {'a word' if KINDS[name] is str else 'a number'} to NEAT")
    return replace(settings, activation=activation, **changes)
