"""Attacks against closed forms on linear nets, their own ball, and a witness of everything that they ask."""

import math

import pytest
import torch
from helpers import LOSSES, loss_of
from measure_helpers import EPSILON, OPEN, curved, images, labels, linear, margins, predicted
from torch import nn

from altprop import RULES, Refused
from altprop.measure import robustness
from altprop.measure.robustness import ATTACKS, accuracy_under, fgsm, gaussian, pgd, square_attack

GRADIENT_ATTACKS = {"fgsm": fgsm, "pgd": pgd}


def sharp():
    """A net with bends large enough that the gradient at x is not that at x + epsilon."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(72, 60), nn.Tanh(), nn.Linear(60, 3)).double()
    with torch.no_grad():
        net[1].weight.mul_(8)
        net[3].weight.mul_(4)
    return RULES["bp"](net, example=images(1))


def uphill(rule, y, x):
    """(N, *in): sign of w_other - w_own."""
    W = rule.net[1].weight.detach()
    return (W[1 - y] - W[y]).sign().view_as(x)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), OPEN])
def test_fgsm_on_a_linear_net_is_the_closed_form(bounds):
    """Down in place of up, an epsilon that is divided by N, bounds that are not kept."""
    rule, x, y = linear(), images(), labels(classes=2)
    want = (x + EPSILON * uphill(rule, y, x)).clamp(*bounds)
    assert torch.equal(fgsm(rule, x, y, EPSILON, bounds=bounds), want)


@pytest.mark.parametrize("name", ["bp", "dfa"])
@pytest.mark.parametrize("loss", LOSSES)
def test_fgsm_follows_the_true_gradient_of_the_rules_loss(loss, name):
    """The credit of a rule with random feedback leads astray: every such rule would look robust."""
    rule, x, y = curved(loss, name), images(), labels()
    leaf = x.clone().requires_grad_()
    loss_of(rule.net.eval()(leaf), y, loss).backward()
    assert torch.equal(fgsm(rule, x, y, EPSILON, bounds=OPEN), x + EPSILON * leaf.grad.sign())


def test_a_saturated_net_is_no_shelter():
    """The error of a sure sample is 0 in float32: the attack would stand still and the net be called robust."""
    rule, x = linear(dtype=torch.float32), images(dtype=torch.float32)
    with torch.no_grad():
        rule.net[1].weight.mul_(300)
    y = predicted(rule, x)
    z = rule(x).softmax(1).amax(1)
    assert (z == 1).float().mean() > 0.5
    assert torch.equal(fgsm(rule, x, y, EPSILON, bounds=OPEN), x + EPSILON * uphill(rule, y, x))


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_pgd_on_a_linear_net_ends_where_fgsm_does(seed):
    """2.5 epsilon of steps reach the corner from everywhere in the ball, unless a step is lost or the ball is not."""
    rule, x, y = linear(), images(), labels(classes=2)
    torch.testing.assert_close(pgd(rule, x, y, EPSILON, seed=seed), fgsm(rule, x, y, EPSILON), atol=1e-12, rtol=0)


def test_pgd_of_one_step_is_fgsm():
    """Started at x, one step of epsilon is the same attack by definition."""
    rule, x, y = curved(), images(), labels()
    one = pgd(rule, x, y, EPSILON, steps=1, step=EPSILON, seed=None)
    torch.testing.assert_close(one, fgsm(rule, x, y, EPSILON), atol=1e-15, rtol=0)


def test_pgd_starts_uniformly_in_the_ball():
    """A start in a corner of the ball, or shared by all samples; step 0 leaves the start to be seen."""
    x = images()
    start = pgd(curved(), x, labels(), EPSILON, steps=1, step=0.0, seed=0, bounds=OPEN) - x
    assert start.abs().max() <= EPSILON + 1e-12
    assert start.mean().abs() < 0.05 * EPSILON and start.std() == pytest.approx(EPSILON / math.sqrt(3), rel=0.05)
    assert not torch.equal(start[0], start[1])
    other = pgd(curved(), x, labels(), EPSILON, steps=1, step=0.0, seed=1, bounds=OPEN) - x
    assert not torch.equal(start, other)


def test_pgd_is_at_least_as_strong_as_fgsm():
    """On a net that bends, ten steps that follow the bends must find more loss than one; else a gradient is stale."""
    rule, x = sharp(), images()
    y = predicted(rule, x)
    by_fgsm, by_pgd = (loss_of(rule(attack(rule, x, y, EPSILON)), y, "cross_entropy") for attack in (fgsm, pgd))
    assert by_pgd > 1.2 * by_fgsm


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.2, 1.05), OPEN])
@pytest.mark.parametrize("attack", [fgsm, pgd, square_attack])
def test_no_attack_leaves_the_ball_or_the_bounds(attack, bounds):
    """One that does is stronger than its epsilon says; steps add up where projection is forgotten."""
    options = {"steps": 7, "step": EPSILON} if attack is pgd else {}
    rule, x = curved(), images()
    y = predicted(rule, x)
    moved = attack(rule, x, y, EPSILON, bounds=bounds, **options)
    assert (moved - x).abs().max() <= EPSILON + 1e-12
    assert moved.min() >= bounds[0] and moved.max() <= bounds[1]
    assert (moved - x).abs().max() > 0.5 * EPSILON


@pytest.mark.parametrize("attack", ATTACKS)
def test_strength_zero_changes_nothing(attack):
    """The left end of every curve is the clean accuracy."""
    x = images()
    assert torch.equal(ATTACKS[attack](curved(), x, labels(), 0.0), x)


@pytest.mark.parametrize("attack", ["pgd", "square", "gaussian"])
def test_the_seed_and_nothing_else_decides(attack):
    """Drawn from the global state, the same report has other numbers each time."""
    rule, x = curved(), images()
    y = predicted(rule, x)
    options = {"steps": 1} if attack == "pgd" else {}  # one step does not forget where it started
    runs = []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(state)
        runs.append(ATTACKS[attack](rule, x, y, EPSILON, seed=seed, **options))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("attack", ATTACKS)
def test_results_do_not_depend_on_the_chunks(attack, monkeypatch):
    """Samples are attacked in parts that fit the memory: the same noise in every part would show here."""
    rule, x, y = curved(), images(), labels()
    whole = ATTACKS[attack](rule, x, y, EPSILON)
    monkeypatch.setattr(robustness, "CHUNK", 7)
    torch.testing.assert_close(ATTACKS[attack](rule, x, y, EPSILON), whole, atol=1e-12, rtol=0)


def test_noise_has_its_deviation_and_keeps_the_bounds():
    """A variance in place of a deviation; a clip that is forgotten."""
    x = images(400)
    noise = gaussian(x, 0.3, bounds=OPEN) - x
    assert noise.std() == pytest.approx(0.3, rel=0.02) and noise.mean().abs() < 0.01
    clipped = gaussian(x, 0.3)
    assert torch.equal(clipped, gaussian(x, 0.3, bounds=OPEN).clamp(0, 1))


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_accuracy_of_a_linear_net_is_the_fraction_of_large_margins(attack):
    """A sample of margin m falls exactly when m < epsilon |w_0 - w_1|_1: the curve is known in advance."""
    rule, x, y = linear(), images(300), labels(300, classes=2)
    W = rule.net[1].weight.detach()
    margin, reach = margins(rule, x, y), (W[0] - W[1]).abs().sum()
    strengths = [0.0, 0.005, 0.01, 0.02, 0.05]
    want = {epsilon: float((margin > epsilon * reach).double().mean()) for epsilon in strengths}
    got = accuracy_under(rule, x, y, attack, strengths, bounds=OPEN)
    assert list(got) == strengths and got == pytest.approx(want, abs=1e-12)
    assert len(set(want.values())) > 3


def test_options_reach_the_attack():
    """A table of 1000 queries that was made with 200."""
    rule, x = curved(), images()
    y = predicted(rule, x)
    for attack, one, other in (("square", {"queries": 1}, {"queries": 300}), ("pgd", {"step": 0.0}, {"step": 0.1})):
        assert accuracy_under(rule, x, y, attack, [0.1], **one) != accuracy_under(rule, x, y, attack, [0.1], **other)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacking_leaves_no_trace(attack):
    """Gradients, modes, statistics, random state and the data: a probe that moves them changes the run it watches."""
    rule, x, y = curved(), images(), labels()
    rule.train()
    rule.net[1].eval()  # a mode of its own must survive too
    rule.credit(x, y)
    gradients = {p: (p.grad, p.grad.clone()) for p in rule.net.parameters()}
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes, random, data = {m: m.training for m in rule.modules()}, torch.get_rng_state(), x.clone()
    accuracy_under(rule, x, y, attack, [EPSILON])
    assert not ATTACKS[attack](rule, x.clone().requires_grad_(), y, EPSILON).requires_grad
    assert all(p.grad is held and torch.equal(held, copy) for p, (held, copy) in gradients.items())
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {m: m.training for m in rule.modules()}
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, data) and x.grad is None and not x.requires_grad


class Restless(nn.Module):
    """Draws in eval mode too, and works in place on what it is given."""

    def forward(self, x):
        torch.rand(1)
        return x.relu_()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_net_that_writes_into_its_input_or_draws_is_borne(attack):
    """In place on a leaf autograd gives up; in place on the caller's data, the next measure sees other data."""
    net = nn.Sequential(Restless(), nn.Flatten(), nn.Linear(72, 3)).double()
    x = images() - 0.5
    data, rule = x.clone(), RULES["bp"](net, example=x)
    y = predicted(rule, x.clone())
    random = torch.get_rng_state()
    accuracy_under(rule, x, y, attack, [EPSILON], bounds=(-1.0, 1.0))
    moved = ATTACKS[attack](rule, x, y, EPSILON, bounds=(-1.0, 1.0))
    assert attack == "gaussian" or (moved - x).abs().max() <= EPSILON + 1e-12
    assert torch.equal(x, data) and torch.equal(torch.get_rng_state(), random)


