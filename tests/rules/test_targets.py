"""Target propagation: decoders against autograd, and the limits in which targets are backpropagation's, in float64."""

import os
import signal

import pytest
import torch
from helpers import CLASSES, assert_same, backward, credit, gradients, inputs, labels, make, mlp
from run_helpers import rows, same_bits, toy_recipe, toy_tensors
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.core import Refused, ascend
from altprop.data import from_torch
from altprop.limits import Interrupted
from altprop.run.build import prepare
from altprop.run.experiment import resume_run, run_recipe

FAMILY = ("tp", "dtp", "sdtp", "ao_sdtp", "ldrl", "fwdtp")
DECODED = FAMILY[:-1]


def strided(act=nn.Tanh, seed=0):
    """Three strided convolutions and a readout on (2, 6, 6): sizes that a transposed convolution has to be told."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), act(), nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2), act(),
        nn.Conv2d(4, 6, 2, stride=2), act(), nn.Flatten(), nn.Linear(6, CLASSES),
    ).double()  # fmt: skip


NETS = {"mlp": lambda act=nn.Tanh: mlp(4, act), "strided": strided}


def case(name, kind, act=nn.Tanh, n=3, **options):
    net = NETS[kind](act)
    x, y = inputs(net, n), labels(n)
    return make(name, net, x, **options), x, y


def draw(like):
    """The noise of the rule's next draw, by torch's global stream, which is not moved."""
    state = torch.get_rng_state()
    noise = torch.randn_like(like)
    torch.set_rng_state(state)
    return noise


def decoder(layer, below, V):
    """o -> o V in torch's own words, for a V that requires a gradient."""
    module = layer.synapse
    if isinstance(module, nn.Linear):
        return lambda o: (o @ V).reshape(-1, *below.shape[1:])
    with torch.no_grad():
        size = module(below).shape[2:]
    geometry = zip(below.shape[2:], size, module.stride, module.padding, module.kernel_size, strict=True)
    more = [want - ((o - 1) * s - 2 * p + k) for want, o, s, p, k in geometry]
    options = {"stride": module.stride, "padding": module.padding, "output_padding": more, "groups": module.groups}
    return lambda o: F.conv_transpose2d(o, V, **options)


def leaf(tensor):
    return tensor.detach().clone().requires_grad_()


def activity(rule, x):
    """h of every layer, laid out in memory as the rule has it, by which noise is drawn."""
    return [trace.h.detach() for trace in ascend(rule.layers, x, reach=1)]


def taught(rule, index, x):
    """What one decoder's learning adds to the gradients, and its loss, from a fixed state of the random stream."""
    traces = ascend(rule.layers, x, reach=1)
    rule.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    with torch.no_grad():
        return rule.invert(index, traces[index], traces[index - 1].h)


