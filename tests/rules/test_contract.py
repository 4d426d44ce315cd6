"""What every rule promises to the loop around it: it behaves like ``loss.backward()`` of an ordinary module."""

import copy
import inspect
import pickle

import pytest
import torch
from helpers import (
    CLASSES,
    LOSSES,
    NETS,
    assert_same,
    backward,
    credit,
    differ,
    gradients,
    hidden,
    inputs,
    labels,
    loss_of,
    make,
    mlp,
    skip_where_noise_teaches,
    suited,
    without_gradient,
)  # fmt: skip
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from altprop import RULES
from altprop.core import Staged

SEEDED = [name for name, rule in RULES.items() if "seed" in inspect.signature(rule.__init__).parameters]


@pytest.fixture(params=RULES)
def name(request):
    return request.param


@pytest.fixture
def plain(name):
    """A rule whose pass is the net's own."""
    if RULES[name].claims.inference == "own":
        pytest.skip("claims an inference of its own, which is not the net's forward")
    return name


@pytest.fixture(params=SEEDED)
def seeded(request):
    """A rule that has feedback drawn by its seed."""
    net = mlp()
    if not len(make(request.param, net, inputs(net)).feedback):
        pytest.skip("its seed draws no feedback")
    return request.param


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param](p=0.3)


@pytest.fixture
def case(name, net):
    """(rule, x, y)."""
    net = suited(name, net)
    x = inputs(net)
    return make(name, net, x), x, labels()


def values(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def same_values(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def trained(rule):
    """The layers that the rule trains."""
    return rule.layers[-1:] if rule.claims.signal == "none" and rule.claims.labels else rule.layers


def test_it_adds_to_the_gradient(case):
    """Gradients accumulate over micro-batches, as in torch."""
    rule, x, y = case
    once = credit(rule, x, y)
    torch.manual_seed(0)
    rule.credit(x, y)
    assert_same(gradients(rule.net), {n: None if g is None else 2 * g for n, g in once.items()}, 1e-14)


def test_it_fills_what_it_claims(case):
    """A layer left out trains as random features, and nobody sees it."""
    rule, x, y = case
    got = credit(rule, x, y)
    for key, gradient in got.items():
        assert (gradient is None) == (key in without_gradient(rule)), key
        assert gradient is None or gradient.abs().max() > 0
        assert gradient is None or (gradient.shape == rule.net.get_parameter(key).shape and gradient.is_contiguous())


@pytest.mark.parametrize("loss", LOSSES)
def test_it_returns_the_loss(plain, loss):
    """Of the same forward pass, dropout included, as a scalar without a graph.

    A rule that draws before the last layer runs moves the masks above: without dropout, then.  Who reads the loss
    around the net may tell it but for the square of a step."""
    claims = RULES[plain].claims
    early = claims.draws and (claims.locking == "none" or claims.signal == "loss")
    net = suited(plain, mlp(p=0.0 if early else 0.3))
    x, y = inputs(net), labels()
    torch.manual_seed(0)
    want = loss_of(net(x), y, loss).detach()
    rule = make(plain, net, x, loss=loss)
    torch.manual_seed(0)
    got = rule.credit(x, y)
    torch.testing.assert_close(got, want, **({"rtol": 1e-5, "atol": 0.0} if claims.signal == "loss" else {}))
    assert got.shape == () and not got.requires_grad


def test_it_changes_nothing_but_the_gradient(case):
    """Weights, mode, inputs and labels stay as they were, and feedback unless the rule says so."""
    rule, x, y = case
    before, x_before, y_before = values(rule), x.clone(), y.clone()
    rule.net[0].eval()
    modes = [module.training for module in rule.modules()]
    rule.credit(x, y)
    after, said = values(rule), tuple(f"{name}." for name in rule.claims.changes)
    unsaid = [key for key in before if not (said and key.startswith(said))]
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in unsaid)
    assert torch.equal(x, x_before) and torch.equal(y, y_before)
    assert [module.training for module in rule.modules()] == modes


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.LayerNorm])
def test_norm_statistics_move_as_in_one_forward(name, kind):
    """Twice would be another momentum; PEPITA refuses what it would have to move twice."""
    torch.manual_seed(0)
    options = {"affine": False} if kind is nn.BatchNorm1d else {"elementwise_affine": False}
    net = nn.Sequential(nn.Linear(5, 6), kind(6, **options), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    if RULES[name].claims.passes > 1 and kind is nn.BatchNorm1d:
        pytest.skip("claims several passes, which would move statistics as often")
    x = inputs(net)
    twin = copy.deepcopy(net)
    twin(x)
    make(name, net, x).credit(x, labels())
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value)


