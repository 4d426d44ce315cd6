"""Winners against a loop over samples, positions and units, and against nets whose winners are known."""

import math

import pytest
import torch
from helpers import cnn, inputs, mlp, strided
from torch import nn

from altprop import RULES, Refused
from altprop.measure import winners


def looped(net, x):
    """Index of each Linear or convolution -> wins of its units, by comparing numbers one by one."""
    wins, h = {}, x
    for index, module in enumerate(net):
        h = module(h)
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        rows = h.flatten(2).transpose(1, 2).flatten(0, 1) if h.dim() == 4 else h  # (samples x positions, units)
        wins[str(index)] = [0] * rows.shape[1]
        for row in rows.tolist():
            best = 0
            for unit, value in enumerate(row):
                best = unit if value > row[best] else best
            wins[str(index)][best] += 1
    return wins


@pytest.mark.parametrize("build", [mlp, cnn, strided])
@pytest.mark.parametrize("name", ["bp", "shallow", "dfa"])
def test_winners_are_those_of_a_loop(build, name):
    """Activity in place of pre-activation, positions that are left out, channels taken for positions."""
    net = build(p=0.5)
    x = inputs(net, n=300)  # more than one chunk
    rule = RULES[name](net, example=x)
    net.train()
    found = winners(rule, x)
    assert all(module.training for module in net)
    want = looped(net.eval(), x)
    assert found.keys() == want.keys()
    for layer, wins in want.items():
        share = torch.tensor(wins, dtype=torch.float64) / sum(wins)
        assert torch.equal(found[layer].share, share)
        assert found[layer].entropy == pytest.approx(-sum(s * math.log(s) for s in share.tolist() if s))
        assert found[layer].dead == wins.count(0)


def test_even_and_uneven_competition():
    """The ends of the scale: log(units) where all win alike, 0 where one wins always, and the dead counted."""
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4))
        net[2].weight.zero_()
        net[2].bias.copy_(torch.tensor([0.0, 2.0, 1.0]))
    rule = RULES["bp"](net, example=torch.eye(4))
    first, last = winners(rule, torch.eye(4)).values()
    assert first.share.tolist() == [0.25] * 4 and first.entropy == pytest.approx(math.log(4)) and first.dead == 0
    assert last.share.tolist() == [0.0, 1.0, 0.0] and last.entropy == 0 and last.dead == 2


def test_units_of_a_linear_on_sequences_are_its_last_axis():
    """Time steps would win instead."""
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3))
    x = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    rule = RULES["bp"](net, example=x)
    want = net[0](x).argmax(2).flatten().bincount(minlength=6) / 60
    assert winners(rule, x)["0"].share == pytest.approx(want)


def test_other_synapses_are_passed():
    """A net without rule; an embedding has no units that compete, but what lies above it does."""
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    x = torch.randint(9, (5, 3), generator=torch.Generator().manual_seed(0))
    assert winners(net, x).keys() == {"2"}


def test_winners_leave_no_trace():
    """Statistics of norms, modes, random state, gradients, the data under an in-place module."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.ReLU(inplace=True), nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(8, 3),
    )  # fmt: skip
    x = torch.randn(20, 5)
    rule, data = RULES["bp"](net, example=x), x.clone()
    rule.train()
    net[2].eval()
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes, random = {m: m.training for m in rule.modules()}, torch.get_rng_state()
    winners(rule, x)
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {m: m.training for m in rule.modules()} and torch.equal(x, data)
    assert torch.equal(random, torch.get_rng_state()) and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("net", "x", "message"),
    [
        (nn.Sequential(nn.Linear(5, 3)), torch.zeros(0, 5), "no samples came"),
        (nn.Sequential(nn.Linear(5, 3)), torch.full((4, 5), math.nan), r"layer '0' .* hold nan"),
        (nn.Sequential(nn.Embedding(9, 4), nn.Flatten()), torch.zeros(4, 3).long(), "no layer is a Linear"),
    ],
)
def test_what_has_no_winner_is_refused(net, x, message):
    """One line that says what came, in place of shares that are nan."""
    with pytest.raises(Refused, match=message):
        winners(net, x)
