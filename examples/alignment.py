"""Feedback alignment at work: the angle to backpropagation falls while the weights come to agree with the feedback."""

import torch

import altprop
from altprop.data import batches, load
from altprop.measure import angles_to_bp
from altprop.nets import build

digits = load("digits")
net = build("64-64-32-10", digits.shape, digits.outputs, act="tanh")
rule = altprop.FA(net, example=digits.x_train[:1])
optimizer = torch.optim.SGD(rule.parameters(), lr=0.01, momentum=0.9)
order = torch.Generator().manual_seed(0)

for epoch in range(21):
    if epoch % 5 == 0:
        angles = angles_to_bp(rule, digits.x_train, digits.y_train)
        print(f"epoch {epoch:2}:", ", ".join(f"layer {name}: {angle:.0f} degrees" for name, angle in angles.items()))
    for x, y in batches(digits.x_train, digits.y_train, 64, generator=order):
        optimizer.zero_grad()
        rule.credit(x, y)
        optimizer.step()
