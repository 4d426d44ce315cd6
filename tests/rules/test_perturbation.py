"""Perturbations of weights against autograd, against members built one by one, and against their own equations."""

import math
import weakref

import pytest
import torch
from helpers import (
    CLASSES,
    LOSSES,
    assert_same,
    backward,
    cnn,
    credit,
    gradients,
    inputs,
    labels,
    loss_of,
    make,
    mlp,
    strided,
)
from torch import nn
from torch.func import functional_call

from altprop import Refused, Weighted
from altprop.rules.perturbation import es, noise, population, replay
from altprop.rules.perturbation.shaping import SHAPINGS

ALL = ("es", "mezo", "fzoo")


def flat(named):
    return torch.cat([g.flatten() for g in named.values()])


def written_down(monkeypatch, place, name):
    """What a function returns, call by call."""
    seen, own = [], getattr(place, name)
    monkeypatch.setattr(place, name, lambda *a, **k: [seen.append(own(*a, **k)), seen[-1]][1])
    return seen


class Tokens(nn.Module):
    """(N, 6) -> (N, 2, 3): a Linear above it sees positions."""

    def forward(self, x):
        return x.unflatten(1, (2, 3))


class Own(nn.Linear):
    """A synapse of the user's, of which no closed form is known."""

    def forward(self, x):
        return super().forward(x).square()


def tokens(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(Tokens(), nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Flatten(), nn.Linear(8, CLASSES)).double()


def own():
    torch.manual_seed(0)
    return nn.Sequential(Own(5, 6), nn.ReLU(), Own(6, CLASSES)).double()


BUILDS = {"mlp": mlp, "cnn": cnn, "strided": strided, "tokens": tokens, "own": own,
          "plain": lambda: mlp(bias=False), "dropout": lambda: mlp(p=0.4), "maps": lambda: cnn(p=0.4)}  # fmt: skip


def batch(net):
    shape = {Tokens: (6,), nn.Conv2d: (2, 6, 6)}.get(type(net[0]), (5,))
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1)).to(next(net.parameters()).dtype)


def one_by_one(net, x, y, drawn, sigma, loss, seed=0):
    """(K, 2): the loss of every member, whose weights are built; each sees the masks of this seed."""
    found, names = [], [name for name, _ in net.named_parameters()]
    for k in range(drawn[0].K):
        for sign in (1, -1):
            there = {
                n: p + sign * sigma * e.built()[k] for (n, p), e in zip(net.named_parameters(), drawn, strict=True)
            }
            torch.manual_seed(seed)
            found.append(loss_of(functional_call(net, there, (x,)), y, loss))
    assert len(names) == len(drawn)
    return torch.stack(found).view(-1, 2).detach()


@pytest.mark.parametrize("largest", [1, 1 << 20])
@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("build", BUILDS)
def test_the_population_in_one_pass_is_its_members_built_one_by_one(build, rank, largest, monkeypatch):
    """Losses and gradient to 1e-10; dense, by position, in convolutions with groups, in modules of the user's."""
    net = BUILDS[build]()
    x, y, K, sigma = batch(net), labels(), 3, 0.3
    drawn, members = written_down(monkeypatch, es, "draw"), written_down(monkeypatch, es, "losses")
    monkeypatch.setattr(population, "LARGEST", largest)
    got = credit(make("es", net, x, population=2 * K, sigma=sigma, rank=rank, shaping="raw"), x, y)
    want = one_by_one(net, x, y, drawn, sigma, "cross_entropy")
    torch.testing.assert_close(members[0], want, atol=1e-10, rtol=0)
    w = (want[:, 0] - want[:, 1]) / (2 * K * sigma)
    for (name, p), e in zip(net.named_parameters(), drawn, strict=True):
        torch.testing.assert_close(got[name], torch.einsum("k,k...->...", w, e.built()), atol=1e-10, rtol=0)
        assert e.built().shape == (K, *p.shape)
    assert want.std() > 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_in_float32_the_members_are_the_same_to_1e5(loss, monkeypatch):
    """The losses of the products, and of the weights built."""
    net = mlp().float()
    x, y = batch(net), labels()
    drawn, members = written_down(monkeypatch, es, "draw"), written_down(monkeypatch, es, "losses")
    credit(make("es", net, x, population=8, rank=2, loss=loss), x, y)
    torch.testing.assert_close(members[0], one_by_one(net, x, y, drawn, 0.05, loss), atol=1e-5, rtol=1e-5)