def test_the_net_is_the_users(plain):
    """No rule initialises, renames, moves or wraps anything, nor changes a mode by looking at an example."""
    net = suited(plain, mlp(p=0.3))
    net[3].eval()
    before, modules, modes = values(net), list(net.modules()), [m.training for m in net.modules()]
    state = torch.get_rng_state()
    rule = make(plain, net, inputs(net), **({"seed": 9} if plain in SEEDED else {}))
    assert same_values(values(net), before) and list(net.modules()) == modules
    assert [m.training for m in net.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    x = inputs(net)
    net.eval()
    assert torch.equal(rule(x), net(x))
    assert [k for k in rule.state_dict() if k.startswith("net.")] == [f"net.{key}" for key in before]


def test_the_seed_decides_the_feedback_and_nothing_else(seeded, net):
    """The global generator has no say; another seed is another draw."""
    x, y = inputs(net), labels()
    torch.manual_seed(1)
    first = make(seeded, net, x, seed=3).eval()  # in training a rule may draw anew every batch
    torch.manual_seed(2)
    again, other = make(seeded, net, x, seed=3).eval(), make(seeded, net, x, seed=4).eval()
    assert same_values(values(first), values(again))
    assert not torch.equal(first.feedback[0], other.feedback[0])
    assert_same(credit(first, x, y), credit(again, x, y), 0)
    assert differ(credit(first, x, y), credit(other, x, y), hidden(net))


def test_layers_draw_different_matrices(seeded):
    """One seed a rule, not one a layer: equal shapes do not mean equal matrices."""
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(5, 5), nn.Tanh())], nn.Linear(5, CLASSES)).double()
    matrices = list(make(seeded, net, inputs(net)).feedback)
    if len(matrices) < 2:
        pytest.skip("the rule has one matrix for the whole net")
    assert len(matrices) == 3 and not torch.equal(matrices[0], matrices[1])


def test_what_learns_is_a_parameter_and_nothing_else(case):
    """An optimizer that saw fixed feedback would decay it."""
    rule, _, _ = case
    own = [p for name in rule.claims.learns for p in getattr(rule, name)]
    assert [id(p) for p in rule.parameters()] == [id(p) for p in [*rule.net.parameters(), *own]]
    assert [id(p) for group in rule.param_groups(0.5) for p in group["params"]] == [id(p) for p in rule.parameters()]
    assert rule.param_groups(0.5)[0]["lr"] == 0.5
    assert all(parameter.requires_grad for parameter in own)
    assert "feedback" in rule.claims.learns or not any(matrix.requires_grad for matrix in rule.feedback)


def test_what_learns_belongs_to_one_layer(case):
    """Streaming and layer parallelism step a layer by an optimizer of its own, at the rule's rates."""
    rule, _, _ = case
    whole = {id(p): {**group, "params": None} for group in rule.param_groups(0.5) for p in group["params"]}
    parts = [group for layer in rule.layers for group in rule.groups_of(layer, 0.5)]
    assert sorted(id(p) for group in parts for p in group["params"]) == sorted(whole)
    assert all({**group, "params": None} == whole[id(p)] for group in parts for p in group["params"])


