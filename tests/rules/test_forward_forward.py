"""Forward-Forward against autograd of each layer's own loss, and what its samples, readout and inference promise."""

import copy

import pytest
import torch
from helpers import CLASSES, assert_same, cnn, credit, gradients, inputs, labels, mlp
from torch import nn
from torch.nn import functional as F

from altprop import layers
from altprop.rules.forward_forward import ForwardForward, samples

N = 4
both = pytest.mark.parametrize("goodness", ["sum", "mean"])


class Block(nn.Module):
    """A residual block, as one synapse."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(5), nn.Linear(5, 8), nn.Linear(8, 5)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).tanh())


def relus(depth=4):
    return mlp(depth, nn.ReLU)


def blocks():
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.Linear(5, 5), nn.LayerNorm(5), nn.ReLU(), Block(), nn.Linear(5, 3)).double()


NETS = {"relu": relus, "tanh": lambda: mlp(4), "cnn": cnn, "blocks": blocks}


def make(net, **options):
    return ForwardForward(net, example=inputs(net)[:1], **{"place": "over", **options})


@pytest.fixture
def next_class(monkeypatch):
    """Negatives without a draw: each is told the class after its own."""
    monkeypatch.setattr(samples, "wrong", lambda true, n: (true + 1) % n)


def told(x, y, label=1.0):
    """x with the one-hot of y in its first entries, written sample by sample."""
    x = x.clone()
    for sample, c in zip(x, y.tolist(), strict=True):
        sample.view(-1)[:CLASSES] = torch.eye(CLASSES).double()[c] * label
    return x


def neutral(x):
    x = x.clone()
    x.view(len(x), -1)[:, :CLASSES] = 0.1
    return x


def unit(h, goodness):
    flat = h.flatten(1)
    length = {"sum": flat.square().mean(1).sqrt() + 1e-8, "mean": flat.square().sum(1).sqrt() + 1e-4}[goodness]
    return (flat / length[:, None]).view_as(h)


def score(h, goodness):
    """(g, theta)."""
    square = h.flatten(1).square()
    return (square.sum(1), square.shape[1]) if goodness == "sum" else (square.mean(1), 2)


def layer_losses(net, positive, negative, goodness, peer=0.0, m=0.5):
    """Each hidden layer's loss on constant inputs; the peer term sees the pre-activation as if f had slope 1."""
    x = torch.cat((positive, negative))
    for layer in layers(net)[:-1]:
        a = layer.synapse(layer.inlet(unit(x, goodness).detach()))
        x = layer.activation(a)
        g, theta = score(x, goodness)
        is_positive = (torch.arange(len(x)) < len(positive)).double()
        straight = (a + (x - a).detach())[: len(positive)]
        running = 0.9 * m + 0.1 * straight.mean(0)
        penalty = (running.mean() - running).square().mean()
        yield F.binary_cross_entropy_with_logits(g - theta, is_positive) + peer * penalty


def hidden_gradients(net, losses):
    net.zero_grad(set_to_none=True)
    for loss in losses:
        loss.backward()
    return gradients(nn.Sequential(*list(net)[:-1]))


def only_hidden(got):
    return {key: got[key] for key in list(got)[:-2]}


@both
@pytest.mark.parametrize("peer", [0.0, 2.0])
@pytest.mark.parametrize("kind", NETS)
def test_hidden_gradients_are_autograds_of_the_layers_own_loss(kind, peer, goodness, next_class):
    """T14: a factor 2 or 1/N, theta, the peer term behind f', a gradient that reaches the layer below."""
    net = NETS[kind]()
    x, y = inputs(net, N), labels(N)
    got = credit(make(net, goodness=goodness, peer=peer, label=1.5), x, y)
    losses = layer_losses(net, told(x, y, 1.5), told(x, (y + 1) % CLASSES, 1.5), goodness, peer)
    assert_same(only_hidden(got), hidden_gradients(net, losses), 1e-10)


@both
def test_hidden_gradients_on_patchworks(goodness, monkeypatch):
    """Negatives that stay labels, or labels written into positives where none are to be told."""
    net = cnn()
    x = inputs(net, N)
    mask = torch.rand(N, 1, 6, 6) > 0.4
    monkeypatch.setattr(samples, "blobs", lambda x, blurs: mask if blurs == 4 else None)
    monkeypatch.setattr(samples, "wrong", lambda true, n: (true + 1) % n)
    got = credit(make(net, goodness=goodness, negatives="images", blurs=4), x, labels(N))
    patched = mask * x + ~mask * x[[1, 2, 3, 0]]
    assert_same(only_hidden(got), hidden_gradients(net, layer_losses(net, x, patched, goodness, 0.03)), 1e-10)


