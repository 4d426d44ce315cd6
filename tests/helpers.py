"""What the tests of the rules share: small nets, one way to take gradients, and the road from a net to oracles.py."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop import RULES, Refused
from altprop.nets import VectorGate, VectorLinear, vectorised

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")
CLASSES = 3
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
NAMES = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Identity: "identity"}


def mlp(depth=3, act=nn.Tanh, bias=True, p=0.0, seed=0):
    """depth Linear layers on 5 inputs, after a Flatten, in float64."""
    torch.manual_seed(seed)
    widths = [5, *(7, 6, 4)[: depth - 1], CLASSES]
    net = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        net += [nn.Linear(inputs, outputs, bias=bias), act(), nn.Dropout(p)]
    return nn.Sequential(*net[:-2]).double()


def cnn(p=0.0, bias=True, seed=0):
    """Conv, ReLU, MaxPool, Linear on (2, 6, 6), in float64."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=bias)
    return nn.Sequential(
        conv, nn.ReLU(), nn.Dropout(p), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, CLASSES, bias=bias)
    ).double()


def strided(p=0.0, bias=True, seed=0):
    """Two convolutions with stride, padding, groups and dilation on (2, 6, 6), in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=bias), nn.Tanh(), nn.Dropout2d(p),
        nn.Conv2d(4, 3, 2, padding=1, dilation=2, bias=bias), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, CLASSES, bias=bias),
    ).double()  # fmt: skip


NETS = {"mlp": mlp, "cnn": cnn}


def inputs(net, n=4, seed=1):
    """A batch that fits: images for a net that begins with a convolution."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 6, 6) if isinstance(net[0], nn.Conv2d) else (5,)
    dtype = next(net.parameters()).dtype
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype)


def labels(n=4, seed=2):
    return torch.randint(CLASSES, (n,), generator=torch.Generator().manual_seed(seed))


UNTAUGHT = [name for name, rule in RULES.items() if not rule.claims.labels]  # hidden layers learn without labels


def without_gradient(rule):
    """The names of the parameters that a rule leaves alone: hidden layers, or hidden biases, to which nothing comes."""
    if rule.claims.signal != "none":
        return set()
    return {key for key in hidden(rule.net) if rule.claims.labels or key.endswith("bias")}


OPTIONS = {"ff": {"peer": 0.0}, "stdp": {"adapt": 0.0}}  # whose means and thresholds move from one credit to the next


def suited(name, net):
    """The net as the rule takes it: one of vector units in its place, without dropout, where the rule says so."""
    if name not in RULES or RULES[name].suits.init != "on_off":
        return net
    chain = [nn.ReLU() if isinstance(module, nn.Tanh) else module for module in net]
    try:
        return vectorised(module for module in chain if not isinstance(module, DROPOUTS))
    except Refused as error:
        pytest.skip(f"takes nets of vector units alone: {error}")


def skip_other_units(name, net):
    """What is no net of vector units is not given to a rule that says that its nets are; one layer has none."""
    vectors = any(isinstance(module, VectorGate | VectorLinear) for module in net.modules())
    if RULES[name].suits.init == "on_off" and not vectors and len(hidden(net)):
        pytest.skip("takes nets of vector units alone")


def make(name, net, x, **options):
    skip_other_units(name, net)
    return RULES[name](net, example=x[:1], **{**OPTIONS.get(name, {}), **options})


def gradients(module):
    """Name -> a copy of the gradient, None where there is none."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def credit(rule, x, y, ready=None, seed=0):
    """The gradients of the net after one credit from a clean start."""
    rule.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    rule.credit(x, y, ready)
    return gradients(rule.net)


def skip_where_noise_teaches(rule, x, y):
    """For what holds of a rule whose gradient is no estimate: one that draws in eval mode too, and claims it."""
    state, training = torch.get_rng_state(), rule.training
    rule.eval().credit(x, y)
    rule.train(training).zero_grad(set_to_none=True)
    if not torch.equal(torch.get_rng_state(), state):
        assert rule.claims.draws
        pytest.skip("claims draws, of which its gradient is an estimate")


def backward(net, x, y, loss="cross_entropy", seed=0):
    """The gradients that autograd finds."""
    net.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss_of(net(x), y, loss).backward()
    return gradients(net)


def loss_of(output, y, loss):
    """The loss by torch's own functions; y are labels."""
    t = F.one_hot(y, CLASSES).to(output.dtype)
    if loss == "cross_entropy":
        return F.cross_entropy(output, y)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(output, t) * CLASSES
    return F.mse_loss(output, t) * CLASSES / 2