def test_stages_are_credit(case):
    """Who owns some layers runs just those: no stage may need more than what the one below has handed on."""
    rule, x, y = case
    if not isinstance(rule, Staged):
        outside = not type(rule).__module__.startswith("altprop.")
        assert rule.claims.locking != "none" or outside, "a rule without update locking is written in stages"
        pytest.skip("claims update locking, or comes from outside and is not written in stages")
    rule.credit(x, y)  # where running means move, they move here and below alike
    twin = copy.deepcopy(rule)
    loss, h = None, x
    credit(rule, x, y)
    want = gradients(rule)
    rule.zero_grad(set_to_none=True)
    rule.load_state_dict(twin.state_dict())
    torch.manual_seed(0)
    for index in range(len(rule.layers)):
        h = h.detach().clone() if isinstance(h, torch.Tensor) else tuple(part.detach().clone() for part in h)
        before = gradients(rule)
        h, loss = rule.stage(index, h, rule.targets(y, len(x)))
        assert (loss is None) == (index < len(rule.layers) - 1)
        changed = {key for key, g in gradients(rule).items() if g is not None and before[key] is None}
        own = {id(p) for p in rule.layers[index].parameters()}
        assert {id(p) for key, p in rule.named_parameters() if key in changed} <= own
    assert_same(gradients(rule), want, 0)
    torch.manual_seed(0)
    twin.zero_grad(set_to_none=True)
    assert torch.equal(loss, twin.credit(x, y))


def test_credit_can_be_traced(case):
    """A flat graph of aten operations, which gives the same numbers on another batch: no branch depends on values."""
    rule, x, y = case
    rule.eval()
    parameters = list(rule.parameters())

    def step(x, y):
        rule.zero_grad(set_to_none=True)
        loss = rule.credit(x, y)
        return [loss.clone(), *(p.grad.clone() for p in parameters if p.grad is not None)]

    graph = make_fx(step)(x, y)
    other = inputs(rule.net, seed=5), labels(seed=6)
    found = []
    for run in (step, graph):
        torch.manual_seed(3)
        found.append(run(*other))
    assert len(found[0]) == len(found[1]) > 1
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_state_dict_round_trip(case, name):
    """Feedback is saved with the rule; loaded into another seed it gives the same gradients."""
    rule, x, y = case
    rule.eval()
    want = credit(rule, x, y)
    seeded = name in SEEDED and len(rule.feedback)
    other = make(name, copy.deepcopy(rule.net), x, **({"seed": 99} if seeded else {})).eval()
    if seeded:
        assert differ(credit(other, x, y), want)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other.load_state_dict(rule.state_dict()).missing_keys == []
    assert_same(credit(other, x, y), want, 0)


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))], ids=["deepcopy", "pickle"]
)
def test_copies_are_whole_and_apart(case, way):
    """A copy whose layers still point at the first net would train that one."""
    rule, x, y = case
    other = way(rule)
    want = credit(rule, x, y)
    rule.zero_grad(set_to_none=True)
    assert_same(credit(other, x, y), want, 0)
    assert all(p.grad is None for p in rule.parameters())