# ------------------------------------------------------------------------------------ decoders against autograd


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("goal", ["preserving", "denoising"])
@pytest.mark.parametrize("name", ["tp", "dtp", "sdtp", "ao_sdtp"])
def test_a_decoder_descends_its_reconstruction_loss(name, goal, kind, act):
    """A slope left out, a sum over the wrong axis, the other goal, or a decoder of the output that hears logits."""
    more = {"outputs": 5} if name == "ao_sdtp" else {}
    rule, x, _ = case(name, kind, act, inverse=goal, noise=0.3, **more)
    for c in rule.offsets:
        torch.nn.init.normal_(c)
    h = activity(rule, x)
    for index in range(1, len(rule.V) + 1):
        loss, below, layer = taught(rule, index, x), h[index - 1], rule.layers[index]
        torch.manual_seed(3)
        noisy = below + 0.3 * torch.randn_like(below)
        V, c, last = leaf(rule.V[index - 1]), leaf(rule.offsets[index - 1]), index == len(rule.layers) - 1
        o = layer(noisy).detach()
        a = decoder(layer, below, V)(o.softmax(1) if last else o) + c
        leaves, own = [V, c], [rule.V[index - 1], rule.offsets[index - 1]]
        if last and more:
            U = leaf(rule.auxiliary[0])
            a = a + (act()(noisy.flatten(1) @ rule.features[0].T) @ U).reshape(below.shape)
            leaves, own = [*leaves, U], [*own, rule.auxiliary[0]]
        want = (act()(a) - (noisy if goal == "preserving" else below)).square().sum() / (2 * len(x))
        want.backward()
        torch.testing.assert_close(loss, want.detach())
        for ours, theirs in zip(own, leaves, strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-12, rtol=0)
        assert all(p.grad is None for p in rule.net.parameters())


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("kind", NETS)
def test_ldrl_descends_its_two_losses(kind, act):
    """|g(h + eta) - g(h)|^2 / 2 - <eps, g(F(h' + eps)) - g(h)>, over N noise^2: a sign, a half, a variance."""
    rule, x, _ = case("ldrl", kind, act, noise=0.3, draws=2)
    h = activity(rule, x)
    for index in range(1, len(rule.layers)):
        loss, below, layer, V = taught(rule, index, x), h[index - 1], rule.layers[index], leaf(rule.V[index - 1])
        f = nn.Identity() if index == len(rule.layers) - 1 else act()
        g, want = decoder(layer, below, V), 0.0
        torch.manual_seed(3)
        for _ in range(2):
            eps = 0.3 * torch.randn_like(below)
            up = layer(below + eps).detach()
            eta = 0.3 * torch.randn_like(h[index])
            r = g(f(h[index]))
            pull, push = (g(f(up)) - r, g(f(h[index] + eta)) - r)
            want = want + (push.square().sum() / 2 - (eps * pull).sum()) / (2 * len(x) * 0.3**2)
        want.backward()
        torch.testing.assert_close(loss, want.detach())
        torch.testing.assert_close(rule.V[index - 1].grad, V.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("kind", NETS)
def test_a_layer_descends_the_distance_to_its_target(name, kind):
    """autograd of |t_l - h_l|^2 / 2N, with the targets that the decoders themselves make."""
    rule, x, y = case(name, kind)
    rule.eval()
    got, h = credit(rule, x, y), activity(rule, x)
    traces = ascend(rule.layers, x, reach=1)
    with torch.no_grad():
        e = traces[-1].h.softmax(1) - F.one_hot(y, CLASSES)
        displaced = [rule.aim(traces[-1], traces[-2].h, e, e)]
        for index in range(len(traces) - 2, 0, -1):
            displaced.insert(0, rule.lower(index, traces[index], traces[index - 1].h, displaced[0]))
    rule.zero_grad(set_to_none=True)
    for index, layer in enumerate(rule.layers[:-1]):
        inlet = (x if index == 0 else h[index - 1]).detach()
        distance = h[index] + displaced[index] - layer(inlet)
        (distance.square().sum() * rule.pace / (2 * len(x))).backward()
    F.cross_entropy(rule.layers[-1](h[-2]), y).backward()
    assert_same(got, gradients(rule.net), 1e-12)


# ------------------------------------------------------------------------------------------------------- limits


def orthogonal(act=nn.Identity, depth=4, width=5):
    """Square layers of orthogonal weights, and a readout."""
    torch.manual_seed(0)
    modules = []
    for _ in range(depth - 1):
        modules += [nn.Linear(width, width).double(), act()]
        nn.init.orthogonal_(modules[-2].weight)
    return nn.Sequential(*modules, nn.Linear(width, CLASSES).double())


def mirror(rule):
    """V_l = W_l."""
    with torch.no_grad():
        for V, layer in zip(rule.V if hasattr(rule, "V") else rule.feedback, rule.layers[1:], strict=False):
            V.copy_(layer.synapse.weight)


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_dtp_of_linear_orthogonal_layers_is_step_times_bp(step):
    """Their transposed weights undo them: h - t is step times the error of backpropagation."""
    net = orthogonal()
    x, y = torch.randn(4, 5).double(), labels()
    rule = make("dtp", net, x, step=step)
    mirror(rule)
    got, want = credit(rule, x, y), backward(net, x, y)
    top = ("6.weight", "6.bias")
    assert_same(got, {key: g if key in top else step * g for key, g in want.items()}, 1e-10)


def test_orthogonal_decoders_are_exact_inverses():
    """Nothing is left to learn: noise or not, the loss and every gradient are zero, to rounding."""
    net = orthogonal()
    x = torch.randn(4, 5).double()
    for name in ("dtp", "tp"):
        rule = make(name, net, x, noise=2.0)
        mirror(rule)
        with torch.no_grad():
            for c, layer in zip(rule.offsets, rule.layers[1:], strict=False):
                c.copy_(-layer.synapse.weight.T @ layer.synapse.bias if layer.synapse.out_features == 5 else 0 * c)
        for index in range(1, 3):
            assert taught(rule, index, x) < 1e-20
            assert max(p.grad.abs().max() for p in (rule.V[index - 1], rule.offsets[index - 1])) < 1e-10


def test_tp_through_exact_inverses_leads_to_the_same_target():
    """t_{l-1} = f_l^{-1}(t_l): forward from any layer's target all above are met."""
    net = orthogonal(nn.Tanh)
    x = torch.randn(4, 5).double()
    rule = make("tp", net, x)
    mirror(rule)
    traces = ascend(rule.layers, x, reach=1)

    class Atanh(nn.Module):
        def forward(self, h):
            return h.atanh()

    with torch.no_grad():  # g(o) = (o.atanh() - b) W, which no decoder of f(o V + c) is, in the place of one
        d = 0.1 * torch.randn(4, 5).double()
        for index in (2, 1):
            layer, below = rule.layers[index], traces[index - 1].h
            rule.bends[index - 1] = nn.Sequential()
            rule.offsets[index - 1].copy_(-layer.synapse.weight.T @ layer.synapse.bias)
            t = (traces[index].h + d).clamp(-0.99, 0.99)
            undone = traces[index]._replace(h=t.atanh())
            d = rule.lower(index, undone, below, torch.zeros_like(d))
            torch.testing.assert_close(layer(below + d), t, atol=1e-10, rtol=0)


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU])
def test_dtp_of_one_hidden_layer_is_bp(act):
    """Its only target is a step down the true gradient."""
    net = mlp(2, act, p=0.3)
    x, y = inputs(net), labels()
    assert_same(credit(make("dtp", net, x), x, y), backward(net, x, y), 1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_ldrl_by_transposed_jacobians_is_bp(kind):
    """With V_l = W_l f_l(o) V_l has the transposed Jacobian where f'(f(a)) = f'(a), as of leaky ReLU."""
    net = NETS[kind](nn.LeakyReLU)
    x, y = inputs(net), labels()
    rule = make("ldrl", net, x, step=1e-6).eval()
    mirror(rule)
    assert_same(credit(rule, x, y), backward(net, x, y), 1e-9)


def test_fwdtp_of_linear_layers_is_feedback_alignment():
    """Nothing is left but the matrices."""
    net = mlp(4, nn.Identity)
    x, y = inputs(net), labels()
    fixed, fa = make("fwdtp", net, x), make("fa", net, x)
    for index, V in enumerate(fixed.feedback):
        fa.feedback[index] = V
    assert_same(credit(fixed, x, y), credit(fa, x, y), 1e-12)


@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_ldrl_drives_decoders_to_the_transposed_jacobian(kind):
    """Linear layers: V_l comes to W_l from wherever it starts, by noise alone."""
    rule, x, _ = case("ldrl", kind, nn.Identity, n=32, noise=0.5)
    optimizer = torch.optim.SGD(rule.V, lr=0.1)
    torch.manual_seed(1)
    start = distances(rule)
    for step in range(120):
        optimizer.param_groups[0]["lr"] = 0.1 if step < 60 else 0.03
        optimizer.zero_grad()
        rule.reconstruct(x)
        optimizer.step()
    left = distances(rule)
    assert all(now < 0.3 * then for now, then in zip(left, start, strict=True)), (start, left)
    assert all(p.grad is None for p in rule.net.parameters())


def distances(rule):
    """|V - W| of every decoder."""
    pairs = zip(rule.V, rule.layers[1:], strict=True)
    return [float((V - layer.synapse.weight).detach().norm()) for V, layer in pairs]


# ------------------------------------------------------------------------------------------- phases, and what is told


def data():
    return from_torch(toy_tensors(), toy_tensors(30, seed=1))


GIVEN = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}
SCHEDULES = {
    "parallel": {},
    "alternating": {"arguments": {"alternate": 2}},
    "first": {"phase": [{"name": "decoders first", "epochs": 2, "optimizer": "adam", "lr": 0.01}]},
    "rates": {"phase": [{"name": "decoders", "optimizer": "adam", "lr": 0.002}]},
}