def assert_same(got, want, atol=1e-10, rtol=0.0):
    """Two dicts of gradients agree, None for None; and something in them is not zero."""
    assert got.keys() == want.keys()
    for name, value in got.items():
        assert (value is None) == (want[name] is None), name
        if value is not None:
            torch.testing.assert_close(
                value, want[name], atol=atol, rtol=rtol, msg=lambda text, at=name: f"{at}: {text}"
            )
    assert any(value is not None and value.abs().max() > 0 for value in got.values())


def differ(left, right, names=None):
    """Whether any of the named gradients differ by more than rounding."""
    for name in left if names is None else names:
        if (left[name] is None) != (right[name] is None):
            return True
        if left[name] is not None and not torch.allclose(left[name], right[name], rtol=1e-9, atol=1e-12):
            return True
    return False


def hidden(net):
    """The names of the parameters below the last module that has any."""
    names = [name for name, _ in net.named_parameters()]
    last = names[-1].rpartition(".")[0]
    return [name for name in names if name.rpartition(".")[0] != last]


def masks(net, x, seed=0):
    """The masks that torch will draw for one pass from this seed, one a dropout module, in their order."""
    shapes, hooks, modes = [], [], {m: m.training for m in net.modules()}
    for module in net.modules():
        if isinstance(module, DROPOUTS):
            hooks.append(module.register_forward_hook(lambda m, arguments, out: shapes.append((m, out.shape))))
    net.eval()(x)
    for hook in hooks:
        hook.remove()
    for module, mode in modes.items():
        module.training = mode
    torch.manual_seed(seed)
    drawn = []
    for module, shape in shapes:
        small = shape if type(module) is nn.Dropout else (*shape[:2], *(1 for _ in shape[2:]))
        on = module.training and module.p > 0
        mask = x.new_empty(small).bernoulli_(1 - module.p).div_(1 - module.p) if on else x.new_ones(small)
        drawn.append(mask.expand(shape).numpy())
    return drawn


def oracle_net(net, x, seed=0):
    """The net as the list of dicts that tests/oracles.py reads; read off the modules, without altprop."""
    layers, drawn = [], iter(masks(net, x, seed))
    for module in net:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            layer = {"kind": "linear", "W": module.weight.detach().numpy(), "act": "identity"}
            layer["b"] = None if module.bias is None else module.bias.detach().numpy()
            if isinstance(module, nn.Conv2d):
                geometry = {key: getattr(module, key) for key in ("stride", "padding", "dilation", "groups")}
                layer |= {"kind": "conv"} | geometry
            layers.append(layer)
        elif isinstance(module, DROPOUTS):
            layers[-1]["mask"] = next(drawn)
        elif isinstance(module, nn.MaxPool2d):
            layers[-1]["pool"] = module.kernel_size
        elif not isinstance(module, nn.Flatten):
            layers[-1]["act"] = NAMES[type(module)]
    return layers


def by_name(net, pairs):
    """The oracle's pairs (G_W, G_b) under the names of the net's parameters."""
    modules = [(name, module) for name, module in net.named_children() if hasattr(module, "weight")]
    out = {}
    for (name, module), pair in zip(modules, pairs, strict=True):
        for part, value in zip(("weight", "bias"), pair or (None, None), strict=True):
            if getattr(module, part) is not None:
                out[f"{name}.{part}"] = None if value is None else torch.from_numpy(np.asarray(value))
    return out