@pytest.mark.parametrize("optimizer", [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4),
    lambda p: torch.optim.Adam(p, lr=1e-2),
    lambda p: torch.optim.RMSprop(p, lr=3e-3),
], ids=["SGD", "Adam", "RMSprop"])  # fmt: skip
def test_every_optimizer_and_a_scheduler_bring_the_loss_down(plain, optimizer):
    """The whole loop, on classes that a line can tell apart."""
    torch.manual_seed(0)
    net = suited(plain, nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, CLASSES)))
    x = torch.randn(60, 5)
    y = x[:, :CLASSES].argmax(1)
    rule = make(plain, net, x)
    optimizer = optimizer(rule.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 30, 0.5)
    first = rule.eval()(x)
    rule.train()
    for _ in range(60):
        optimizer.zero_grad()
        rule.credit(x, y)
        nn.utils.clip_grad_norm_(rule.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
    enough = 0.7 if rule.claims.labels else 0.8  # what finds features without labels may find few
    assert loss_of(rule.eval()(x), y, "cross_entropy") < enough * loss_of(first, y, "cross_entropy")


def test_ready_is_called_once_a_layer_when_its_gradient_is_complete(case):
    """A layer announced too early would be stepped by half a gradient, one never announced would not learn."""
    rule, x, y = case
    credit(rule, x, y)
    want = gradients(rule)
    names = {id(p): key for key, p in rule.named_parameters()}
    seen, kept = [], {}

    def ready(layer):
        seen.append(layer)
        kept.update({names[id(p)]: p.grad for p in layer.parameters()})
        for p in layer.parameters():
            p.grad = None

    credit(rule, x, y, ready)
    left = gradients(rule)
    assert sorted(map(id, seen)) == sorted(id(layer) for layer in trained(rule) * rule.claims.updates)
    if rule.claims.updates == 1:
        assert_same({key: kept.get(key) for key in want}, want, 0)
    assert all(gradient is None for gradient in left.values())


def test_ready_waits_for_the_norms_of_the_layer(name):
    """Scale and shift belong to the layer that is announced, whether they stand before or after its synapse."""
    if "inlet" not in RULES[name].claims.trains or RULES[name].claims.signal == "none":
        pytest.skip("claims no gradient in the inlets of hidden layers")
    first = nn.LayerNorm if issubclass(nn.BatchNorm1d, RULES[name].refuses) else nn.BatchNorm1d
    net = nn.Sequential(
        first(5), nn.Linear(5, 6), nn.LayerNorm(6), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, CLASSES)
    ).double()
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    want, kept = credit(rule, x, y), {}
    credit(rule, x, y, lambda layer: kept.update({id(p): p.grad.clone() for p in layer.parameters()}))
    assert_same({key: kept[id(p)] for key, p in net.named_parameters()}, want, 0)


def test_stepping_inside_ready_is_stepping_after(case):
    """A signal that still came down through a weight already stepped would be another rule."""
    rule, x, y = case
    if rule.claims.updates > 1:
        pytest.skip("claims several updates: the second pass is meant to run with the weights that the first has left")
    late = copy.deepcopy(rule)
    credit(late, x, y)
    torch.optim.SGD(late.parameters(), lr=0.5).step()

    def step(layer):
        torch.optim.SGD(list(layer.parameters()), lr=0.5).step()
        for p in layer.parameters():
            p.grad = None

    credit(rule, x, y, step)
    for (key, early), after in zip(rule.named_parameters(), late.parameters(), strict=True):
        torch.testing.assert_close(early, after, atol=1e-13, rtol=0, msg=key)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_any_batch_is_a_mean_over_its_samples(name, n):
    """The gradient of n samples is the mean of n gradients of one: a last, smaller batch weighs the same."""
    for build in NETS.values():
        net = suited(name, build())
        x, y = inputs(net, n), labels(n)
        rule = make(name, net, x).eval()
        if not rule.claims.averages:
            pytest.skip("claims no mean over samples")
        skip_where_noise_teaches(rule, x, y)
        together, alone = credit(rule, x, y), [credit(rule, x[i : i + 1], y[i : i + 1]) for i in range(n)]
        mean = {k: None if g is None else sum(one[k] for one in alone) / n for k, g in together.items()}
        assert_same(together, mean, 1e-13)


def test_one_layer_is_the_delta_rule(plain):
    """Without hidden layers every rule is the same."""
    if RULES[plain].claims.passes > 1:
        pytest.skip("claims a second pass, whose activity is its own")
    net = mlp(1)
    x, y = inputs(net), labels()
    rule = make(plain, net, x)
    assert_same(credit(rule, x, y), backward(net, x, y), 1e-14)


