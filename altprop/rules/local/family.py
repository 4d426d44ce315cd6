"""What the rules with local losses share: layer by layer upward, each descends a loss of its own activity.

delta_l = dL_l / dh_l * f'(a_l)       l < L, L_l the loss of layer l alone                  (N, *out_l)
delta_L = e / N                       e = y_hat - t                                         (N, C)
W_l.grad += delta_l^T h_{l-1};  the heads beside layer l descend L_l too
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from altprop.core import Staged, ascend, descend, learn


class Local(Staged):
    """The family."""

    family = "local"

    @abstractmethod
    def judge(self, index: int, h: Tensor, t: Any) -> Tensor:
        """dL_l / dh_l (N, *out) of hidden layer ``index`` at its activity h; its heads get their gradients."""

    @torch.no_grad()
    def stage(self, index: int, h: Tensor, t: Any) -> tuple[Tensor, Tensor | None]:
        traces, loss = ascend(self.layers[index : index + 1], h, reach=1), None
        h = traces[0].h
        if index < len(self.layers) - 1:
            signal = self.judge(index, h, t)
        else:
            loss, e = self.output_error(h, t)
            signal = e / len(h)
        for trace, delta in descend(traces, signal):
            learn(trace, delta)
        return h, loss
