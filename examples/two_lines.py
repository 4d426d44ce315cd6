"""The whole of it: an ordinary training loop in which two lines differ."""

import torch
from torch import nn

import altprop
from altprop.data import batches, load

digits = load("digits")
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
rule = altprop.PEPITA(net, example=digits.x_train[:1])
optimizer = torch.optim.SGD(rule.parameters(), lr=0.05, momentum=0.9)

for epoch in range(20):
    for x, y in batches(digits.x_train, digits.y_train, 64, generator=torch.Generator().manual_seed(epoch)):
        optimizer.zero_grad()
        loss = rule.credit(x, y)
        optimizer.step()

accuracy = (net(digits.x_test).argmax(1) == digits.y_test).float().mean()
print(f"loss {loss:.3f}, test accuracy {accuracy:.3f}")
