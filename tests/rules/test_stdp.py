"""Spike-timing-dependent plasticity against a plain loop over samples, steps, neurons and synapses."""

import copy
import pickle
import sys

import pytest
import torch
from torch import nn

from altprop import Refused
from altprop.rules.hebbian.spikes import Neurons, Spikes, find_leaky
from altprop.rules.hebbian.stdp import STDP


def dense(units=12):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, units), nn.ReLU(), nn.Linear(units, 3)).double()


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


PLAIN = {"steps": 6, "beta": 0.7, "threshold": 0.4, "trace": 0.6, "a_plus": 0.9, "a_minus": 0.4, "decay": 0.3}


def stdp_loop(trains, W, b, theta, beta, keep, a_plus, a_minus, decay, soft, inhibition):
    """Spikes of shape (steps, M, in) through one layer of LIF neurons, one number at a time: (spikes, Delta W)."""
    T, M, D, K = *trains.shape, len(W)
    b = b.tolist()
    y, dW = torch.zeros(T, M, K).double(), torch.zeros_like(W)
    for m in range(M):
        membrane, p, q = [0.0] * K, [0.0] * D, [0.0] * K
        for t in range(T):
            s = [float(value) for value in trains[t, m]]
            for i in range(K):
                over = membrane[i] > theta[i]
                current = max(sum(float(W[i, j]) * s[j] for j in range(D)) + b[i], 0.0)
                membrane[i] = beta * membrane[i] + current - (float(theta[i]) if over else 0.0)
            ready = [i for i in range(K) if membrane[i] > theta[i]]
            if inhibition:
                winner = max(ready, key=lambda i: membrane[i] - theta[i], default=None)
                for i in ready:
                    if i != winner:
                        membrane[i] = float(theta[i])
                ready = [] if winner is None else [winner]
            p = [keep * p[j] + (1 - keep) * s[j] for j in range(D)]
            q = [keep * value for value in q]
            for i in range(K):
                y[t, m, i] = fired = float(i in ready)
                for j in range(D):
                    w = float(W[i, j])
                    up, down = (1 - w, w) if soft else (1.0, 1.0)
                    change = a_plus * fired * p[j] * up - a_minus * q[i] * s[j] * down - decay * fired * w
                    dW[i, j] += change / (T * M)
                q[i] += (1 - keep) * fired
    return y, dW


def loop_options(options):
    return {"keep": options["trace"], **{key: options[key] for key in ("beta", "a_plus", "a_minus", "decay")}}