def recipe(name, **settings):
    return toy_recipe(**{"rule": name, "net": "6-8-5-3", "act": "tanh", "epochs": 2, "lr": 0.02, **settings})


@pytest.mark.parametrize(("name", "schedule"), [
    *(("dtp", schedule) for schedule in SCHEDULES), ("ao_sdtp", "parallel"), ("ldrl", "alternating"),
])  # fmt: skip
def test_stopped_in_any_phase_and_resumed_is_the_same(tmp_path, name, schedule):
    """The noise, both optimizers, the losses that are told, and whose turn it was."""
    run = recipe(name, **SCHEDULES[schedule])
    epochs = len(run_recipe(run, data(), out=tmp_path / "whole").metrics)
    assert epochs == {"parallel": 2, "alternating": 4, "first": 4, "rates": 2}[schedule]
    for place in range(epochs):

        def stop(epoch, epochs, index, count, loss, place=place):
            if (epoch, index) == (place, 1):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted):
            run_recipe(run, data(), out=tmp_path / str(place), progress=stop)
        result = resume_run(tmp_path / str(place), data=GIVEN)
        assert same_bits(result.rule.state_dict(), altprop.load(tmp_path / "whole").rule.state_dict())
        assert rows(tmp_path / str(place)) == rows(tmp_path / "whole")
        assert any(row["watch"] for row in result.metrics)
        told = [set(row["watch"].get("reconstruction", ())) for row in result.metrics]
        assert all(names <= {"2", "4"} for names in told)


