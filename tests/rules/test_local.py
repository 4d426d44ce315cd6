"""Local losses, by their oracles: closed forms, one autograd graph a layer, and what must not change."""

import oracles_local
import pytest
import torch
from helpers import CLASSES, assert_same, by_name, cnn, credit, gradients, inputs, labels, make, mlp, oracle_net
from torch import nn
from torch.nn import functional as F

from altprop import MonoForward, Refused


def credited(rule, x, y):
    """The gradients of the rule, its own parameters included, after one credit in eval mode."""
    rule.eval().zero_grad(set_to_none=True)
    rule.credit(x, y)
    return gradients(rule)


# ------------------------------------------------------------------------------------------------ Mono-Forward


@pytest.mark.parametrize("build", [mlp, cnn])
def test_the_heads_of_mono_forward_descend_their_own_loss(build):
    """M_l.grad = e_l^T h_l / N, sample by sample; the net's gradients are held in test_closed_form.py."""
    net = build().eval()
    x, y = inputs(net), labels()
    rule = make("mono", net, x)
    credit(rule, x, y)
    t = F.one_hot(y, CLASSES).double().numpy()
    heads = [M.detach().numpy() for M in rule.heads]
    pairs, of_heads = oracles_local.mono(oracle_net(net, x), x.numpy(), t, "cross_entropy", heads)
    assert_same(gradients(net), by_name(net, pairs), 1e-12)
    for M, want in zip(rule.heads, of_heads, strict=True):
        torch.testing.assert_close(M.grad, torch.from_numpy(want), atol=1e-12, rtol=0)


def test_mono_forward_is_autograd_of_each_layers_own_loss():
    """The sum of all losses, each of a detached input, differentiated by torch: norms and slopes included."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ELU(), nn.Flatten(), nn.LayerNorm(7),
                        nn.Linear(7, 6), nn.PReLU(), nn.Linear(6, CLASSES)).double().eval()  # fmt: skip
    x, y = inputs(nn.Sequential(nn.Linear(5, 5)).double()), labels()
    rule = make("mono", net, x)
    got = credited(rule, x, y)
    rule.zero_grad(set_to_none=True)
    blocks = [net[:4], net[4:8], net[8:]]
    h, total = x, 0.0
    for block, M in zip(blocks, [*rule.heads, None], strict=True):
        h = block(h.detach())
        total = total + F.cross_entropy(h if M is None else h @ M.T, y)
    total.backward()
    assert_same(got, gradients(rule), 1e-12)


def test_mono_forward_reads_the_sum_of_its_goodness():
    """inference="sum": what each head says is added to the output; "output": the net itself."""
    net = cnn().eval()
    x = inputs(net)
    plain, summed = make("mono", net, x), make("mono", net, x, inference="sum")
    h = net[:3](x).flatten(1)
    torch.testing.assert_close(summed(x), net(x) + h @ summed.heads[0].T)
    assert torch.equal(plain(x), net(x))
    assert (plain.claims.inference, summed.claims.inference) == ("net", "own")


def test_mono_forward_refuses_an_unknown_inference():
    net = mlp()
    with pytest.raises(Refused, match="inference='mean' came; MonoForward takes 'output' or 'sum'") as told:
        MonoForward(net, example=inputs(net)[:1], inference="mean")
    assert len(str(told.value)) <= 290