def seeded_spikes(rule, x, seed):
    """(steps, N, *in): what the rule will draw for x from this seed."""
    torch.manual_seed(seed)
    return rule.spikes(x).unflatten(0, (rule.steps, -1))


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("inhibition", [True, False])
def test_stdp_of_two_layers_is_the_plain_loop(soft, inhibition):
    """Reset, leak, competition, both traces and their order, both bounds, means, spikes handed on, N of the readout."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    x, y = draw(3, 5).abs(), torch.tensor([0, 1, 1])
    rule = STDP(net, example=x, soft=soft, inhibition=inhibition, **{**PLAIN, "threshold": 0.25})
    s = seeded_spikes(rule, x, 7)
    for layer in (net[0], net[2]):
        s, layer.want = stdp_loop(
            s, layer.weight.detach(), layer.bias, [0.25] * 4, soft=soft, inhibition=inhibition, **loop_options(PLAIN)
        )
        assert 0 < s.mean() < 1
    torch.manual_seed(7)
    loss = rule.credit(x, y)
    for layer in (net[0], net[2]):
        torch.testing.assert_close(layer.weight.grad, -layer.want, atol=1e-12, rtol=0)
        assert layer.bias.grad is None
    want = nn.functional.cross_entropy(net[4](s.mean(0)), y)
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(net[4].weight.grad, *torch.autograd.grad(want, net[4].weight))


def test_stdp_of_a_convolution_is_that_of_its_patches():
    """Positions that compete with each other, or a mean that forgets them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).double()
    x = draw(2, 1, 7, 7).abs()
    rule = STDP(net, example=x, **PLAIN)

    def unfold(step):
        return nn.functional.unfold(step, 3, stride=2).transpose(1, 2).flatten(0, 1)

    s = torch.stack([unfold(step) for step in seeded_spikes(rule, x, 3)])  # (steps, N * positions, 9)
    y, want = stdp_loop(
        s, net[0].weight.detach().flatten(1), net[0].bias, [0.4] * 4, soft=True, inhibition=True, **loop_options(PLAIN)
    )
    torch.manual_seed(3)
    rule.credit(x)
    assert y.sum() > 0
    torch.testing.assert_close(net[0].weight.grad.flatten(1), -want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("first", ["input", "neuron"])
def test_the_order_of_two_spikes_decides_the_sign(first):
    """One synapse: it grows where its input came before the neuron's spike, shrinks where it came after."""
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Identity(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        net[0].weight.copy_(
            torch.tensor([[0.1, 1.0]], dtype=torch.float64)
        )  # the second input alone makes the neuron spike
    rule = STDP(net, example=torch.ones(1, 2), steps=4, beta=0.0, threshold=0.5, trace=0.5, decay=0.0, adapt=0.0)
    times = (1, 3) if first == "input" else (3, 1)
    train = torch.zeros(4, 2).double()
    train[times[0], 0] = train[times[1], 1] = 1.0
    rule.spikes.forward = lambda x: train
    rule.credit(torch.ones(1, 2).double())
    change = -net[0].weight.grad[0, 0].item()
    trace = 0.5**2 * 0.5  # two steps later
    want = 1.0 * trace * 0.9 / 4 if first == "input" else -0.1 * trace * 0.1 / 4
    assert change == pytest.approx(want, rel=1e-12)


def test_one_winner_a_step_and_position():
    """Two spikes at a time, a winner under its threshold, or losers that lose their charge."""
    cells = find_leaky()(0.5, threshold=torch.tensor([1.0, 3.0, 1.0]).double(), surrogate_disable=True).double()
    current = torch.tensor([[4.0, 5.0, 1.5], [0.5, 0.5, 0.4], [0.6, 2.0, 0.9]]).double()  # three steps of one sample
    spikes = Neurons(cells, 3, -1, inhibition=True)(current)
    # 4 is 3 over its threshold, 5 is 2 over; the losers are held at 3 and 1, and halve.  Then 4 / 2 - 1 + .5 = 1.5 is
    # .5 over.  Last the first has .35, the second 1.5 + .5 -> 1 + 2 and not over, the third .9 -> .45 + .9.
    assert torch.equal(spikes, torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]]).double())
    free = Neurons(cells, 3, -1, inhibition=False)(current)
    assert torch.equal(free[0], torch.ones(3).double())
    images = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double() * 4
    fired = Neurons(cells, 4, 1, inhibition=True)(images).sum(1)
    assert fired.max() == 1 and 0 < fired.mean() < 1


def test_thresholds_seek_the_activity_in_training_only():
    """Thresholds that move before use, in eval mode, or away from the activity."""
    net, x = dense(4), draw(8, 6).abs()
    rule = STDP(net, example=x, steps=5, threshold=0.2, adapt=0.3, activity=0.6)
    rule.eval().credit(x)
    assert torch.equal(rule.neurons[0].theta, torch.full((4,), 0.2, dtype=torch.float64))
    rule.train()
    torch.manual_seed(2)
    y = rule.layers[0](x)
    torch.manual_seed(2)
    rule.credit(x)
    torch.testing.assert_close(rule.neurons[0].theta, 0.2 + 0.3 * (4 * y.mean(0) - 0.6))