def test_in_turns_only_one_side_moves():
    """An epoch of decoders leaves the net, an epoch of the net leaves the decoders."""
    learner = prepare(recipe("sdtp", arguments={"alternate": 1}), data())
    assert [turn.name for turn in learner.turns] == ["decoders 1", "net 1"]
    for turn, still, moved in ((0, "net.", "decoders."), (1, "decoders.", "net.")):
        learner.stand(turn)
        learner.enter(0)
        before = {key: value.clone() for key, value in learner.rule.state_dict().items()}
        learner.step(*(part[:16] for part in learner.samples))
        after = learner.rule.state_dict()
        changed = {key for key, value in before.items() if not torch.equal(after[key], value)}
        assert any(key.startswith(moved) for key in changed) and not any(key.startswith(still) for key in changed)


def test_decoders_have_an_optimizer_and_a_rate_of_their_own():
    """By the phase's table; without one their rate is ``decoder_rate`` times the net's."""
    own = prepare(recipe("dtp", **SCHEDULES["rates"]), data()).optimizers
    assert [type(optimizer).__name__ for optimizer in own] == ["SGD", "Adam"]
    assert [[group["lr"] for group in optimizer.param_groups] for optimizer in own] == [[0.02], [0.002]]
    (one,) = prepare(recipe("dtp", arguments={"decoder_rate": 0.5}), data()).optimizers
    assert [group["lr"] for group in one.param_groups] == [0.02, 0.01]


