"""Local losses, by their oracles: closed forms, one autograd graph a layer, and what must not change."""

import oracles_local
import pytest
import torch
from helpers import CLASSES, assert_same, by_name, cnn, credit, gradients, inputs, labels, make, mlp, oracle_net
from torch import nn
from torch.nn import functional as F

from altprop import LocalLoss, MonoForward, Refused, Weighted
from altprop.rules.local.heads import patch
from altprop.rules.local.similarity import rows


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


# ------------------------------------------------------------------------------------- Nokland and Eidnes' losses


def similarity(v):
    """S of rows, as the equation has it: the cosine of every pair, each row less its mean."""
    v = v.flatten(2).std(2) if v[0, 0].numel() > 1 else v.flatten(1)
    return torch.stack([torch.stack([F.cosine_similarity(a - a.mean(), b - b.mean(), dim=0) for b in v]) for a in v])


def own_loss(rule, index, h, t, w):
    """L_l of activity h, by torch's functions, from the weights of the rule's heads."""
    n, total = len(h), 0.0
    p = t @ rule.P[index] if rule.free else t
    if rule.of_pred:
        A, c = rule.decoders[2 * index], rule.decoders[2 * index + 1]
        z = F.linear(h.flatten(1), A, c)
        if rule.free:
            each = F.binary_cross_entropy_with_logits(z, (p > 0).double(), reduction="none").mean(1)
        else:
            each = F.cross_entropy(z, t, reduction="none")
        total = total + rule.of_pred * (w * each).sum() / n
    if rule.of_sim:
        s = h
        if not rule.free:
            K = rule.transforms[index]
            s = F.linear(h, K) if h.dim() == 2 else F.conv2d(h, K, padding=1)
        error = (similarity(s) - similarity(p)).square() * w * w[:, None]
        total = total + rule.of_sim * error.sum() / n**2
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("aim", ["pred", "sim", "predsim"])
@pytest.mark.parametrize("build", [mlp, cnn])
def test_local_losses_are_autograd_of_each_layers_own(build, aim, weighted):
    """Net, decoders and transforms at once: every block's loss of a detached input, differentiated by torch."""
    net = build().eval()
    x, y = inputs(net), labels()
    rule = make("local", net, x, aim=aim, beta=0.7)
    for parameter in rule.decoders:
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(5))
    w = torch.tensor([0.5, 2.0, 0.0, 1.5]).double() if weighted else torch.ones(4).double()
    got = credited(rule, x, Weighted(y, w) if weighted else y)
    rule.zero_grad(set_to_none=True)
    t, h, total = F.one_hot(y, CLASSES).double(), x, 0.0
    for index, layer in enumerate(rule.layers):
        h = layer(h.detach())
        last = index == len(rule.layers) - 1
        total = total + ((w * F.cross_entropy(h, y, reduction="none")).sum() / 4 if last else
                         own_loss(rule, index, h, t, w))  # fmt: skip
    total.backward()
    assert_same(got, gradients(rule), 1e-12)


@pytest.mark.parametrize("aim", ["pred", "sim", "predsim"])
def test_without_backpropagation_the_prediction_comes_down_through_fixed_weights(aim):
    """dL_pred / dh = (e / (N D)) B whatever A is; the similarities need no transform, and hear labels through P."""
    net = mlp(2).eval()
    x, y = inputs(net), labels()
    rule = make("local", net, x, aim=aim, beta=0.7, backprop_free=True, projection=9)
    for parameter in rule.decoders:
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(5))
    got = credited(rule, x, y)
    assert rule.claims.learns == (() if aim == "sim" else ("decoders",))
    rule.zero_grad(set_to_none=True)
    t, a = F.one_hot(y, CLASSES).double(), net[1](x)
    h = net[2](a)
    own_loss(rule, 0, h if aim == "sim" else h.detach(), t, torch.ones(4).double()).backward()
    signal = torch.zeros_like(h)
    if rule.of_pred:
        z = F.linear(h, *rule.decoders)
        signal += rule.of_pred * (z.sigmoid() - ((t @ rule.P[0]) > 0).double()).detach() @ rule.B[0] / (4 * 9)
    if aim == "predsim":
        leaf = h.detach().requires_grad_()
        error = similarity(leaf) - similarity(t @ rule.P[0])
        signal += torch.autograd.grad(rule.of_sim * error.square().mean(), leaf)[0]
    if aim != "sim":
        h.backward(signal)
    want = gradients(rule)
    assert_same({key: got[key] for key in got if "net.4" not in key},
                {key: want[key] for key in got if "net.4" not in key}, 1e-12)  # fmt: skip