def test_silent_units_learn_by_the_peer_term_alone(next_class):
    """A peer term that passes f' cannot wake the units that it is there for."""
    net = relus(2)
    with torch.no_grad():
        net[1].bias[0] = -100.0
    x, y = inputs(net, N), labels(N)
    assert credit(make(net, peer=0.0), x, y)["1.weight"][0].abs().max() == 0
    m = 0.45 + 0.1 * net[1:3](unit(told(x, y), "sum")).mean(0)
    push = 3.0 * 0.1 * 2 / 7 * (m[0] - m.mean())
    torch.testing.assert_close(credit(make(net, peer=3.0), x, y)["1.bias"][0], push.detach())


def test_the_means_run_in_train_mode_alone(next_class):
    """A probe in eval mode must leave the rule as it was; the mean is over positives."""
    net = relus(3)
    rule, x, y = make(net), inputs(net, N), labels(N)
    with torch.no_grad():
        h1 = net[1:3](unit(told(x, y), "sum"))
        h2 = net[4:6](unit(h1, "sum"))
    for k, h in enumerate((h1, h2)):
        torch.testing.assert_close(rule.means[k], torch.full_like(h[0], 0.5))
    for _ in range(2):
        credit(rule, x, y)
    credit(rule.eval(), x, y)
    for k, h in enumerate((h1, h2)):
        torch.testing.assert_close(rule.means[k], 0.81 * 0.5 + 0.19 * h.mean(0))


def test_the_length_of_the_input_does_not_matter():
    """Without the division the first layer reads off how bright a sample is."""
    net = relus()
    rule, x, y = make(net, negatives="images"), inputs(net, N), labels(N)
    rule.eval()
    torch.testing.assert_close(rule(3 * x), rule(x), rtol=1e-6, atol=1e-7)
    assert_same(credit(rule, 3 * x, y), credit(rule, x, y), 1e-7)


def test_the_length_of_activity_does_not_reach_the_next_layer():
    """A verdict that is handed on makes every layer above idle."""
    net = relus()
    rule, x, y = make(net, peer=0.0), inputs(net, N), labels(N)
    before = credit(rule, x, y)
    with torch.no_grad():
        for p in net[1].parameters():
            p.mul_(3)
    after = credit(rule, x, y)
    assert_same({k: after[k] for k in list(after)[2:]}, {k: before[k] for k in list(before)[2:]}, 1e-6)
    assert not torch.allclose(after["1.weight"], before["1.weight"], rtol=0.1)


@both
def test_no_gradient_crosses_layers(goodness):
    """A layer's gradient stays as it was, to the bit, whatever stands above it."""
    net = relus()
    rule, x, y = make(net, goodness=goodness), inputs(net, N), labels(N)
    rule.eval()
    before = credit(rule, x, y)
    with torch.no_grad():
        net[4].weight.normal_()
    after = credit(rule, x, y)
    assert all(torch.equal(before[key], after[key]) for key in ("1.weight", "1.bias"))
    assert not torch.allclose(before["4.weight"], after["4.weight"])


@both
@pytest.mark.parametrize("negatives", ["labels", "images"])
def test_the_readout_is_linear_in_all_layers_but_the_first(negatives, goodness):
    """R on the wrong layer, a gradient without 1/N, logits of another readout than the one that learns."""
    torch.manual_seed(0)
    net = nn.Sequential(*relus(4)[:-1], nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, CLASSES)).double()
    rule, x, y = make(net, goodness=goodness, negatives=negatives), inputs(net, N), labels(N)
    assert [tuple(R.shape) for R in rule.R] == [(CLASSES, 6), (CLASSES, 4)] and not any(R.any() for R in rule.R)
    u, read = neutral(x) if negatives == "labels" else x, []
    with torch.no_grad():
        for R in rule.R:
            R.normal_()
        for layer in layers(net)[:-1]:
            u = layer(unit(u, goodness))
            read.append(unit(u, goodness))
    W = torch.cat([*rule.R, net[-1].weight], 1).detach().requires_grad_()
    z = F.linear(torch.cat(read[1:], 1), W, net[-1].bias.detach())
    torch.testing.assert_close(rule(x), z, atol=1e-12, rtol=0)
    loss = F.cross_entropy(z, y)
    loss.backward()
    rule.zero_grad(set_to_none=True)
    torch.testing.assert_close(rule.credit(x, y), loss.detach())
    got = torch.cat([*(R.grad for R in rule.R), net[-1].weight.grad], 1)
    torch.testing.assert_close(got, W.grad, atol=1e-12, rtol=0)


