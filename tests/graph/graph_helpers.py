"""What the tests of altprop.graph share: nets that no nn.Sequential holds, and feedback written by hand."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, with a 1x1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        h += self.shortcut(x)
        return self.relu(h)


class ResNet(nn.Module):
    """Of the CIFAR kind: 6 n + 2 layers; n = 3 and width 16 is ResNet-20."""

    def __init__(self, n=3, width=16, classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        widths, inputs = [width, 2 * width, 4 * width], width
        for level, outputs in enumerate(widths, 1):
            blocks = [
                BasicBlock(inputs if i == 0 else outputs, outputs, 2 if i == 0 < level - 1 else 1) for i in range(n)
            ]
            self.add_module(f"layer{level}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        h = self.bn1(self.conv1(x)).relu()
        return self.fc(self.layer3(self.layer2(self.layer1(h))).mean((2, 3)))


class OwnBlock(nn.Module):
    """Attention and a perceptron, each before its norm and around a scaled shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.attn, self.norm = nn.MultiheadAttention(width, heads, batch_first=True), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x):
        h = self.norm(x)
        x = x + self.scale * self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(x)


class ViT(nn.Module):
    """Patches, a class token, positions, one block of each kind, a head."""

    def __init__(self, width=8, heads=2, classes=3, p=0.0):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width))
        self.block = OwnBlock(width, heads)
        self.encoder = nn.TransformerEncoderLayer(width, heads, 12, p, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x):  # (N, 3, 8, 8)
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.positions
        return self.head(self.encoder(self.block(h))[:, 0])


def parted(function, x, weight, bias, B):
    """function(x, weight, bias), whose slope in x is that of B: one term gives the value, two the slope."""
    y = function(x, B, None)
    return function(x.detach(), weight, bias) + y - y.detach()


def attention_by_hand(module, matrices, query, key, value, closed=None):
    """A torch attention on (N, T, E), head by head, with feedback ``matrices`` for in_proj_weight (or q, k, v) and
    out_proj.  closed (N, L, S): True where a query may not look.  Returns (out, weights (N, heads, L, S))."""
    width, heads = module.embed_dim, module.num_heads
    packed = module.in_proj_weight is not None
    separate = [getattr(module, f"{n}_proj_weight") for n in "qkv"]
    weights = module.in_proj_weight.split(width) if packed else separate
    feedback = matrices["in_proj_weight"].split(width) if packed else [matrices[f"{n}_proj_weight"] for n in "qkv"]
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.split(width)
    q, k, v = (
        parted(F.linear, x, W, b, B) for x, W, b, B in zip((query, key, value), weights, biases, feedback, strict=True)
    )
    outs, looks = [], []
    for d in torch.arange(width).split(width // heads):
        scores = torch.einsum("nld,nsd->nls", q[..., d], k[..., d]) / math.sqrt(width // heads)
        if closed is not None:
            scores = scores.masked_fill(closed, -math.inf)
        looks.append(scores.exp() / scores.exp().sum(-1, keepdim=True))
        outs.append(torch.einsum("nls,nsd->nld", looks[-1], v[..., d]))
    out = parted(F.linear, torch.cat(outs, -1), module.out_proj.weight, module.out_proj.bias, matrices["out_proj"])
    return out, torch.stack(looks, 1)


def by_hand(model, matrices):
    """A copy of a plain model, in which every Linear, convolution and attention comes down through ``matrices``."""
    model = copy.deepcopy(model)
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            inside = {"in_proj_weight": matrices[f"{path}.in_proj_weight"], "out_proj": matrices[f"{path}.out_proj"]}

            def attend(query, key, value, module=module, inside=inside, **rest):
                return attention_by_hand(module, inside, query, key, value)

            module.forward = attend
        elif isinstance(module, nn.Linear):
            module.forward = lambda x, m=module, B=matrices[path]: parted(F.linear, x, m.weight, m.bias, B)
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):

            def convolve(x, m=module, B=matrices[path]):
                function = CONVOLUTIONS[m.weight.dim()]
                geometry = m.stride, m.padding, m.dilation, m.groups
                return parted(lambda x, w, b: function(x, w, b, *geometry), x, m.weight, m.bias, B)

            module.forward = convolve
    return model


def slopes(model, x, seed=0):
    """(the output, every gradient of a fixed nonlinear function of it by name, x's under 'x') from a clean start."""
    torch.manual_seed(seed)
    model.zero_grad()
    x = x.detach().clone().requires_grad_()
    y = model(x)
    (y.sin() * torch.linspace(1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return y.detach(), {"x": x.grad, **found}


def close(left, right, atol=1e-12):
    """Two dicts of tensors agree, name by name, and are not all zero."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=atol, rtol=atol, msg=lambda text, at=name: f"{at}: {text}")
    assert any(value.abs().max() > 0 for value in left.values())