class Opaque(RULES["bp"]):
    """A rule whose answer is no differentiable function of the input."""

    def forward(self, x):
        with torch.no_grad():
            return self.net(x)


@pytest.mark.parametrize("attack", GRADIENT_ATTACKS)
def test_a_rule_without_a_gradient_is_sent_to_the_black_box(attack):
    """It would be called perfectly robust."""
    x = images()
    rule = Opaque(curved().net, example=x)
    with pytest.raises(Refused, match=r"Opaque.*'square'"):
        GRADIENT_ATTACKS[attack](rule, x, labels(), EPSILON)
    y = predicted(rule, x)
    assert accuracy_under(rule, x, y, "square", [0.2])[0.2] < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"x": (images() * 255).to(torch.uint8)}, "uint8"), ({"x": images() * 2}, r"to 1\.9.*bounds are \(0.0, 1.0\)"),
     ({"x": images() * math.nan}, "bounds"), ({"y": labels(39)}, "39 labels"), ({"strengths": [-0.1]}, "strength -0.1"),
     ({"strengths": [math.nan]}, "strength nan"), ({"attack": "fgm"}, "'fgm'; there are fgsm, pgd, square, gaussian"),
     ({"attack": "pgd", "steps": 0}, "0 steps"), ({"attack": "square", "queries": 0}, "0 queries"),
     ({"attack": "square", "p": 0.0}, "p 0.0"), ({"y": torch.zeros(40, 3)}, "class labels"),
     ({"x": images(0), "y": labels(0)}, "no samples")],
)  # fmt: skip
def test_what_cannot_be_attacked_is_refused(change, message):
    """Data that is clipped before it is attacked looks like a successful attack."""
    call = {"x": images(), "y": labels(), "attack": "fgsm", "strengths": [EPSILON], **change}
    with pytest.raises(Refused, match=message):
        accuracy_under(curved(), **call)