def test_R_is_the_optimizers():
    """Weights that are in no group stay zero, frozen ones as they are; few hidden layers need none."""
    rule = make(relus(4))
    (group,) = rule.param_groups(0.5)
    assert group["lr"] == 0.5 and {id(p) for p in group["params"]} == {id(p) for p in rule.parameters()}
    rule.R.requires_grad_(False)
    rule.credit(torch.rand(N, 5).double(), labels(N))
    assert rule.R[0].grad is None
    assert [len(make(relus(depth)).R) for depth in (2, 3, 4)] == [0, 0, 1] and "R.0" in rule.state_dict()


@both
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_goodness_inference_is_brute_force(depth, goodness):
    """A layer too many or too few in the sum, a column under another class."""
    net = relus(depth)
    rule, x = make(net, goodness=goodness, inference="goodness", label=1.5).eval(), inputs(net, N)
    want = torch.zeros(N, CLASSES).double()
    for n in range(N):
        for c in range(CLASSES):
            h = told(x[n : n + 1], torch.tensor([c]), 1.5)
            for index, layer in enumerate(layers(net)[:-1]):
                h = layer(unit(h, goodness))
                if index or goodness == "mean" or depth == 2:
                    want[n, c] += score(h, goodness)[0].item()
    torch.testing.assert_close(rule(x), want, atol=1e-12, rtol=0)
    assert torch.equal(rule(x).argmax(1), want.argmax(1))
    assert set(credit(rule, x, labels(N))) == {key for key, _ in net.named_parameters()}


@pytest.mark.parametrize("inference", ["readout", "goodness"])
def test_inference_is_differentiable_and_leaves_the_net_alone(inference):
    """Attacks need the slope at the input; a label entry has none, for it is overwritten; the net stays the user's."""
    net = relus()
    x = inputs(net, N)
    before = net(x)
    rule = make(net, inference=inference).eval()
    leaf, state = x.clone().requires_grad_(), torch.get_rng_state()
    rule(leaf)[:, 0].sum().backward()
    assert leaf.grad[:, :CLASSES].abs().max() == 0 and (leaf.grad[:, CLASSES:] != 0).all()
    assert torch.autograd.gradcheck(rule, leaf)
    assert torch.equal(net(x), before) and torch.equal(torch.get_rng_state(), state)


def test_state_dict_round_trip():
    """Means and R are what was learned beside the net."""
    net = relus()
    rule, x, y = make(net), inputs(net, N), labels(N)
    optimizer = torch.optim.SGD(rule.param_groups(0.1))
    for seed in range(3):
        credit(rule, x, y, seed=seed)
        optimizer.step()
    other = make(relus())
    assert other.load_state_dict(rule.state_dict()).missing_keys == []
    assert torch.equal(other(x), rule(x)) and other.R[0].any()
    assert_same(credit(other, x, y), credit(rule, x, y), 0)
    twin = copy.deepcopy(rule)
    assert {id(p) for layer in twin.layers for p in layer.parameters()} == {id(p) for p in twin.parameters()}


def test_the_seed_decides_the_negatives():
    """Draws that no seed repeats, or one draw for all batches."""
    net = relus()
    rule, x, y = make(net, peer=0.0), inputs(net, 8), labels(8)
    assert_same(credit(rule, x, y, seed=1), credit(rule, x, y, seed=1), 0)
    assert not torch.equal(credit(rule, x, y, seed=1)["1.weight"], credit(rule, x, y, seed=2)["1.weight"])


def test_streaming_is_stepping_afterwards():
    """Neutral samples that pass a layer already stepped would teach another readout; R must be announced too."""
    early = make(mlp(4, nn.ReLU, p=0.3))
    late, seen = copy.deepcopy(early), []
    x, y = inputs(early.net, N), labels(N)
    credit(late, x, y)
    torch.optim.SGD(late.param_groups(0.5)).step()

    def step(layer):
        seen.append(layer)
        assert all(p.grad is not None for p in layer.parameters())
        torch.optim.SGD(list(layer.parameters()), lr=0.5).step()
        for p in layer.parameters():
            p.grad = None

    credit(early, x, y, step)
    assert seen == early.layers and late.R[0].any()
    for (key, left), right in zip(early.named_parameters(), late.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-13, rtol=0, msg=key)


