"""What the tests of attacks share: images, labels, and nets whose answers are known or bend."""

import math

import torch
from torch import nn

from altprop import RULES

EPSILON = 0.1
OPEN = (-math.inf, math.inf)


def images(n=40, shape=(2, 6, 6), seed=1, dtype=torch.float64):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def labels(n=40, classes=3, seed=2):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def curved(loss="cross_entropy", name="bp"):
    """A convolutional net with norm and dropout, which answer otherwise in train mode."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)
    ).double()  # fmt: skip
    return RULES[name](net, example=images(1), loss=loss)


def linear(shape=(2, 6, 6), dtype=torch.float64):
    """Two classes: the loss rises along w_other - w_own, wherever one stands."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2)).to(dtype)
    return RULES["bp"](net, example=images(1, shape))


def predicted(rule, x):
    return rule.eval()(x).argmax(1)


def margins(rule, x, y):
    z = rule.eval()(x).detach()
    return torch.stack([row[k] - max(v for i, v in enumerate(row) if i != k) for row, k in zip(z, y, strict=True)])
