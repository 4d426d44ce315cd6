"""HyperNEAT: NEAT evolves small nets, CPPNs, that paint the weights of a large one.  A CPPN is asked about two places,
those of the units that a weight joins, so that symmetry and repetition of its picture are those of the large net.

    w     = CPPN(x_1, x_2)_l                        x_1, x_2 (d,): places of a unit of layer l and of one above it
    W_ji  = sign(w) (|w| - .2) / .8 * 3             where |w| > .2, else 0                               (P, out, in)
    h_l+1 = f(W h_l)                                all nets of a generation by one batched product a layer

Nodes of a CPPN have functions of their own: Gaussian, sine, sigmoid, size, identity.

Reference: Stanley, D'Ambrosio and Gauci, Artificial Life 15(2), 2009.
Deviations from the paper:
    1. The function of a new node is not drawn but goes by its number, each in its turn, so that the same structure of
       two genomes has the same functions.
    2. Where there are more than two layers each pair of neighbours has an output of the CPPN, as in the authors' later
       work; with ``bias=True`` each layer has one more, asked with the middle of the substrate as source.
    3. Units answer by tanh, by default, not by a sigmoid, so that a missing weight is a missing influence.
    4. The rates of NEAT are those of its own paper; weights of CPPNs are at most 3 in size.
Easily confused with: NEAT, whose genome is the net itself; a hypernetwork, which is trained by gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from altprop.core import Refused
from altprop.searches.ground import Ground
from altprop.searches.neat.family import GraphSearch
from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.population import Nets
from altprop.searches.neat.settings import CANONICAL, Settings, chosen
from altprop.searches.substrate import Stack, Substrate, grid

CPPN = replace(
    CANONICAL, activation="bipolar_sigmoid", functions=("gaussian", "sine", "bipolar_sigmoid", "abs", "linear"),
    power=1.0, spread=1.0, limit=3.0, add_node=0.05, add_connection=0.1,
)  # fmt: skip


class HyperNEAT(GraphSearch):
    """Hypercube-based neuroevolution of augmenting topologies (Stanley, D'Ambrosio and Gauci 2009).

    layers: the places of the units of each layer, inputs first, (n_l, d) each, as ``grid(rows, columns)`` gives them;
    bias, activation: of the net that is painted.  least: what the CPPN must say that there is a weight; largest: of a
    weight's size.  size: P.  settings: of NEAT; ``champion`` is the genome of the best CPPN, ``best()`` what it paints.

    Raises ``Refused`` for what no search can be made of."""

    reference: ClassVar[str] = "stanley2009"

    def __init__(
        self, layers: Sequence[Tensor], *, size: int = 100, settings: Settings | str = CPPN, bias: bool = False,
        activation: str = "tanh", least: float = 0.2, largest: float = 3.0, seed: int = 0,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        if not 0 <= least < 1 or not 0 < largest < torch.inf:
            raise Refused(f"least={least}, largest={largest} came: give 0 to below 1, and a number above 0")
        self.substrate, s = Substrate(layers, bias, activation), chosen(settings, None, {})
        frame = Frame(self.substrate.inputs, self.substrate.outputs, False, s.activation, s.functions)
        places = [layer.tolist() for layer in self.substrate.layers]
        given = {"places": places, "bias": bias, "units": activation, "least": least, "largest": largest}
        super().__init__(frame, s, size, seed, **given)
        self.least, self.largest, self.dtype, self.device = least, largest, dtype, device

    @classmethod
    def on(cls, ground: Ground, **arguments: Any) -> HyperNEAT:
        """One for a task: its inputs and its outputs as two grids, each as square as can be."""
        return cls([_square(ground.inputs), _square(ground.outputs)], seed=ground.seed, **arguments)

    def express(self, genes: Genes) -> Stack:
        return self._paint(genes, self.substrate)

    def individual(self, genome: Genome) -> nn.Sequential:
        return self.painted(genome, self.substrate.layers)

    def painted(self, genome: Genome, layers: Sequence[Tensor]) -> nn.Sequential:
        """The net that a CPPN paints on these places: on a finer grid too, without any more evolution."""
        substrate = Substrate(layers, self.substrate.bias, self.substrate.activation)
        if (substrate.inputs, substrate.outputs) != (genome.frame.inputs, genome.frame.outputs):
            what = f"{len(substrate.layers)} layers of {substrate.inputs // 2} dimensions came to a CPPN of others"
            raise Refused(
                f"{what}: give {len(self.substrate.layers)} layers of {self.substrate.inputs // 2} dimensions"
            )
        return self._paint(Genes.of([genome]), substrate).net(0)

    def _paint(self, genes: Genes, substrate: Substrate) -> Stack:
        return substrate.paint(Nets(genes, self.dtype, self.device), self.least, self.largest)


def _square(n: int) -> Tensor:
    """(n, 2): the places of so many units."""
    rows = next(rows for rows in range(isqrt(n), 0, -1) if n % rows == 0)
    return grid(rows, n // rows)