@pytest.mark.parametrize("kind", ["readout", "goodness", "images"])
def test_layers_learn_to_tell_positives_from_negatives(kind):
    """A flipped sign makes layers active on negatives; and classes must come out of it."""
    torch.manual_seed(0)
    centres = torch.randn(CLASSES, 12).double()
    y = torch.arange(90) % CLASSES
    x = centres[y] + 0.3 * torch.randn(90, 12).double()
    net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, CLASSES)).double()
    options = {"negatives": "images"} if kind == "images" else {"inference": kind}
    rule = ForwardForward(net, example=x[:1], **options)
    optimizer = torch.optim.SGD(rule.param_groups(0.03), momentum=0.9)
    for _ in range(100):
        optimizer.zero_grad()
        rule.credit(x, y)
        optimizer.step()
    h = rule.samples.pairs(x, y)
    for layer in rule.layers[:-1]:
        h = layer(unit(h, "sum"))
        positive, negative = score(h, "sum")[0].split(90)
        assert positive.mean() > negative.mean() + 1
    assert (rule.eval()(x).argmax(1) == y).double().mean() > 0.95


def wider(x):
    """x / rms(x), sample by sample, behind C zeros, over which a label may stand."""
    scaled = torch.stack([sample / (sample.square().mean().sqrt() + 1e-8) for sample in x])
    return torch.cat((torch.zeros(len(x), CLASSES).double(), scaled), 1)


@pytest.mark.parametrize("inference", ["readout", "goodness"])
@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_a_label_beside_is_one_over_constant_columns(goodness, inference, next_class):
    """The same net with C columns more, which say nothing and which the label may stand over."""
    torch.manual_seed(0)
    x, y = 7 * torch.randn(6, 5).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    options = {"goodness": goodness, "inference": inference}
    narrow = relus(3)
    rule = ForwardForward(narrow, example=x[:1], **options)
    first = nn.Linear(CLASSES + 5, narrow[1].out_features).double()
    first.weight.data.copy_(torch.cat((rule.U[0], narrow[1].weight), 1))
    first.bias.data.copy_(narrow[1].bias)
    wide = nn.Sequential(narrow[0], first, *(copy.deepcopy(module) for module in list(narrow)[2:]))
    other = ForwardForward(wide, example=wider(x)[:1], place="over", **options)
    torch.testing.assert_close(rule(x), other(wider(x)))
    loss, wanted = rule.credit(x, y), other.credit(wider(x), y)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(torch.cat((rule.U[0].grad, narrow[1].weight.grad), 1), first.weight.grad)
    for left, right in zip(list(narrow.parameters())[1:], list(wide.parameters())[1:], strict=True):
        torch.testing.assert_close(left.grad, right.grad)


def test_a_label_hides_nothing_of_a_table():
    """Over the first columns, which alone tell the classes, it left a third right."""
    torch.manual_seed(0)
    y = torch.arange(90) % CLASSES
    x = torch.cat((3 * torch.eye(CLASSES)[y], torch.zeros(90, 4)), 1) + 0.3 * torch.randn(90, 7)
    accuracy = {}
    for place in ("auto", "over"):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, CLASSES))
        rule = ForwardForward(net, example=x[:1], place=place)
        optimizer = torch.optim.SGD(rule.param_groups(0.03), momentum=0.9)
        for _ in range(60):
            optimizer.zero_grad()
            rule.credit(x, y)
            optimizer.step()
        accuracy[place] = float((rule.eval()(x).argmax(1) == y).double().mean())
    assert accuracy["auto"] > 0.95 and accuracy["over"] < 0.7, accuracy


def test_where_the_label_stands():
    """Over images as published, beside flat samples; where a user asks, over them too; U is drawn once and kept."""
    flat, image = relus(3), cnn()
    assert len(ForwardForward(flat, example=inputs(flat)[:1]).U) == 1
    assert not len(ForwardForward(image, example=inputs(image)[:1]).U)
    assert not len(ForwardForward(flat, example=inputs(flat)[:1], place="over").U)
    assert not len(ForwardForward(flat, example=inputs(flat)[:1], negatives="images").U)
    torch.manual_seed(5)
    rule, again = (ForwardForward(flat, example=inputs(flat)[:1]) for _ in range(2))
    assert torch.equal(rule.U[0], again.U[0]) and "U.0" in rule.state_dict()
    assert rule.U[0].std().item() == pytest.approx(flat[1].weight.std().item(), rel=0.5)
    assert rule.layers[0](rule.samples.embed(inputs(flat), rule.samples.labels(inputs(flat))[:1])).shape == (4, 7)
    torch.testing.assert_close(rule.layers[0](inputs(flat)), flat[:3](inputs(flat)))  # of samples without a label
