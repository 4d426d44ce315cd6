"""Torch's optimizers in one pass over memory; and SoftHebb's, whose rate falls as a unit's weights near norm 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

DEVICES = ("cpu", "cuda")  # for which torch has kernels that do a whole step in one pass


def in_one_pass(
    kind: Callable[..., torch.optim.Optimizer], params: Iterable[Any], **settings: Any
) -> torch.optim.Optimizer:
    """That optimizer of torch, of weights or of groups with lists of them, by its fused kernels.

    These go through weights, gradients and state once, not once for each operation, of which Adam has a dozen.  The
    same numbers, to the bit for SGD.

    They take it that a gradient lies in memory as its weight does, and say nothing where it does not; so it is laid so
    before a step, and weights that are no dense block in themselves are stepped as ever."""
    groups = list(params)
    weights = [weight for group in groups for weight in (group["params"] if isinstance(group, dict) else [group])]
    if not all(w.is_contiguous() and w.is_floating_point() and w.device.type in DEVICES for w in weights):
        return kind(groups, **settings)
    optimizer = kind(groups, fused=True, **settings)
    optimizer.register_step_pre_hook(_lay)
    return optimizer


def _lay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight.grad.stride() != weight.stride():
                weight.grad = torch.empty_like(weight).copy_(weight.grad)


class NormSGD(torch.optim.Optimizer):
    """w_i -= lr (| ||w_i|| - 1 | + 1e-10)^power g_i for every unit i, a row of the weight (Journe et al. 2023, eq. 3).

    The norm is that before the step, over all dimensions but the first; of a transposed convolution these would be the
    inputs, not the units.  Parameters of one dimension, such as biases,
    and groups with power=0 take plain steps.  weight_decay times the weights is added to g, as in ``torch.optim.SGD``.
    Raises ``ValueError`` for an lr, power or weight_decay below 0."""

    def __init__(self, params: Iterable[Any], lr: float = 0.01, power: float = 0.5, weight_decay: float = 0.0) -> None:
        if lr < 0 or power < 0 or weight_decay < 0:
            raise ValueError(f"lr={lr}, power={power}, weight_decay={weight_decay} came: none may be below 0")
        super().__init__(params, {"lr": lr, "power": power, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what ``closure`` returns, which is called with gradients on, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad.add(w, alpha=group["weight_decay"]) if group["weight_decay"] else w.grad
                if w.dim() < 2 or group["power"] == 0:
                    w.sub_(g, alpha=group["lr"])
                    continue
                r = w.flatten(1).norm(dim=1).view(-1, *(1 for _ in w.shape[1:]))  # (units, 1, ...)
                eta = r.sub_(1).abs_().add_(1e-10).pow_(group["power"]).mul_(group["lr"])
                w.addcmul_(g, eta, value=-1)
        return loss