def test_float32_is_float64_rounded(case, name):
    """A route of another precision, or a matrix left in the other dtype."""
    rule, x, y = case
    skip_where_noise_teaches(rule, x, y)
    rule.eval()
    want = credit(rule, x, y)
    single = copy.deepcopy(rule).float()
    got = credit(single, x.float(), y)
    assert all(g is None or g.dtype == torch.float32 for g in got.values())
    for key, gradient in got.items():
        if gradient is not None:
            assert (gradient.double() - want[key]).norm() < 1e-3 * want[key].norm(), key
    assert make(name, single.net, x.float()).like.dtype == torch.float32


def test_the_example_may_be_one_a_batch_or_of_another_dtype(name):
    """It is looked at for its shapes only."""
    net = suited(name, mlp())
    x, y = inputs(net), labels()
    want = credit(RULES[name](net, example=x), x, y)
    for example in (x[:1], x.float(), torch.full_like(x, 7.0)):
        assert_same(credit(RULES[name](net, example=example), x, y), want, 0)


def test_it_draws_the_noise_of_one_forward(case):
    """A second draw would shift every later mask, and two rules could not share a seed."""
    rule, x, y = case
    if rule.claims.inference == "own":
        pytest.skip("claims an inference of its own")
    skip_where_noise_teaches(rule, x, y)
    rule.train(not rule.claims.draws)
    torch.manual_seed(4)
    rule.net(x)
    want = torch.get_rng_state()
    torch.manual_seed(4)
    rule.credit(x, y)
    assert torch.equal(torch.get_rng_state(), want)


def test_eval_mode_is_without_noise(case):
    """The mode is the user's: credit in eval mode draws nothing."""
    rule, x, y = case
    if rule.claims.inference == "own":
        pytest.skip("claims an inference of its own, and draws for it")
    skip_where_noise_teaches(rule, x, y)
    rule.eval()
    assert_same(credit(rule, x, y, seed=1), credit(rule, x, y, seed=2), 0)
    if issubclass(nn.Dropout, type(rule).refuses):
        pytest.skip("refuses dropout, so that there is no noise")
    rule.train()
    assert differ(credit(rule, x, y, seed=1), credit(rule, x, y, seed=2))


def test_it_runs_under_no_grad_and_leaves_grad_mode_alone(case):
    """And builds no graph onto an input that requires a gradient."""
    rule, x, y = case
    want = credit(rule, x, y)
    with torch.no_grad():
        assert_same(credit(rule, x, y), want, 0)
    leaf = x.clone().requires_grad_()
    assert_same(credit(rule, leaf, y), want, 0)
    assert leaf.grad is None and torch.is_grad_enabled()
    assert not any(p.grad is not None and p.grad.requires_grad for p in rule.parameters())


def test_inputs_need_not_be_contiguous(case):
    """Transposed and channels-last batches are the same batch."""
    rule, x, y = case
    rule.eval()
    turned = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert not turned.is_contiguous()
    assert_same(credit(rule, turned, y), credit(rule, x, y), 1e-14)


def test_frozen_layers_stay_as_they_are(case):
    """requires_grad=False is respected, and the layers around learn as before, unless they hear how all together do."""
    rule, x, y = case
    want = credit(rule, x, y)
    for layer in rule.layers[:1]:
        layer.synapse.requires_grad_(False)
    frozen = {key for key, p in rule.net.named_parameters() if not p.requires_grad}
    got = credit(rule, x, y)
    others = got if rule.claims.signal == "loss" else want
    assert_same(got, {key: None if key in frozen else others[key] for key in want}, 1e-14)
    assert all((got[key] is None) == (key in frozen or g is None) for key, g in want.items())
    assert not frozen & {
        k for k, p in rule.net.named_parameters() if any(p is q for q in rule.param_groups(1)[0]["params"])
    }