def quadratic(out=2):
    """One layer under mse: its loss is a quadratic of the weights, whose smoothed gradient is its own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, out)).double(), torch.randn(6, 3).double(), torch.randn(6, out).double()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_mean_over_draws_is_autograds_gradient_of_a_quadratic(rank):
    """Unbiased at any sigma; the deviation of the mean of 200 draws, from the draws themselves, bounds what is left."""
    net, x, t = quadratic()
    rule = make("es", net, x, loss="mse", population=20, sigma=0.5, rank=rank, shaping="raw")
    draws = torch.stack([flat(credit(rule, x, t, seed=seed)) for seed in range(200)])
    net.zero_grad()
    (nn.functional.mse_loss(net(x), t) * t.shape[1] / 2).backward()
    want = flat(gradients(net))
    off = (draws.mean(0) - want) / (draws.std(0) / math.sqrt(len(draws)))
    assert off.abs().max() < 4 and torch.cosine_similarity(draws.mean(0), want, 0) > 0.98
    assert draws.std() > 0.05


@pytest.mark.parametrize("sigma", [0.01, 10.0])
def test_pairs_are_exact_for_a_linear_function(sigma):
    """(L+ - L-) / 2 sigma is <gradient, E>: g = 1/K sum <G, E_k> E_k whatever sigma, without the noise of L itself."""
    net, x, t = quadratic(1)
    rule = make("es", net, x, loss="mse", population=40, sigma=sigma, rank=0, shaping="raw")
    rule.output_error = lambda z, t: (3 * z.mean(), z)  # of the outputs, and so of the weights
    got = credit(rule, x, t, seed=5)
    net.zero_grad()
    (3 * net(x).mean()).backward()
    torch.manual_seed(5)
    E = torch.cat([torch.randn(20, *p.shape).double().flatten(1) for p in net.parameters()], 1)
    want = flat(gradients(net))
    torch.testing.assert_close(flat(got), E.T @ (E @ want) / 20, atol=1e-10, rtol=0)
    assert torch.cosine_similarity(flat(got), want, 0) > 0.8


def test_by_ranks_and_many_members_it_points_along_the_gradient():
    """T28: cos > .9 on a linear function."""
    net, x, t = quadratic(1)
    rule = make("es", net, x, loss="mse", population=400)
    rule.output_error = lambda z, t: (3 * z.mean(), z)
    got = flat(credit(rule, x, t))
    net.zero_grad()
    (3 * net(x).mean()).backward()
    assert torch.cosine_similarity(got, flat(gradients(net)), 0) > 0.9


@pytest.mark.parametrize("change", [lambda L: 7 * L - 3, torch.exp, lambda L: L**3, torch.log], ids=range(4))
def test_any_monotone_change_of_fitness_gives_the_same_update(change):
    """To the bit by ranks, and by no other shaping."""
    net = mlp()
    x, y = batch(net), labels()
    for shaping in SHAPINGS:
        rule = make("es", net, x, population=16, shaping=shaping, sigma=0.5)
        before, own = credit(rule, x, y), rule.output_error
        rule.output_error = lambda z, t, own=own: (change(own(z, t)[0]), z)
        after = credit(rule, x, y)
        assert torch.equal(flat(before), flat(after)) == (shaping == "ranks")


def test_shapings_by_hand():
    """Ranks from -1/2 to 1/2, equal losses in their order; of mean 0 and deviation 1; over sigma."""
    L = torch.tensor([3.0, -1.0, 9.0, 3.0, 4.0]).double()
    assert SHAPINGS["ranks"](L, 9.0).tolist() == [-0.25, -0.5, 0.5, 0.0, 0.25]
    standard = SHAPINGS["standard"](L, 9.0)
    torch.testing.assert_close(standard, (L - L.mean()) / L.std())
    assert SHAPINGS["raw"](L, 0.5).tolist() == (2 * L).tolist()
    assert SHAPINGS["standard"](torch.ones(4), 1.0).tolist() == [0.0] * 4


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_the_update_is_shaped_losses_times_noise_over_the_population(shaping, monkeypatch):
    """1/P sum (u+ - u-) E, each by its own shaping."""
    net = mlp(2)
    x, y = batch(net), labels()
    drawn, members = written_down(monkeypatch, es, "draw"), written_down(monkeypatch, es, "losses")
    got = credit(make("es", net, x, population=10, shaping=shaping), x, y)
    u = SHAPINGS[shaping](members[0].flatten(), 0.05).view(5, 2)
    for name, e in zip(got, drawn, strict=True):
        want = sum((u[k, 0] - u[k, 1]) * e.built()[k] for k in range(5)) / 10
        torch.testing.assert_close(got[name], want, atol=1e-12, rtol=0)


def test_noise_of_low_rank_has_that_rank_and_the_variance_of_full_noise():
    """E = A B^T / sqrt(r)."""
    p = nn.Parameter(torch.zeros(20, 3, 5, 2).double())
    torch.manual_seed(0)
    for rank, want in ((1, 1), (4, 4), (0, 20)):
        E = noise.draw(p, 50, rank).built()
        assert E.shape == (50, *p.shape) and torch.linalg.matrix_rank(E[0].flatten(1)) == want
        assert E.var().item() == pytest.approx(1, abs=0.15) and abs(E.mean().item()) < 0.05
    assert noise.numbers(p, 2) == 2 * (20 + 30) and noise.numbers(p, 0) == 600


def test_no_weight_of_a_member_is_built_of_low_rank_noise(monkeypatch):
    """In Linear layers; biases have no rows and columns."""
    built = []
    monkeypatch.setattr(noise.LowRank, "built", lambda self: built.append(self))
    net = mlp()
    credit(make("es", net, batch(net)), batch(net), labels())
    assert not built


def reference_bits(seed, k, i):
    """SplitMix64's finaliser in Python's integers."""

    def mix(x):
        x &= 2**64 - 1
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    return mix(mix(seed + k) + i * 0x9E3779B97F4A7C15)


@pytest.mark.parametrize("parts", [1, 2, 64])
def test_the_bits_are_splitmix(parts):
    """Against whole numbers without end: of word k div n the part k mod n, in its upper bits."""
    net = nn.Sequential(nn.Linear(200, 100), nn.Linear(100, CLASSES))
    torch.manual_seed(3)
    seed = int(torch.randint(2**62, (1,)))
    torch.manual_seed(3)
    bits = replay.Replay(make("mezo", net, torch.zeros(1, 200)), replay.Kind(lambda bits: bits, parts), 70)
    bits.like = torch.zeros(0, dtype=torch.int64)
    for k, index, i, place in ((0, 0, 0, 0), (3, 0, 77, 77), (66, 1, 5, 20105)):
        want = reference_bits(seed, k // parts, place) << (64 // parts * (k % parts))
        for start, end in ((0, 70), (k, k + 1), (max(0, k - 1), k + 2)):
            assert int(bits.draw(index, start, end)[k - start, i]) % 2**64 == want % 2**64


@pytest.mark.parametrize(("kind", "kurtosis"), [(replay.GAUSSIAN, 3), (replay.RADEMACHER, 1)], ids=["normal", "sign"])
def test_moments_are_those_of_the_noise(kind, kurtosis):
    """Mean, variance, kurtosis; no two directions alike, of the same word or of two."""
    rule = make("mezo", nn.Sequential(nn.Linear(200, 100), nn.Linear(100, CLASSES)), torch.zeros(1, 200))
    torch.manual_seed(3)
    z = replay.Replay(rule, kind, 70).draw(0)
    assert abs(z.mean()) < 0.003 and z.var() == pytest.approx(1, abs=0.005)
    assert (z**4).mean() == pytest.approx(kurtosis, abs=0.03)
    assert (z @ z.T / z.shape[1] - torch.eye(70)).abs().max() < 0.04  # 5.6 deviations
    assert (z[:, 1:] * z[:, :-1]).mean().abs() < 0.003
    assert kurtosis == 3 or set(z.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("name", ["mezo", "fzoo"])
@pytest.mark.parametrize("at_once", [1, 1 << 16])
def test_a_replay_is_the_same_noise_to_the_bit_and_none_is_kept(name, at_once, monkeypatch):
    """Drawn on the way up, let go, and drawn again for the gradient: by as many directions at a time as are allowed."""
    monkeypatch.setattr(replay, "AT_ONCE", at_once)
    net, alive, copies = mlp(), [], {}
    x, y = batch(net), labels()
    rule, own = make(name, net, x, directions=3), replay.Replay.draw

    def draw(self, *place):
        z = own(self, *place)
        copies.setdefault(place, []).append(z.clone())
        held = sum(ref().numel() for ref in alive if ref() is not None)
        alive.append(weakref.ref(z))
        most.append(held + z.numel())
        return z

    most = []
    monkeypatch.setattr(replay.Replay, "draw", draw)
    credit(rule, x, y)
    assert all(len(twice) == 2 and torch.equal(*twice) for twice in copies.values())
    assert len(copies) == (9 if at_once == 1 else 3)
    largest = max(sum(p.numel() for p in layer.parameters()) for layer in rule.layers)
    assert max(most) <= (2 * largest if at_once == 1 else 6 * largest)
    assert all(ref() is None for ref in alive)


def directions(rule, seed, kind, K):
    """{name: (K, *shape)} of the noise that a credit from this seed draws."""
    torch.manual_seed(seed)
    z = replay.Replay(rule, kind, K)
    names = {id(p): name for name, p in rule.net.named_parameters()}
    found = {}
    for index, layer in enumerate(rule.layers):
        parameters = replay.learning(layer)
        rows = z.draw(index).split([p.numel() for p in parameters], 1)
        found |= {names[id(p)]: row.view(K, *p.shape) for p, row in zip(parameters, rows, strict=True)}
    return found


def loss_at(net, shifts, scale, x, y, loss="cross_entropy"):
    there = {name: p + scale * shifts[name] for name, p in net.named_parameters()}
    return loss_of(functional_call(net, there, (x,)), y, loss).detach()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("build", [mlp, cnn, strided, tokens, own])
def test_mezo_is_the_finite_difference_times_its_direction(build, loss):
    """d = (L(theta + eps z) - L(theta - eps z)) / 2 eps; g = 1/K sum d_k z_k; the loss is the mean of both."""
    net = build()
    x, y, epsilon = batch(net), labels(), 1e-2
    rule = make("mezo", net, x, loss=loss, directions=3, epsilon=epsilon)
    z = directions(rule, 0, replay.GAUSSIAN, 3)
    L = torch.stack([
        loss_at(net, {n: e[k] for n, e in z.items()}, s * epsilon, x, y, loss) for k in range(3) for s in (1, -1)
    ]).view(3, 2)  # fmt: skip
    d = (L[:, 0] - L[:, 1]) / (2 * epsilon)
    want = {n: sum(d[k] * e[k] for k in range(3)) / 3 for n, e in z.items()}
    assert_same(credit(rule, x, y), want, 1e-10)
    torch.manual_seed(0)
    torch.testing.assert_close(rule.credit(x, y), L.mean())


@pytest.mark.parametrize("at_once", [1, 100, 1 << 16])
@pytest.mark.parametrize("build", [mlp, cnn, tokens, own])
def test_fzoo_steps_by_the_spread_of_its_losses(build, at_once, monkeypatch):
    """g = 1/K sum (l_k - l_0) / std(l) u_k; the loss is l_0; however many directions are drawn at a time."""
    monkeypatch.setattr(replay, "AT_ONCE", at_once)
    net = build()
    x, y, epsilon = batch(net), labels(), 1e-2
    rule = make("fzoo", net, x, directions=4, epsilon=epsilon)
    u = directions(rule, 0, replay.RADEMACHER, 4)
    l_0 = loss_of(net(x), y, "cross_entropy").detach()
    each = [loss_at(net, {n: e[k] for n, e in u.items()}, epsilon, x, y) for k in range(4)]
    spread = (sum((one - sum(each) / 4) ** 2 for one in each) / 3).sqrt()
    want = {n: sum((each[k] - l_0) / spread * e[k] for k in range(4)) / 4 for n, e in u.items()}
    assert_same(credit(rule, x, y), want, 1e-10)
    torch.testing.assert_close(rule.credit(x, y), l_0, atol=1e-14, rtol=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["es", "fzoo"])
def test_the_loss_that_is_told_is_that_of_the_net_itself(name, loss):
    """Under the masks of dropout that its own pass would have drawn."""
    net = mlp(p=0.3)
    x, y = inputs(net), labels()
    torch.manual_seed(0)
    want = loss_of(net(x), y, loss).detach()
    rule = make(name, net, x, loss=loss)
    torch.manual_seed(0)
    torch.testing.assert_close(rule.credit(x, y), want)


def test_fzoo_does_not_step_where_losses_do_not_differ():
    """0 / 0."""
    net = mlp()
    rule = make("fzoo", net, batch(net))
    rule.output_error = lambda z, t: (z.sum() * 0, z)
    assert all(g.abs().max() == 0 for g in credit(rule, batch(net), labels()).values())


def test_mezos_mean_over_directions_is_the_gradient():
    """Its error is about sqrt(D / K) of the gradient, D = 66."""
    net = mlp(2)
    x, y = batch(net), labels()
    got, want = flat(credit(make("mezo", net, x, directions=1000), x, y)), flat(backward(net, x, y))
    assert torch.cosine_similarity(got, want, 0) > 0.93 and 0.8 < got.norm() / want.norm() < 1.25


@pytest.mark.parametrize("name", ALL)
def test_members_share_the_masks_of_dropout(name):
    """Where they did not, losses would differ by their masks: a step of nearly nothing would have a huge slope."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 6), nn.ReLU(), nn.Dropout1d(0.5),
        nn.Linear(6, CLASSES)
    ).double()  # fmt: skip
    x, y = batch(net), labels()
    small = {"es": {"sigma": 1e-6, "shaping": "raw"}}.get(name, {"epsilon": 1e-6})
    got = flat(credit(make(name, net, x, **small), x, y))
    assert 0 < got.norm() < 30


