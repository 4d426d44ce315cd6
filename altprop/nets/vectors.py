"""Nets of vector units: the activity of a unit is a vector of K components, one an output of the net.

    a_i = sum_j W_ij h_j + b_i             one weight for all components; past the first layer W >= 0     a_i (K,)
    h_i = [<t_i, a_i> >= 0] a_i            t_i of +-1, fixed                                              h_i (K,)

The input is expanded to K times its features, block k of which is seen in component k alone: so a first layer has
weights of its own for each component.  The last layer has one unit, whose components are the outputs.  Units come in
pairs, ON and OFF: t_OFF = -t_ON, and weights so drawn that a_OFF = -a_ON at first.  Tensors are (N, K, units).

Reference: Clark, Abbott and Chung, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.limits import Refused


class VectorInput(nn.Linear):
    """The first layer, (N, n) -> (N, K, m): weight (K m, n) and bias (K m,), each component's own.

    What it computes is what weights shared by all components make of the expanded input, without its zeros."""

    def __init__(self, features: int, units: int, components: int, bias: bool = True) -> None:
        self.components = components
        super().__init__(features, components * units, bias=bias)

    def reset_parameters(self) -> None:
        """Weights w and -w of a pair, w normal of deviation 1 / sqrt(n); biases 0."""
        with torch.no_grad():
            weight = self.weight.view(self.components, -1, self.in_features)  # (K, m, n)
            weight[:, ::2].normal_(std=self.in_features**-0.5)
            weight[:, 1::2] = -weight[:, ::2][:, : weight.shape[1] // 2]  # the last of an odd number stands alone
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).unflatten(1, (self.components, -1))


class VectorLinear(nn.Module):
    """A layer above, (N, K, n) -> (N, K, m): weight (m, n), of which what is negative counts as 0; bias (K, m)."""

    bias: nn.Parameter | None

    def __init__(self, inputs: int, units: int, components: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, inputs))
        self.register_parameter("bias", nn.Parameter(torch.empty(components, units)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w^+ between units of a kind and w^- between ON and OFF, parts of one w, normal of deviation 2 / sqrt(n)."""
        with torch.no_grad():
            (m, n), W = self.weight.shape, self.weight
            w = torch.empty(m - m // 2, n - n // 2, dtype=W.dtype, device=W.device).normal_(std=2 * n**-0.5)
            for ours in (0, 1):  # ON, OFF
                for theirs in (0, 1):
                    part = (w if ours == theirs else -w).clamp(min=0)
                    W[ours::2, theirs::2] = part[: (m - ours + 1) // 2, : (n - theirs + 1) // 2]
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        a = F.linear(h, self.weight.clamp(min=0))
        return a if self.bias is None else a + self.bias

    def extra_repr(self) -> str:
        units, inputs = self.weight.shape
        return f"inputs={inputs}, units={units}, bias={self.bias is not None}"


class VectorGate(nn.Module):
    """h = [<t, a> >= 0] a, (N, K, m) -> (N, K, m): a ReLU where K = 1 and t = 1.  t (K, m) is a buffer of +-1."""

    t: Tensor

    def __init__(self, units: int, components: int) -> None:
        super().__init__()
        t = torch.empty(components, units).bernoulli_(0.5).mul_(2).sub_(1)
        t[:, 1::2] = -t[:, ::2][:, : units // 2]
        self.register_buffer("t", t)

    def forward(self, a: Tensor) -> Tensor:
        return a * ((a * self.t).sum(1, keepdim=True) >= 0)

    def extra_repr(self) -> str:
        components, units = self.t.shape
        return f"units={units}, components={components}"


def vectorised(modules: Iterable[nn.Module]) -> nn.Sequential:
    """The net of vector units in the place of an ordinary one: as many hidden units, of K components for K outputs.

    modules: an ``nn.Sequential`` of Linear and ReLU, perhaps a Flatten before them.  The weights are new ones.
    Raises ``Refused`` for a module that has no form of vector units."""
    chain = list(modules)
    if not chain or not isinstance(chain[-1], nn.Linear):
        what = f"a net that ends in {type(chain[-1]).__name__ if chain else 'nothing'} came"
        raise Refused(f"{what}: vector units are the outputs of a last Linear; end the net in one")
    components, below, made = chain[-1].out_features, 0, []  # type: int, int, list[nn.Module]
    for module in chain:
        if type(module) is nn.Linear:
            units, bias = (1 if module is chain[-1] else module.out_features), module.bias is not None
            layer = VectorLinear(below, units, components, bias) if below else _first(module, units, components, bias)
            made.append(layer.to(module.weight))
            below = units
        elif type(module) is nn.ReLU and below:
            made.append(VectorGate(below, components).to(chain[-1].weight))
        elif type(module) is nn.Flatten and not below:
            made.append(module)
        else:
            what = f"{type(module).__name__} has no form of vector units"
            raise Refused(f"{what}: give a net of Linear and ReLU, such as 784-256-10 with act 'relu', or use 'dfa'")
    return nn.Sequential(*made, nn.Flatten())


def _first(module: nn.Linear, units: int, components: int, bias: bool) -> VectorInput:
    return VectorInput(module.in_features, units, components, bias)
