"""Forward-Forward: each layer by itself learns to be active on positive samples and quiet on negative ones.  It hands
on its activity divided by its length, so that the next layer cannot read the verdict off and has to find its own.

    h_l = f_l(W_l u_{l-1} + b_l),  u_l = h_l / rms(h_l)       of N positives, then N negatives          (2N, *out_l)
    g = sum_j h_j^2,  p = sigmoid(g - theta)                  theta = n_l, the number of units          (2N, 1, ...)
    delta_l = (p - 1) h / N * f'(a_l) on positives, p h / N * f'(a_l) on negatives                      (2N, *out_l)
    delta_l += peer .1 * 2 (m - mean_j m) / (N n_l)           on positives;  m <- .9 m + .1 mean h      (*out_l)
    W_l.grad += delta_l^T u_{l-1}                             l < L
    z = W_L u_{L-1} + sum_{l=2}^{L-2} R_l u_l                 of neutral samples;  R_l (C, n_l)         (N, C)
    W_L.grad += (e / N)^T u_{L-1},  R_l.grad += (e / N)^T u_l                                           e = y_hat - t

With goodness="mean" u = h / |h|, g = mean_j h_j^2, theta = 2, and delta_l's h / N is h / (N n_l).  The label c is C
entries, over the first of an image; beside a flat sample x / rms(x) they are more inputs, whose weights are the rule's:
a_1 = W_1 x + b_1 + U c, U.grad += delta_1^T c, U (n_1, C).  c is the true class in positives, a wrong one in negatives,
0.1 each in neutral samples.  negatives="images": real images are positive and neutral, m x + (1 - m) x' of two are
negative, m = [noise, ``blurs`` times blurred by [1/4, 1/2, 1/4] both ways, > 1/2]; labels teach the readout alone.
The rate that fits falls with the width, and a bounded f such as tanh cannot lift the sum above theta: use ReLU.

Reference: Hinton, arXiv 2212.13345, 2022.
Deviations from the paper:
    1. The peer term is that of published code of the sum: weight 0.03, past f, so that silent units learn.  One default
       serves both goodnesses, though published code of the mean has no such term.  m moves in train mode only.
    2. Initial weights are the net builder's (published: normal, variance 1 / n_out); one optimizer serves all layers.
    3. The net's last layer is what reads the top, and keeps its bias; R starts at zero, and is added to its output.
    4. Published code of the mean writes the label as the batch's largest entry, and takes for negatives a permutation
       of the labels, in which some stay true; here it is ``label``, and always wrong.
    5. The paper has images alone; over the first columns of a table the label would hide what they say.
    6. A mask's noise is uniform, not bits, so that no entry is at the threshold; its blur runs around the edges.
Easily confused with: PEPITA, whose second input carries the error; local losses, where each layer has a classifier.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Feedback, Staged, Suits, forward, learn, slope
from altprop.rules.forward_forward.choices import check
from altprop.rules.forward_forward.goodness import GOODNESS, peer_signal
from altprop.rules.forward_forward.samples import Samples, check_classes
from altprop.rules.forward_forward.table import hear, learn_own, place_beside


class ForwardForward(Staged):
    """Forward-Forward (Hinton 2022).

    goodness, negatives, inference, place: see ``choices.CHOICES``.  inference="goodness" takes a pass a class, scored
    by its goodness, summed over the hidden layers, for "sum" without the first of several.  peer: weight of the peer
    term; means[l] (*out_l) is its m.  label: the entry of a class that is told; place: where, "auto" as above.  blurs:
    of the masks of "images".  R[l] (C, n_l), U[0] (n_1, C): see above.  Raises ``Refused`` for a misfit."""

    family = "forward-only"
    claims = Claims(
        weight_transport="none", locking="none", signal="target", passes=3, changes=("means",), draws=True,
        trains=("synapse", "activation"), inference="own", averages=False, learns=("R", "U"),
    )  # fmt: skip
    reference, weighs = "hinton2022", False  # goodness has no error that a weight could multiply
    suits = Suits(lr=0.003)
    refuses = (nn.modules.batchnorm._NormBase,)  # positives, negatives and neutral samples have statistics of their own

    def __init__(
        self, net: Any, *, goodness: str = "sum", negatives: str = "labels", inference: str = "readout",
        peer: float = 0.03, label: float = 1.0, blurs: int = 6, place: str = "auto", **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        words = {"goodness": goodness, "negatives": negatives, "inference": inference, "place": place}
        table = check(self, peer, {"label": label, "blurs": blurs}, **words)
        self.goodness, self.peer, self.by_goodness = GOODNESS[goodness], peer, inference == "goodness"
        self.samples = Samples(negatives == "images", label, blurs, self.classes, beside=table is not None)
        self.means = Feedback(self.like.new_full(shapes.h, 0.5) for shapes in self.shapes[:-1])
        self.R = nn.ParameterList(self.like.new_zeros(self.classes, s.h.numel()) for s in self.shapes[1:-2])
        self.U = place_beside(self, table)
        self.layers[-1] = replace(self.layers[-1], beside=self.R)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [{**group, "params": [*group["params"], *self.R, *self.U]} for group in super().param_groups(lr)]

    def targets(self, y: Any, samples: int) -> Any:
        return check_classes(y, super().targets(y, samples))

    def forward(self, x: Tensor) -> Tensor:
        if self.by_goodness:
            labelled = (self.samples.embed(x, label) for label in self.samples.labels(x).split(1))
            return torch.stack([self.goodness.score(self.layers[:-1], sample) for sample in labelled], 1)
        u = [self.goodness.unit(self.samples.neutral(x))]
        for layer in self.layers[:-1]:
            u.append(self.goodness.unit(layer(u[-1])))
        return self._read(self.layers[-1](u[-1]), u)

    def differentiable(self) -> nn.Module:
        return self

    @torch.no_grad()
    def stage(self, index: int, h: Any, t: Tensor) -> tuple[Any, Tensor | None]:
        G, N, layer = self.goodness, len(t), self.layers[index]
        h, *u = h if index else (self.samples.pairs(h, t.argmax(1)), G.unit(self.samples.neutral(h)))
        if index == len(self.means):
            trace = forward(layer, u[-1])
            loss, e = self.output_error(self._read(trace.h, u), t)
            for R, u_l in zip(self.R, u[2:], strict=False):
                learn_own(R, u_l.flatten(1), e / N)
            learn(trace, slope(trace, e / N))
            return trace.h, loss
        (trace, c), neutral = hear(layer, G.unit(h)), hear(layer, u[-1])[0]
        h = trace.h
        p = (G.of(h) - G.theta(h)).sigmoid_()
        p[:N] -= 1
        delta = slope(trace, h * p.mul_(G.share(h) / N))
        if self.peer:
            delta[:N] += self.peer * peer_signal(self.means[index], h[:N], moves=self.training)
        learn(trace, delta)
        if c is not None:
            learn_own(self.U[0], c, delta)
        return (h, *u, G.unit(neutral.h)), None

    def _read(self, z: Tensor, u: list[Tensor]) -> Tensor:
        return sum((u_l.flatten(1) @ R.T for R, u_l in zip(self.R, u[2:], strict=False)), z)
