"""Residual blocks and the nets made of them, against the same modules composed by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop import RULES, layers
from altprop.nets import NetError, Residual, ResidualBlock, build


def test_residual_adds_its_input():
    """A branch without its shortcut is another net."""
    branch, x = nn.Linear(5, 5), torch.randn(3, 5)
    torch.testing.assert_close(Residual(branch)(x), x + branch(x))


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 6, 2)])
def test_block_by_hand(inputs, outputs, stride):
    """The order of convolution, norm and activation; the shortcut leaves pixels out and fills channels with zeros."""
    block, x = ResidualBlock(inputs, outputs, stride, nn.ReLU).eval(), torch.randn(2, inputs, 8, 8)
    with torch.no_grad():
        for norm in (block.norm1, block.norm2):
            norm.running_mean.uniform_()
            norm.running_var.uniform_(0.5, 2)
        a = block.norm1(F.conv2d(x, block.conv1.weight, stride=stride, padding=1)).relu()
        b = block.norm2(F.conv2d(a, block.conv2.weight, padding=1))
        shortcut = torch.zeros_like(b)
        shortcut[:, :inputs] = x[:, :, ::stride, ::stride]
        torch.testing.assert_close(block(x), (b + shortcut).relu())


def test_resnet20_is_that_of_the_paper():
    """Twenty layers with weights, 0.27 million parameters (He et al. 2016, table 6)."""
    net = build("resnet20", (3, 32, 32), 10)
    weighty = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(weighty) == 20 and 265_000 < sum(p.numel() for p in net.parameters()) < 275_000
    assert [cut.name for cut in layers(net)] == ["0", *map(str, range(3, 12)), "14"]
    assert net.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_the_initialiser_reaches_into_blocks():
    """He's deviation in every convolution, not torch's own, and the same for one seed."""
    net = build("resnet20", (3, 32, 32), 10, init="he_normal", seed=3)
    weight = net[11].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert torch.equal(weight, build("resnet20", (3, 32, 32), 10, init="he_normal", seed=3)[11].conv2.weight)


def test_res_part():
    """h = f(x + W x + b), and DFA trains it: its gradient is signal times input, as that of any linear layer."""
    net = build("6-5-res5-3", (6,), 3)
    assert isinstance(net[2], Residual)
    x, y = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    rule = RULES["dfa"](net, example=x[:1])
    rule.credit(x, y)
    h = net[:2](x)
    a = net[:3](x)
    e = net(x).softmax(1) - F.one_hot(y, 3)
    signal = (e @ rule.feedback[1] / 4) * (a > 0)
    torch.testing.assert_close(net[2].branch.weight.grad, signal.T @ h)


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        ("resnet21", (3, 8, 8), "6 n \\+ 2, such as resnet20"),
        ("resnet20", (64,), "needs images"),
        ("6-5-res4-3", (6,), "which has 5 features: write res5"),
    ],
)
def test_refusals(spec, shape, words):
    """A net that cannot be built says what would do."""
    with pytest.raises(NetError, match=words):
        build(spec, shape, 3 if spec[0] == "6" else 10)