@pytest.mark.parametrize("name", ALL)
def test_a_nonlinearity_in_front_leaves_the_input_alone(name):
    """What runs in place would clip the user's batch."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.ReLU6(), nn.Linear(6, CLASSES)).double()
    x = batch(net)
    before = x.clone()
    credit(make(name, net, x), x, labels())
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ALL)
def test_what_is_frozen_is_not_perturbed(name):
    """Of a net whose only loose parameter is one bias the slope is along that bias alone, and exact."""
    net = mlp()
    x, y = batch(net), labels()
    net.requires_grad_(False)
    bias = net[-1].bias.requires_grad_(True)
    options = {"es": {"population": 4000, "shaping": "raw", "sigma": 1e-3}}.get(name, {"directions": 400})
    got = credit(make(name, net, x, **options), x, y)
    want = backward(net, x, y)
    assert [key for key, g in got.items() if g is not None] == [key for key, p in net.named_parameters() if p is bias]
    key = next(key for key, p in net.named_parameters() if p is bias)
    assert torch.cosine_similarity(got[key], want[key], 0) > 0.97


@pytest.mark.parametrize("name", ALL)
def test_a_net_in_which_nothing_learns_stays_as_it_is(name):
    """The loss is told all the same."""
    net = mlp().requires_grad_(False)
    x, y = batch(net), labels()
    rule = make(name, net, x)
    torch.testing.assert_close(rule.credit(x, y), loss_of(net(x), y, "cross_entropy"))
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_weight_of_a_sample_multiplies_its_loss(name):
    """A sample of weight 0 says nothing, whatever it is."""
    net = mlp()
    x, y, w = batch(net), labels(), torch.tensor([0.0, 2.0, 0.5, 1.5]).double()
    rule = make(name, net, x)
    other = torch.cat((torch.randn(1, 5).double(), x[1:]))
    first = credit(rule, x, Weighted(y, w))
    assert_same(credit(rule, other, Weighted(y, w)), first, 1e-9)
    assert not torch.allclose(flat(first), flat(credit(rule, x, y)))


@pytest.mark.parametrize("name", ALL)
def test_a_seed_draws_the_same_noise_in_either_precision(name):
    """torch's own normal numbers of a seed differ by dtype."""
    net = mlp()
    x, y = batch(net), labels()
    rule = make(name, net, x, **({"sigma": 0.2} if name == "es" else {"epsilon": 0.1}))
    double = flat(credit(rule, x, y))
    assert (flat(credit(rule.float(), x.float(), y)).double() - double).norm() < 1e-3 * double.norm()


