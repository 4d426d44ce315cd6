"""A program as an ordinary module, node by node, so that autograd can train its constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from altprop.searches.gp.language import CONSTANT, FIRST
from altprop.searches.gp.primitives import TRUTH
from altprop.searches.gp.program import Program


class ProgramNet(nn.Module):
    """x (N, I) -> (N, C).  ``constants`` (K,) holds one parameter a leaf, in the order in which one reads."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        language, nodes = program.language, list(program.nodes())
        self.inputs, self.primitives, self.first = language.inputs, language.primitives, language.first
        self.symbols = [symbol for symbol, _ in nodes]
        self.constants = nn.Parameter(torch.tensor([value for symbol, value in nodes if symbol == CONSTANT]))
        self.text = str(program)

    def extra_repr(self) -> str:
        return self.text

    def forward(self, x: Tensor) -> Tensor:
        values: list[Tensor] = []
        constants = list(self.constants.unbind())
        for symbol in reversed(self.symbols):  # a node comes when its children have, the first child last
            if symbol == CONSTANT:
                values.append(constants.pop().expand(len(x)))
            elif symbol < self.first:
                column = x[:, symbol - FIRST]
                values.append(column > 0.5 if self.inputs[symbol - FIRST] == TRUTH else column)
            else:
                one = self.primitives[symbol - self.first]
                values.append(one.function(*(values.pop() for _ in one.arguments)))
        return torch.stack([v.to(self.constants) for v in reversed(values)], 1)
