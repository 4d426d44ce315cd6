"""Equilibrium propagation against autograd of the scalar Phi, the implicit gradient and identities of its estimates, in
float64."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from helpers import CLASSES, assert_same, credit, gradients, inputs, labels, loss_of
from torch import nn
from torch.nn import functional as F

from altprop import EP, Refused, layers
from altprop.core import RuleWarning
from altprop.nets import Residual, ShiftedSigmoid, WideHardSigmoid

LOSS = {"inside": "mse", "apart": "cross_entropy"}


def dense(end=(), act=nn.Tanh, seed=0):
    torch.manual_seed(seed)
    net = [nn.Linear(5, 7), act(), nn.Linear(7, 6), act(), nn.Linear(6, CLASSES), *end]
    return nn.Sequential(*net).double()


def pooled(act=ShiftedSigmoid, seed=0):
    """Max pools behind two convolutions, whose places move with the states, and a flattened map."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), act(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2, padding=1), act(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(20, CLASSES),
    ).double()  # fmt: skip


def strided(act=nn.Tanh, seed=0):
    """Stride, groups, dilation, padding by reflection, and an average pool, which stays behind sigma."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), act(), nn.Conv2d(4, 3, 2, padding=1, dilation=2), act(),
        nn.AvgPool2d(2, 1), nn.Conv2d(3, 4, 2, padding=1, padding_mode="reflect"), act(), nn.Flatten(),
        nn.Linear(36, CLASSES),
    ).double()  # fmt: skip


NETS = {"dense": dense, "pooled": pooled, "strided": strided}


def stages(net, inside):
    """[(the modules whose product Phi has, sigma)] of the layers in Phi, by hand: a max pool belongs to the product."""
    found, waiting = [], []
    for module in net:
        if isinstance(module, nn.Linear | nn.Conv2d):
            found.append(([*waiting, module], []))
            waiting = []
        elif isinstance(module, nn.MaxPool2d):
            found[-1][0].append(module)
        elif isinstance(module, nn.Flatten | nn.AvgPool2d):
            waiting.append(module)
        else:
            found[-1][1].append(module)
    return found if inside else found[:-1]


def run(modules, x):
    for module in modules:
        x = module(x)
    return x


def phi(parts, x, s):
    """(N,): sum_l <s_l, P_l(W_l s_{n-1}) + b_l>."""
    return sum((run(up, below) * own).flatten(1).sum(1) for (up, _), below, own in zip(parts, [x, *s], s, strict=False))


def readout(net, s):
    return run(net[[i for i, m in enumerate(net) if isinstance(m, nn.Linear)][-1] :], s[-1].flatten(1))


def loss_at(net, s, y, inside):
    """The sum over samples, as a function of the states."""
    output = s[-1] if inside else readout(net, s)
    return loss_of(output, y, LOSS["inside" if inside else "apart"]) * len(y)


def relax(net, x, y, s, steps, beta, inside, graph=False):
    """s_l <- sigma_l(dPhi/ds_l - beta dL/ds_l), all at once, by autograd of one scalar."""
    parts = stages(net, inside)
    for _ in range(steps):
        s = [each if graph else each.detach() for each in s]
        s = [each if each.requires_grad else each.requires_grad_() for each in s]
        scalar = phi(parts, x, s).sum() - (beta * loss_at(net, s, y, inside) if beta else 0)
        u = torch.autograd.grad(scalar, s, create_graph=graph)
        s = [run(sigma, each) for (_, sigma), each in zip(parts, u, strict=True)]
    return s


def at_rest(net, x, inside):
    shapes, h = [], x
    for up, sigma in stages(net, inside):
        h = run(sigma, run(up, h))
        shapes.append(torch.zeros_like(h))
    return shapes


def by_hand(net, x, y, inside, free, nudged, beta, estimate):
    """{name: gradient} of (Phi' - Phi^beta) / gamma, with the loss inside of it."""
    star = relax(net, x, y, at_rest(net, x, inside), free, 0, inside)
    ends = [(relax(net, x, y, star, nudged, b, inside), b) for b in (beta, -beta)]
    (s, b), (r, a) = ends if estimate == "three_phase" else (ends[0], (star, 0))

    def scalar(s, beta):
        s = [each.detach() for each in s]
        return phi(stages(net, inside), x, s).sum() - (beta * loss_at(net, s, y, inside) if beta else 0)

    net.zero_grad()
    (-(scalar(s, b) - scalar(r, a)) / ((b - a) * len(x))).backward()
    got = gradients(net)
    net.zero_grad(set_to_none=True)
    return star, got


@pytest.mark.parametrize("estimate", ["three_phase", "two_phase"])
@pytest.mark.parametrize("place", LOSS)
@pytest.mark.parametrize("kind", NETS)
def test_it_is_autograd_of_the_primitive_function(kind, place, estimate):
    """States and gradients of both phases: pools that route, padding, flattening, the readout's share."""
    net, inside = NETS[kind](), place == "inside"
    x, y = inputs(net), labels()
    rule = EP(net, example=x, loss=LOSS[place], free=5, nudged=3, beta=0.3, estimate=estimate)
    star, want = by_hand(net, x, y, inside, 5, 3, 0.3, estimate)
    with torch.no_grad():
        torch.testing.assert_close(rule(x), star[-1] if inside else readout(net, star), atol=1e-12, rtol=0)
    assert_same(credit(rule, x, y), want, 1e-12)


@pytest.mark.parametrize("act", [
    nn.Tanh, ShiftedSigmoid, WideHardSigmoid, lambda: nn.Hardtanh(0, 1), nn.ReLU6, nn.Sigmoid,
])  # fmt: skip
def test_every_sigma_of_the_papers(act):
    """On the output as well."""
    net = dense([act()], act)
    x, y = inputs(net), labels()
    rule = EP(net, example=x, loss="mse", free=6, nudged=4, beta=0.2)
    assert_same(credit(rule, x, y), by_hand(net, x, y, True, 6, 4, 0.2, "three_phase")[1], 1e-12)


@pytest.mark.parametrize("act", [ShiftedSigmoid, WideHardSigmoid])
def test_sigmas_of_the_papers_without_biases(act):
    """Their shift is no part of a bias that is not there."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 7, bias=False), act(), nn.Linear(7, 6, bias=False), act(), nn.Linear(6, CLASSES, bias=False), act()
    ).double()
    x, y = inputs(net), labels()
    rule = EP(net, example=x, loss="mse", free=6, nudged=4, beta=0.2)
    got, want = credit(rule, x, y), by_hand(net, x, y, True, 6, 4, 0.2, "three_phase")[1]
    assert_same(got, want, 1e-12)


class Masked(nn.Module):
    """Dropout whose mask is known."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


def test_masks_of_dropout_hold_for_all_phases():
    """Drawn anew, they would differ by more than any nudge."""
    net = dense()
    x, y = inputs(net), labels()
    rule = EP(nn.Sequential(*net[:2], nn.Dropout(0.4), *net[2:]), example=x, free=5, nudged=3, beta=0.3)
    got = credit(rule, x, y, seed=7)
    torch.manual_seed(7)
    mask = x.new_empty(len(x), 7).bernoulli_(0.6) / 0.6
    by_mask = nn.Sequential(*net[:2], Masked(mask), *net[2:])
    assert_same(got, by_hand(by_mask, x, y, False, 5, 3, 0.3, "three_phase")[1], 1e-12)


@pytest.mark.parametrize("loss", LOSS.values())
def test_one_hidden_layer(loss):
    """Whose drive is the input's alone, at every step the same."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, CLASSES)).double()
    x, y = inputs(net), labels()
    want = by_hand(net, x, y, loss == "mse", 4, 3, 0.3, "three_phase")[1]
    assert_same(credit(EP(net, example=x, loss=loss, free=4, nudged=3, beta=0.3), x, y), want, 1e-12)


def test_an_output_is_bent_as_the_layer_below():
    """The net stays as it is, and learns as one that ends in its sigma."""
    net, bent = dense(act=nn.Sigmoid), dense([nn.Sigmoid()], nn.Sigmoid)
    x, y = inputs(net), labels()
    options = {"example": x, "loss": "mse", "free": 5, "nudged": 3}
    assert_same(credit(EP(net, bend_output=True, **options), x, y), credit(EP(bent, **options), x, y), 1e-14)
    assert len(net) == 5


def test_each_layer_has_its_rate():
    """What stands beside it too."""
    net = dense()
    rule = EP(net, example=inputs(net), rates=[4, 2, 1], weights="vector_field")
    groups = rule.param_groups(0.5)
    assert [group["lr"] for group in groups] == [2.0, 1.0, 0.5]
    assert [len(group["params"]) for group in groups] == [2, 3, 3] and groups[1]["params"][2] is rule.feedback[0]


@pytest.mark.parametrize("order", ["together", "in_turn"])
def test_without_feedback_the_states_are_a_forward_pass(order):
    """Of a vector field whose B are zero: pooling before sigma or behind is one."""
    net = pooled()
    x = inputs(net)
    rule = EP(net, example=x, weights="vector_field", order=order)
    for B in rule.feedback:
        B.data.zero_()
    with torch.no_grad():
        torch.testing.assert_close(rule(x), net(x), atol=1e-14, rtol=0)


def settled(net, **options):
    x, y = inputs(net, 6), labels(6)
    options = {"free": 400, "nudged": 400, "loss": "mse", **options}
    return EP(net, example=x, **options), x, y


def implicit(net, x, y, inside):
    """The gradient of the loss at the fixed point, by backpropagation through time from there: 60 of its steps."""
    star = [each.detach() for each in relax(net, x, y, at_rest(net, x, inside), 400, 0, inside)]
    star = relax(net, x, y, [each.requires_grad_() for each in star], 60, 0, inside, graph=True)
    net.zero_grad()
    (loss_at(net, star, y, inside) / len(x)).backward()
    return gradients(net)


@pytest.mark.parametrize("place", LOSS)
@pytest.mark.parametrize(("estimate", "slope"), [("two_phase", 1), ("three_phase", 2)])
def test_the_bias_falls_with_beta(estimate, slope, place):
    """To the implicit gradient: O(beta) of one side, O(beta^2) of both."""
    net = dense([nn.Sigmoid()] if place == "inside" else [])
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(0.7)  # so that 60 steps back are all that matter
    errors, betas = [], (0.1, 0.01)
    for beta in betas:
        rule, x, y = settled(net, beta=beta, estimate=estimate, loss=LOSS[place])
        want, got = implicit(net, x, y, place == "inside"), credit(rule, x, y)
        errors.append(math.sqrt(sum(float((got[k] - want[k]).square().sum()) for k in got)))
    found = math.log(errors[0] / errors[1]) / math.log(betas[0] / betas[1])
    assert abs(found - slope) < 0.15, (found, errors)


def test_a_readout_apart_learns_from_the_states_it_nudges():
    """Its gradient is that of the loss there, exactly; at a beta that nudges nothing, that of the rule's own output."""
    net = dense()
    rule, x, y = settled(net, loss="cross_entropy", beta=1e-9)
    got = credit(rule, x, y)
    net.zero_grad()
    star = relax(net, x, y, at_rest(net, x, False), 400, 0, False)
    F.cross_entropy(readout(net, [each.detach() for each in star]), y).backward()
    for name in ("4.weight", "4.bias"):
        torch.testing.assert_close(got[name], net.get_parameter(name).grad, atol=1e-9, rtol=0)


@pytest.mark.parametrize("weights", ["symmetric", "vector_field"])
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("place", LOSS)
def test_three_phases_are_the_mean_of_both_sides(place, kind, weights):
    """(Phi^-beta - Phi^beta) / 2 beta = ((Phi* - Phi^beta) / beta + (Phi^-beta - Phi*) / beta) / 2."""
    net = NETS[kind]()
    x, y = inputs(net), labels()
    options = {"example": x, "loss": LOSS[place], "free": 6, "nudged": 4, "weights": weights}
    both = EP(net, beta=0.4, **options)
    sides = [EP(net, beta=0.4, estimate="two_phase", **options) for _ in range(2)]
    sides[1].beta = -0.4
    for side in sides:
        side.load_state_dict(both.state_dict())
    one, other = (credit(side, x, y) for side in sides)
    assert_same(credit(both, x, y), {key: (one[key] + other[key]) / 2 for key in one}, 1e-12)


def test_a_random_sign_is_one_of_both_sides():
    """One a batch, from torch's stream; both come."""
    net = dense()
    x, y = inputs(net), labels()
    options = {"example": x, "free": 6, "nudged": 4}
    rule, side = EP(net, estimate="random_sign", **options), EP(net, estimate="two_phase", **options)
    plus = credit(side, x, y)
    side.beta = -side.beta
    minus, seen = credit(side, x, y), set()
    for seed in range(8):
        got = credit(rule, x, y, seed=seed)
        positive = torch.allclose(got["0.weight"], plus["0.weight"], rtol=1e-9)
        assert_same(got, plus if positive else minus, 1e-12)
        seen.add(positive)
    assert seen == {True, False}


def test_layers_in_turn_settle_where_all_at_once_do():
    """And in fewer steps."""
    net = dense([nn.Sigmoid()])
    x, y = inputs(net), labels()
    far = credit(settled(net)[0], x, y)
    assert_same(credit(settled(net, order="in_turn")[0], x, y), far, 1e-10)
    moved = []
    for order in ("together", "in_turn"):
        rule = EP(net, example=x, loss="mse", order=order, free=6)
        rule.credit(x, y)
        rule.warned = True
        moved.append(max(rule.watch()["moved"].values()))
    assert moved[1] < moved[0]


def test_in_turn_is_one_layer_after_the_other():
    """Against a loop over the layers of a net with pools, of one step."""
    net = pooled()
    x = inputs(net)
    parts, s = stages(net, False), at_rest(net, x, False)
    for _ in range(3):
        for n, (_, sigma) in enumerate(parts):
            s = [each.detach().requires_grad_() for each in s]
            s[n] = run(sigma, torch.autograd.grad(phi(parts, x, s).sum(), s)[n])
    rule = EP(net, example=x, order="in_turn", free=3)
    with torch.no_grad():
        torch.testing.assert_close(rule(x), readout(net, s), atol=1e-12, rtol=0)


def own_gradients(rule, x, y):
    net = credit(rule, x, y)
    return net, [B.grad.clone() for B in rule.feedback]


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("place", LOSS)
def test_same_updates_keep_the_difference(kind, place):
    """W - B is constant without decay, and shrinks by it."""
    net = NETS[kind]()
    x, y = inputs(net), labels()
    rule = EP(net, example=x, loss=LOSS[place], weights="vector_field", update="same")
    pairs = [(layer.synapse.weight, B) for layer, B in zip(rule.layers[1:], rule.feedback, strict=True)]
    before = [(W - B).detach() for W, B in pairs]
    for decay in (0.0, 0.1):
        optimizer = torch.optim.SGD(rule.parameters(), lr=0.5, weight_decay=decay)
        optimizer.zero_grad()
        rule.credit(x, y)
        assert all(B.grad.abs().max() > 0 for B in rule.feedback)
        optimizer.step()
        for (W, B), old in zip(pairs, before, strict=True):
            torch.testing.assert_close((W - B).detach(), old * (1 - 0.5 * decay), atol=1e-12, rtol=0)


@pytest.mark.parametrize("estimate", ["three_phase", "two_phase"])
def test_different_updates_of_a_vector_field(estimate):
    """By hand: states that B brings down, and one-sided products with what was there before the nudge."""
    net = dense([nn.Sigmoid()])
    x, y = inputs(net), labels()
    rule = EP(net, example=x, loss="mse", weights="vector_field", estimate=estimate, free=5, nudged=4, beta=0.3)
    W, b = [net[i].weight.detach() for i in (0, 2, 4)], [net[i].bias.detach() for i in (0, 2, 4)]
    B = [None, *(each.detach() for each in rule.feedback)]
    f = (torch.tanh, torch.tanh, torch.sigmoid)
    t = F.one_hot(y, CLASSES).double()

    def settle(s, steps, beta):
        for _ in range(steps):
            below, above = [x, *s], [*(s[n] @ B[n] for n in (1, 2)), -beta * (s[2] - t)]
            s = [f[n](below[n] @ W[n].T + b[n] + above[n]) for n in range(3)]
        return s

    star = settle([x.new_zeros(len(x), n) for n in (7, 6, CLASSES)], 5, 0)
    ends = settle(star, 4, 0.3), settle(star, 4, -0.3) if estimate == "three_phase" else star
    gamma = (0.6 if estimate == "three_phase" else 0.3) * len(x)
    d = [(minus - plus) / gamma for plus, minus in zip(*ends, strict=True)]
    want = {f"{2 * n}.weight": d[n].T @ [x, *star][n] for n in range(3)}
    want |= {f"{2 * n}.bias": d[n].sum(0) for n in range(3)}
    got, feedback = own_gradients(rule, x, y)
    assert_same(got, {key: want[key] for key in got}, 1e-12)
    for n, grad in enumerate(feedback):
        torch.testing.assert_close(grad, star[n + 1].T @ d[n], atol=1e-12, rtol=0)


@pytest.mark.parametrize("place", LOSS)
def test_a_vector_field_of_the_same_weights_settles_alike(place):
    """B = W, with the same updates, is the symmetric rule."""
    net = pooled()
    x, y = inputs(net), labels()
    symmetric = EP(net, example=x, loss=LOSS[place])
    field = EP(net, example=x, loss=LOSS[place], weights="vector_field", update="same")
    for layer, B in zip(field.layers[1:], field.feedback, strict=True):
        B.data.copy_(layer.synapse.weight)
    want = credit(symmetric, x, y)
    got, feedback = own_gradients(field, x, y)
    assert_same(got, want, 1e-12)
    for layer, grad in zip(field.layers[1:], feedback, strict=True):
        torch.testing.assert_close(grad, layer.synapse.weight.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("update", ["different", "same"])
@pytest.mark.parametrize("place", LOSS)
def test_weight_transport(place, update):
    """A top weight changes where the settled state below has no component.  Within as many nudged steps as there are
    layers nothing of that comes back down, so that a gradient below which notices has read the weight itself."""
    noticed = []
    for weights in ("symmetric", "vector_field"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, CLASSES)).double()
        x, y = inputs(net), labels()
        rule = EP(net, example=x, loss=LOSS[place], weights=weights, update=update, free=600, nudged=3, beta=0.01)
        if place == "apart":  # the readout's error at the nudged states moves with it, by O(beta)
            rule.beta = 1e-6
        before = credit(rule, x, y)
        with torch.no_grad():
            circuit, zeros = rule.at_rest(x)
            h = circuit.settle(zeros, 600)[1]
            unseen = torch.eye(9).double() - torch.linalg.pinv(h) @ h
            noise = torch.randn(CLASSES, 9, generator=torch.Generator().manual_seed(3)).double()
            net[4].weight += 0.1 * noise @ unseen  # little enough to settle at the same states
        after = credit(rule, x, y)
        change = max(float((after[k] - before[k]).norm() / before[k].norm()) for k in ("0.weight", "0.bias"))
        noticed.append(change > 1e-3)
        assert rule.claims.weight_transport == ("full" if noticed[-1] else "none"), change
    assert noticed == [True, False]


def test_energies_and_what_moves_are_told():
    """E = 1/2 |s|^2 - Phi, of both phases; the free one lies lower for the loss that the nudge pays."""
    net = pooled()
    x, y = inputs(net), labels()
    rule = EP(net, example=x, free=7)
    assert rule.watch() == {}
    rule.credit(x, y)
    seen = rule.watch()
    s = relax(net, x, y, at_rest(net, x, False), 7, 0, False)
    want = (sum(each.square().flatten(1).sum(1) for each in s) / 2 - phi(stages(net, False), x, s)).mean()
    assert seen["energy_free"] == pytest.approx(want.item(), rel=1e-12)
    before = relax(net, x, y, at_rest(net, x, False), 6, 0, False)
    for (name, moved), new, old in zip(seen["moved"].items(), s, before, strict=True):
        assert name in ("0", "3") and moved == pytest.approx(float((new - old).abs().max() / new.abs().max()), rel=1e-9)
    assert seen["energy_nudged"] != seen["energy_free"]


def test_one_line_names_the_layer_that_does_not_settle():
    """Once."""
    net = dense()
    with torch.no_grad():
        net[2].weight.mul_(40)
    x, y = inputs(net), labels()
    rule = EP(net, example=x)
    rule.credit(x, y)
    with pytest.warns(RuleWarning, match=r"state of layer '[02]' still moved by .* take more 'free' steps") as said:
        rule.watch()
    assert len(said) == 1 and "\n" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule.watch()


def test_no_graph_is_built():
    """Convolutions, pools of images and flattened maps included."""
    net = pooled()
    x, y = inputs(net), labels()
    rule = EP(net, example=x)

    def fails(kept):
        raise AssertionError("a graph was built")

    with torch.autograd.graph.saved_tensors_hooks(fails, lambda kept: kept):
        rule.credit(x, y)


def test_the_input_drives_the_first_layer_once():
    """Whatever the number of steps."""
    net = dense()
    x, y = inputs(net), labels()
    rule, seen = EP(net, example=x), []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            seen.append(any(each is x for each in arguments) and "addmm" in str(function))
            return function(*arguments, **(named or {}))

    with Counting():
        rule.credit(x, y)
    assert sum(seen) == 1


def test_autograd_can_follow_its_inference():
    """To compare the rule with backpropagation through its own steps, pools and all."""
    net = pooled()
    x, y = inputs(net), labels()
    rule = EP(net, example=x, free=6)
    s = relax(net, x, y, [each.requires_grad_() for each in at_rest(net, x, False)], 6, 0, False, graph=True)
    want = torch.autograd.grad(F.cross_entropy(readout(net, s), y), [*net.parameters()])
    got = torch.autograd.grad(F.cross_entropy(rule.differentiable()(x), y), [*net.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


class Mixed(nn.Module):
    """A net whose cuts pool before sigma, as written in the papers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.pool, self.flat = nn.Conv2d(2, 3, 3), WideHardSigmoid(), nn.MaxPool2d(2), nn.Flatten()
        self.last = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.last(self.flat(self.act(self.pool(self.conv(x)))))


def test_a_pool_may_stand_before_sigma_by_hand():
    """The same as the net whose pool is moved there."""
    mixed = Mixed().double()
    first, last = layers(nn.Sequential(mixed.conv, mixed.act, mixed.pool, mixed.flat, mixed.last))
    cuts = [
        replace(first, activation=nn.Sequential(mixed.pool, mixed.act)),
        replace(last, inlet=nn.Sequential(mixed.flat)),
    ]
    plain = nn.Sequential(mixed.conv, mixed.act, mixed.pool, mixed.flat, mixed.last)
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    y, options = labels(), {"example": x, "loss": "mse", "free": 5, "nudged": 3}
    want = credit(EP(plain, **options), x, y)
    got = credit(EP(mixed, cuts=cuts, **options), x, y)
    assert_same(dict(zip(want, got.values(), strict=True)), want, 1e-12)


@pytest.mark.parametrize(("net", "arguments", "message"), [
    (dense, {"estimate": "four"}, "estimate='four' came; EP takes 'three_phase' or 'two_phase' or 'random_sign'"),
    (dense, {"weights": "both"}, "weights='both' came"),
    (dense, {"beta": 0.0}, "beta=0.0 came; EP takes steps of at least 1 and a beta above 0"),
    (dense, {"rates": [1.0, 2.0]}, r"rates=\[1.0, 2.0\] came for 3 layers: give a factor above 0 a layer, or none"),
    (dense, {"bend_output": True}, "bend_output came for layer '4' .*: use it with readout='inside'"),
    (dense, {"free": 0}, "free=0, nudged=6"),
    (lambda: nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, CLASSES)).double(), {},
     r"the activation of layer '0' \(Linear.*\) changes the shape \(6,\), but EP nudges it back: move"),
    (lambda: nn.Sequential(Residual(nn.Linear(5, 5)), nn.Linear(5, CLASSES)).double(), {},
     "EP has no primitive function for layer '0' .Residual.*: use Linear and convolutions below the readout"),
    (lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, affine=False), nn.Linear(6, CLASSES)).double(), {},
     "EP cannot work with BatchNorm1d in the activation of layer '0'"),
])  # fmt: skip
def test_what_it_refuses(net, arguments, message):
    """By name, with what to do."""
    net = net()
    with pytest.raises(Refused, match=message):
        EP(net, example=torch.ones(1, 5).double(), **arguments)