@pytest.mark.parametrize("name", DECODED)
def test_watch_tells_each_decoders_loss(name):
    """Of the last batch, under the name of the layer that it leads from."""
    rule, x, y = case(name, "mlp")
    told = rule.watch()["reconstruction"]
    assert list(told) == [layer.name for layer in rule.layers[1:]][: len(rule.V)] and not any(told.values())
    credit(rule, x, y)
    told = rule.watch()["reconstruction"]
    assert list(told.values()) == [float(loss) for loss in rule.reconstruction] and all(told.values())
    rule.eval()
    credit(rule, x, y, seed=1)
    assert rule.watch()["reconstruction"] == told


def test_a_net_that_stands_still_has_no_angles():
    """Where decoders learn alone the angle to backpropagation would be one between nothing and nothing."""
    metrics = run_recipe(recipe("dtp", arguments={"alternate": 2}), data()).metrics
    assert ["angle_to_bp" in row for row in metrics] == [False, True, False, True]


def test_features_and_what_brings_them_back_are_drawn_apart():
    """Of one draw U would be A's image, and z of no use."""
    rule, _, _ = case("ao_sdtp", "mlp", outputs=5, init="glorot_uniform")
    assert not torch.allclose(rule.features[0], rule.auxiliary[0])


def test_frozen_decoders_stay_and_draw_nothing():
    rule, x, y = case("sdtp", "mlp")
    for p in [*rule.decoders, *rule.offsets]:
        p.requires_grad_(False)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    rule.credit(x, y)
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in rule.decoders)


REFUSED = [
    ("dtp", {"noise": 0.0}, "noise=0.0, decoder_rate=1.0, alternate=0 came; DTP takes a noise and a rate above 0"),
    ("sdtp", {"alternate": -1}, "alternate=-1 came"),
    ("tp", {"inverse": "exact"}, "inverse='exact' came; TP takes 'preserving' or 'denoising'"),
    ("dtp", {"step": 0.0}, "step=0.0 came; DTP takes one above 0"),
    ("fwdtp", {"step": -1.0}, "step=-1.0 came; FWDTP takes one above 0"),
    ("ldrl", {"draws": 0}, "draws=0 came; LDRL takes a step above 0 and at least one draw"),
    ("ao_sdtp", {"outputs": 0}, "outputs=0 came; AOSDTP takes at least 1, or use 'sdtp'"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused(name, options, words):
    with pytest.raises(Refused, match=words) as told:
        case(name, "mlp", **options)
    assert len(str(told.value)) <= 290


@pytest.mark.parametrize("name", FAMILY)
def test_nets_that_no_target_fits_are_refused_by_layer(name):
    """An activation of another shape, a synapse without a matrix, and norms whose statistics noise would move."""
    x = torch.rand(2, 6)
    glu = nn.Sequential(nn.Linear(6, 8), nn.GLU(1), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES))
    with pytest.raises(Refused, match=r"activation of layer '0'.*makes shape"):
        make(name, glu, x)
    table = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.ConvTranspose1d(1, 1, 1), nn.Tanh(), nn.Linear(5, CLASSES))
    table[1] = nn.Sequential(nn.Tanh(), nn.Unflatten(1, (1, 5)))
    table[3] = nn.Sequential(nn.Tanh(), nn.Flatten())
    with pytest.raises(Refused, match=r"has no feedback matrix for layer '2'"):
        make(name, table, x)
    norm = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, CLASSES))
    if name in DECODED:
        with pytest.raises(Refused, match="cannot work with BatchNorm1d in the activation of layer '0'"):
            make(name, norm, x)
    else:
        assert make(name, norm, x).refuses == ()