def test_evaluation_draws_nothing_and_training_draws_by_the_seed():
    """Poisson spikes in evaluation; spikes that no seed repeats; a state that one batch leaves to the next."""
    net, x, y = dense(), draw(8, 6).abs(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    rule = STDP(net, example=x, adapt=0.0).eval()
    state = torch.get_rng_state()
    first = rule(x)
    rule.credit(x, y)
    assert torch.equal(rule(x), first) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(rule(x[:3]), first[:3])

    def gradients(seed):
        rule.train().zero_grad()
        torch.manual_seed(seed)
        rule.credit(x, y)
        return net[0].weight.grad

    one = gradients(5)
    assert torch.equal(gradients(5), one) and not torch.equal(gradients(6), one)


def test_spikes_have_the_probability_of_the_input():
    """Values outside of [0, 1] are cut; in training spikes are 0 or 1 with that mean, drawn anew each step."""
    x = torch.tensor([[-1.0, 0.0, 0.3, 1.0, 2.0]])
    drawn = Spikes(4000)(x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0, 0, 0.3, 1, 1]), atol=0.03, rtol=0)
    assert torch.equal(Spikes(2).eval()(x), torch.tensor([[0, 0, 0.3, 1, 1]]).repeat(2, 1))


def test_rates_are_handed_to_the_readout():
    """Inference by the bare net, which knows no spikes; and a net without a hidden layer is the net itself."""
    net, x = dense(), draw(8, 6).abs()
    rule = STDP(net, example=x, steps=7).eval()
    rates = rule.layers[0](x).unflatten(0, (7, 8)).mean(0)
    torch.testing.assert_close(rule(x), net[2](rates))
    single = nn.Sequential(nn.Linear(6, 3)).double()
    assert torch.equal(STDP(single, example=x)(x), single(x))
    assert STDP(net, example=x, readout=False)(x).shape == (8, 3)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))])
def test_a_spiking_rule_is_copied_whole(way):
    """Neurons of a copy that are the first rule's; closures of snnTorch that cannot be pickled; batches kept."""
    net, x = dense(), draw(8, 6).abs()
    rule = STDP(net, example=x)
    rule(x)
    other = way(rule)
    other.neurons[0].theta.add_(1.0)
    torch.manual_seed(0)
    before = rule(x)
    torch.manual_seed(0)
    assert not torch.equal(other(x), before) and all(neurons.leaky.mem.numel() == 0 for neurons in rule.neurons)
    assert "neurons.0.leaky.threshold" in rule.state_dict()


def test_stdp_without_snntorch_says_how_to_get_it(monkeypatch):
    """A bare ImportError, or neurons of another make."""
    monkeypatch.setitem(sys.modules, "snntorch", None)
    with pytest.raises(Refused, match=r"pip install 'altprop\[spiking\]'"):
        STDP(dense(), example=draw(1, 6))


@pytest.mark.parametrize("options", [{"steps": 0}, {"beta": 1.0}, {"trace": -0.1}, {"decay": -1.0}, {"adapt": -1.0}])
def test_stdp_refuses_what_is_out_of_range(options):
    """A trace that never fades, a decay that lets weights grow."""
    with pytest.raises(Refused, match=next(iter(options))):
        STDP(dense(), example=draw(1, 6), **options)


def test_stdp_learns_what_comes_together():
    """Of two patterns each neuron that wins comes to stand for one, and its weights stay within [0, 1]."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 4), nn.Identity(), nn.Linear(4, 2))
    patterns = torch.eye(2).repeat_interleave(4, 1)  # (2, 8): either half
    rule = STDP(net, example=patterns)
    for _ in range(80):
        rule.zero_grad()
        rule.credit(patterns[torch.randint(2, (10,))])
        with torch.no_grad():
            net[0].weight -= 0.3 * net[0].weight.grad
    W = net[0].weight.detach()
    left, right = W[:, :4].mean(1), W[:, 4:].mean(1)
    assert (left > right + 0.2).any() and (right > left + 0.2).any() and W.max() < 1
    rates = rule.eval().layers[0](patterns).unflatten(0, (rule.steps, 2)).mean(0)
    assert (rates[0] * rates[1]).sum() < 0.05 * rates.square().sum()
