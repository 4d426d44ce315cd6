"""One genome as an ordinary module: a Linear a depth, each fed with all that stands before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from altprop.searches.neat.activations import ACTIVATIONS
from altprop.searches.neat.genes import Genes, Genome
from altprop.searches.neat.plan import plan


class GenomeNet(nn.Module):
    """x (N, inputs) -> (N, outputs).  Autograd can train it; absent genes are weights of zero, which may then grow.

    With memory a call is one step of time, and ``reset`` forgets."""

    outputs: Tensor

    def __init__(self, genome: Genome) -> None:
        super().__init__()
        made, first = plan(Genes.of([genome])), genome.frame.inputs
        W = torch.from_numpy(made.weight[0])  # (S, S - I - 1), of which row I is the bias's
        self.memory, names = genome.frame.memory, genome.frame.names
        self.functions = [
            [names[kind] for kind in made.kinds[0, a - first - 1 : b - first - 1]] for a, b in made.blocks
        ]
        self.levels, self.nodes = nn.ModuleList(), W.shape[1]
        for a, b in made.blocks:
            column = W[: None if self.memory else a, a - first - 1 : b - first - 1].T  # (b - a, columns)
            weight = torch.cat([column[:, :first], column[:, first + 1 :]], 1)
            level = nn.utils.skip_init(nn.Linear, weight.shape[1], b - a)
            level.load_state_dict({"weight": weight, "bias": column[:, first]})
            self.levels.append(level)
        self.register_buffer("outputs", torch.from_numpy(made.outputs[0]) - 1)  # without the bias's column
        self.state: Tensor | None = None  # (N, nodes)

    def reset(self) -> None:
        """Forget what the nodes said; nothing where there is no memory."""
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        if self.memory:
            (level,), (names,) = self.levels, self.functions
            before = x.new_zeros(len(x), self.nodes) if self.state is None else self.state
            self.state = answers(level(torch.cat([x, before], 1)), names)
            return torch.cat([x, self.state], 1)[:, self.outputs]
        v = x
        for level, names in zip(self.levels, self.functions, strict=True):
            v = torch.cat([v, answers(level(v), names)], 1)
        return v[:, self.outputs]


def answers(z: Tensor, names: list[str]) -> Tensor:
    """z (N, nodes), each by its function; by one operation where all have the same."""
    if len(set(names)) == 1:
        return ACTIVATIONS[names[0]](z)
    return torch.stack([ACTIVATIONS[name](z[:, at]) for at, name in enumerate(names)], 1)