@pytest.mark.parametrize("build", [mlp, cnn])
def test_similarities_have_a_unit_diagonal_and_no_scale(build):
    """T27: S_ii = 1, S is symmetric, and a sample times a positive number is as similar as before."""
    net = build()
    s = net[:3](inputs(net)).detach()
    S = rows(s).S
    torch.testing.assert_close(S.diagonal(), torch.ones(4).double())
    torch.testing.assert_close(S, similarity(s))
    scale = torch.tensor([1.0, 3.0, 0.2, 7.0]).double().view(4, *(1 for _ in s.shape[1:]))
    torch.testing.assert_close(rows(s * scale).S, S)


def test_a_flat_sample_has_no_similarity_and_no_signal():
    """A row of equal entries, or a dead map, is divided by no zero."""
    own = rows(torch.tensor([[2.0, 2.0, 2.0], [1.0, 0.0, 3.0]]))
    assert own.S[0].abs().max() == 0 and torch.isfinite(own.back(torch.ones(2, 2))).all()
    maps = rows(torch.zeros(2, 3, 2, 2))
    assert torch.isfinite(maps.back(torch.ones(2, 2))).all()


@pytest.mark.parametrize("name", ["mono", "local"])
def test_a_layers_loss_reaches_no_layer_below(name):
    """T27: what the second layer's heads say changes nothing in the first."""
    net = mlp(3)
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    before = credited(rule, x, y)
    with torch.no_grad():
        for parameter in (*rule.layers[1].beside.parameters(), *rule.layers[1].synapse.parameters()):
            parameter.normal_()
    after = credited(rule, x, y)
    assert all(torch.equal(before[key], after[key]) for key in before if "net.1" in key)
    assert not torch.equal(before["net.4.weight"], after["net.4.weight"])


def test_decoders_of_maps_see_patches():
    """At most ``features`` numbers, or one a channel; the average comes back evenly."""
    assert [patch(torch.Size(shape), 64) for shape in [(128,), (3, 6, 6), (16, 6, 6), (99, 6, 6)]] == [1, 2, 4, 8]
    net = cnn().eval()
    x, y = inputs(net), labels()
    rule = make("local", net, x, aim="pred", features=27)
    torch.nn.init.normal_(rule.decoders[0], generator=torch.Generator().manual_seed(5))
    got = credited(rule, x, y)
    rule.zero_grad(set_to_none=True)
    h = net[:3](x)
    F.cross_entropy(F.linear(F.avg_pool2d(h, 2).flatten(1), *rule.decoders), y).backward()
    torch.testing.assert_close(got["net.0.weight"], net[0].weight.grad)
    torch.testing.assert_close(got["decoders.0"], rule.decoders[0].grad)


@pytest.mark.parametrize("options", [{"aim": "both"}, {"beta": 1.5}, {"features": 0}, {"projection": 0}], ids=str)
def test_local_losses_refuse(options):
    net = mlp()
    with pytest.raises(Refused, match=f"{next(iter(options))}=.* came; LocalLoss takes pred, sim, predsim") as told:
        LocalLoss(net, example=inputs(net)[:1], **options)
    assert len(str(told.value)) <= 290


def test_local_losses_refuse_activity_of_four_axes():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, CLASSES))
    with pytest.raises(Refused, match=r"activity of shape \(2, 2, 2, 2, 3\) a sample came.*use 'mono'"):
        LocalLoss(net, example=torch.zeros(1, 2, 2, 2, 2, 2))


def test_a_single_target_is_not_centred():
    """Nothing would be left of it: similar are targets of the same sign."""
    assert torch.equal(
        rows(torch.tensor([[2.0], [-0.5], [1.0]])).S, torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    )