@pytest.mark.parametrize(("name", "options"), [
    ("es", {"population": 7}), ("es", {"population": 0}), ("es", {"sigma": 0.0}), ("es", {"rank": -1}),
    ("es", {"shaping": "sum"}), ("mezo", {"directions": 0}), ("mezo", {"epsilon": 0.0}), ("fzoo", {"directions": 1}),
    ("fzoo", {"epsilon": float("nan")}),
], ids=str)  # fmt: skip
def test_numbers_out_of_range_are_refused(name, options):
    """What came, and what there is."""
    net = mlp()
    with pytest.raises(Refused, match=r"came; (ES takes an even|MeZO takes at least 1|FZOO takes at least 2)") as told:
        make(name, net, batch(net), **options)
    assert len(str(told.value)) <= 290 and str(next(iter(options.values()))) in str(told.value)


def test_noise_that_memory_cannot_hold_is_refused(monkeypatch):
    """Before a step ends the process; low rank needs less."""
    net = mlp()
    monkeypatch.setattr(es, "memory", lambda: 100 * 8 * 110)
    with pytest.raises(Refused, match=r"the noise of 200 members takes .* use rank=1, fewer members, or 'mezo'"):
        make("es", net, batch(net), population=200, rank=0)
    make("es", net, batch(net), population=200, rank=1)


@pytest.mark.parametrize("name", ALL)
def test_norms_of_running_statistics_are_refused(name):
    """A population would move them by all of its members."""
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    with pytest.raises(Refused, match="BatchNorm1d in the activation of layer '0'"):
        make(name, net, inputs(net))
