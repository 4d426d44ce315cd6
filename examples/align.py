"""Kolen-Pollack learning in a net that is no sequence: feedback finds the weights, and an ordinary loop trains it."""

import torch
from torch import nn

import altprop
from altprop.data import batches, load
from altprop.measure import angle


class Skip(nn.Module):
    """Two layers and a way around the second."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(64, 48), nn.Linear(48, 48), nn.Linear(48, 10)

    def forward(self, x):
        h = self.inner(x.flatten(1)).relu()
        return self.head(h + self.outer(h).relu())


digits = load("digits")
torch.manual_seed(0)
model = altprop.align(Skip(), "kp")
matrices = altprop.feedback(model)
groups = [{"params": model.parameters()}, *matrices.param_groups(lr=0.05)]
optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-3)
order = torch.Generator().manual_seed(0)

for epoch in range(21):
    if epoch % 5 == 0:
        print(f"epoch {epoch:2}: feedback {angle(matrices['head'], model.head.weight):.0f} degrees from the weights")
    for x, y in batches(digits.x_train, digits.y_train, 64, generator=order):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
