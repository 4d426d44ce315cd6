"""Aligned nets in the training loop: what altprop.align does by hand, ``fit`` does for nets of blocks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.data import as_float, load
from altprop.graph import KINDS, Aligned
from altprop.measure import angles_to_bp
from altprop.nets import build
from altprop.run.experiment import fit, resume_run

NET = "64-16-res16-10"
QUICK = {"net": NET, "epochs": 2, "batch": 128}


@pytest.mark.parametrize("name", KINDS)
def test_a_net_of_blocks_trains_aligned(name, tmp_path):
    """The trainer takes the graph's way by itself, and what it has learned comes back from disk."""
    result = fit(name, **QUICK, out=tmp_path / "run")
    assert isinstance(result.rule, Aligned) and set(altprop.report(result.net).values()) == {"converted"}
    net, rule = altprop.load(tmp_path / "run")
    x = torch.rand(3, 1, 8, 8)
    result.net.eval()
    torch.testing.assert_close(net(x), result.net(x))
    for key, value in rule.state_dict().items():
        torch.testing.assert_close(value, result.rule.state_dict()[key])


def test_it_is_align_and_an_ordinary_loop():
    """The same steps by hand, with torch's loss and optimizer."""
    result = fit("kp", **QUICK, weight_decay=1e-3, lr=0.05)
    data = load("digits")
    model = altprop.align(build(NET, data.shape, 10), "kp", seed=0)
    groups = [{"params": model.parameters()}, *altprop.feedback(model).param_groups(0.05)]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(2):
        rows = torch.randperm(len(data.x_train), generator=order)
        for part in rows.split(128):
            optimizer.zero_grad()
            F.cross_entropy(model(as_float(data.x_train[part])), data.y_train[part]).backward()
            optimizer.step()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(result.net.state_dict()[key], value, atol=1e-5, rtol=1e-4)


def test_a_stopped_run_goes_on_to_the_bit(tmp_path):
    """Learned feedback, its optimizer's state and brSF's draws are all in the checkpoint."""
    for name in ("kp", "brsf", "wm"):
        whole = fit(name, **QUICK, out=tmp_path / name)
        again = resume_run(tmp_path / name)
        assert [r["loss"] for r in again.metrics] == [r["loss"] for r in whole.metrics]
        for key, value in again.rule.state_dict().items():
            assert torch.equal(value, whole.rule.state_dict()[key]), (name, key)


def test_angles_are_taken_to_true_backpropagation():
    """Autograd of an aligned net is feedback alignment again, at an angle of 0 to itself."""
    data = load("digits")
    x, y = as_float(data.x_train[:64]), data.y_train[:64]
    rule = Aligned(build(NET, data.shape, 10), align="fa", example=x[:1])
    angles = angles_to_bp(rule, x, y)
    assert angles["5"] == pytest.approx(0, abs=0.05) and angles["1"] > 30
    twin = rule.differentiable()
    output = twin(x)
    exact = torch.autograd.grad(F.cross_entropy(output, y), next(twin.parameters()))[0]
    rule.credit(x, y)
    own = next(rule.net.parameters()).grad
    cosine = torch.cosine_similarity(exact.flatten(), own.flatten(), 0)
    assert torch.rad2deg(torch.arccos(cosine)).item() == pytest.approx(angles["1"], abs=15)  # its bias counts there
    assert isinstance(rule.net[1].__class__, type) and altprop.report(rule.net)["1"] == "converted"


def test_plain_nets_take_the_rules_without_autograd():
    """A Sequential of linear layers gains nothing from a graph."""
    assert type(fit("fa", "64-16-10", epochs=1).rule) is altprop.FA


@pytest.mark.parametrize("name", ["kp", "wm"])
def test_streaming_changes_nothing(name):
    """Learned feedback stands beside the layer in which it is used, and is stepped with it."""
    whole, streamed = (fit(name, **QUICK, stream=stream) for stream in (False, True))
    for key, value in whole.rule.state_dict().items():
        assert torch.equal(value, streamed.rule.state_dict()[key]), key


def test_dfa_drtp_and_ff_train_blocks():
    """Residual and attention blocks as layers: every parameter of the block gets a gradient."""

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            tokens = x.unflatten(1, (2, 8))
            return x + self.attention(tokens, tokens, tokens, need_weights=False)[0].flatten(1)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), Attend(), nn.ReLU(), nn.Linear(16, 10))
    data = load("digits")
    x, y = as_float(data.x_train[:32]), data.y_train[:32]
    for name in ("dfa", "drtp", "ff", "pepita"):
        rule = altprop.RULES[name](net, example=x[:1])
        rule.zero_grad()
        rule.credit(x, y)
        grads = {key: p.grad for key, p in net.named_parameters()}
        assert all(g is not None and g.abs().sum() > 0 for key, g in grads.items() if "bias" not in key), name
