"""Optimizers in one pass against torch's own of many, on weights and gradients that lie in memory as users' may."""

import pytest
import torch
from torch import nn

from altprop.optim import in_one_pass

KINDS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}, 0.0),
    "adam": (torch.optim.Adam, {"lr": 0.1}, 1e-6),
    "adamw": (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}, 1e-6),
}
LAYOUTS = {  # of a weight (6, 8) and of its gradients
    "as they come": (lambda w: w, lambda g: g),
    "a gradient that is transposed": (lambda w: w, lambda g: g.T.contiguous().T),
    "a gradient that is part of another": (lambda w: w, lambda g: torch.stack([g, g], 2)[..., 0]),
    "a weight that is transposed": (lambda w: w.T.contiguous().T, lambda g: g),
    "a weight that is part of another": (lambda w: torch.stack([w, w], 2)[..., 0], lambda g: g),
}


def stepped(make, layout, gradients):
    lay, lay_gradient = LAYOUTS[layout]
    w, b = nn.Parameter(lay(gradients[0].clone())), nn.Parameter(torch.ones(8))
    optimizer = make([{"params": [w]}, {"params": [b], "lr": 0.01}])
    for g in gradients[1:]:
        w.grad = lay_gradient(g.clone())
        b.grad = None if g.sum() > 0 else g[0].clone()
        optimizer.step()
    return torch.cat([w.detach(), b.detach()[None]])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_is_torchs_step(kind, layout):
    """To the bit for SGD; b gets gradients now and then, and a rate of its own."""
    cls, settings, tolerance = KINDS[kind]
    gradients = torch.randn(7, 6, 8, generator=torch.Generator().manual_seed(0))
    want = stepped(lambda groups: cls(groups, **settings), layout, gradients)
    got = stepped(lambda groups: in_one_pass(cls, groups, **settings), layout, gradients)
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def test_what_lies_densely_is_stepped_by_torchs_fused_kernels():
    """A convolution, and another whose weights have channels last."""
    dense, other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    made = [in_one_pass(torch.optim.SGD, net.parameters(), lr=0.1) for net in (dense, other)]
    assert [optimizer.param_groups[0]["fused"] for optimizer in made] == [True, None]
