"""Every field of ``Claims`` is measured: what a rule says of itself in data must be what it does."""

import pytest
import torch
from helpers import CLASSES, credit, differ, inputs, labels, make, skip_where_noise_teaches, suited, without_gradient
from torch import nn

from altprop import RULES, Claims, Refused, layers

N, WIDTH = 4, 9


class Note(nn.Module):
    """The identity, which writes down when and with how many rows it runs."""

    def __init__(self, level, events):
        super().__init__()
        self.level, self.events = level, events

    def forward(self, x):
        self.events.append(("forward", self.level, len(x)))
        return x.clone()

    def __deepcopy__(self, memo):
        return self


def net_of(name, events=None, depth=3, width=WIDTH):
    """Tanh layers wider than the batch, or vector units more than components of a batch: every activity has a null
    space.  Weights of the latter are not near 0, so that none is cut off."""
    torch.manual_seed(0)
    vectors = RULES[name].suits.init == "on_off"
    width *= CLASSES if vectors else 1
    widths, modules = [5, *[width] * (depth - 1), CLASSES], []
    for level in range(depth):
        modules += [nn.Linear(widths[level], widths[level + 1]), nn.Tanh()]
    plain = suited(name, nn.Sequential(*modules[:-1]).double())
    synapses = [module for module in plain if hasattr(module, "weight")]
    for module in synapses[1:] if vectors else ():
        nn.init.uniform_(module.weight, 4.0, 5.0)
    noted = ((module, [Note(synapses.index(module), [] if events is None else events)] if module in synapses else [])
             for module in plain)  # fmt: skip
    return nn.Sequential(*(part for module, notes in noted for part in (module, *notes)))


@pytest.fixture(params=RULES)
def name(request):
    return request.param


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, 5, generator=generator, dtype=torch.float64), labels(N)


def skip_other_layers(rule):
    """Where the rule's layers are not those of the net, perturbing the net tells nothing of them."""
    for mine, plain in zip(rule.layers, layers(rule.net), strict=True):
        if list(mine.activation.modules())[1:] != list(plain.activation.modules())[1:]:
            pytest.skip("runs layers of its own, whose activity sees every weight")


def below(rule, level):
    """The parameters of the layers below ``level``."""
    inside = {id(p) for layer in rule.layers[:level] for p in layer.parameters()}
    return [key for key, p in rule.net.named_parameters() if id(p) in inside]


def perturb_unseen(rule, x, level):
    """Change the weight of a layer where this batch has no activity: no activity and no output changes."""
    h = x
    with torch.no_grad():
        for layer in rule.layers[:level]:
            h = layer(h)
        weight = rule.layers[level].synapse.weight
        h = h.flatten(0, -2)  # (N, n), or (N K, n) of vectors
        unseen = torch.eye(weight.shape[1]).double() - torch.linalg.pinv(h) @ h
        before = rule.net(x)
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) @ unseen
        torch.testing.assert_close(rule.net(x), before, atol=1e-11, rtol=0)


def same(left, right, names):
    """The named gradients agree but for what the probe itself moves."""
    return all(torch.allclose(left[k], right[k], rtol=1e-7, atol=1e-9) for k in names if left[k] is not None)


def test_claims_are_data(name):
    """A claim outside of its vocabulary is prose."""
    claims = RULES[name].claims
    assert isinstance(claims, Claims)
    assert claims.weight_transport in ("none", "signs", "full") and claims.locking in ("none", "forward", "backward")
    assert claims.signal in ("none", "target", "error", "layerwise", "loss")


def test_weight_transport(name):
    """The transport probe: a weight changes where nobody can see it; a gradient that notices has read it."""
    noticed = []
    for level in (1, 2):
        x, y = batch()
        rule = make(name, net_of(name), x)
        skip_other_layers(rule)
        before = credit(rule, x, y)
        perturb_unseen(rule, x, level)
        noticed.append(not same(before, credit(rule, x, y), below(rule, level)))
    assert any(noticed) == (rule.claims.weight_transport != "none")


def test_weight_transport_in_a_convnet(name):
    """The same through pooling and a kernel: the head may change where the pooled activity has no component."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, CLASSES)
    ).double()
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    before = credit(rule, x, y)
    with torch.no_grad():
        h = net[:4](x)
        net[4].weight += torch.randn(CLASSES, 27).double() @ (torch.eye(27).double() - torch.linalg.pinv(h) @ h)
    assert same(before, credit(rule, x, y), below(rule, 1)) == (rule.claims.weight_transport == "none")


def measured_locking(rule, x, y, events):
    """none: every layer was ready before the next ran.  backward: ready from the top down.  forward: else.

    Of a rule that announces a layer twice, the second time counts: only then its gradient is whole."""
    index = {id(layer): level for level, layer in enumerate(rule.layers)}
    events.clear()
    credit(rule, x, y, lambda layer: events.append(("ready", index[id(layer)], 0)))
    order = [(kind, level) for kind, level, _ in events]
    if rule.claims.updates > 1:
        half = len(rule.layers) * (rule.claims.updates - 1)
        early = [place for place, (kind, _) in enumerate(order) if kind == "ready"][:half]
        order = [event for place, event in enumerate(order) if place not in early]
    readies = [level for kind, level in order if kind == "ready"]
    top = len(rule.layers) - 1
    if len(readies) > 1 and all(order.index(("ready", v)) < order.index(("forward", v + 1)) for v in range(top)):
        return "none"
    assert all(order.index(("ready", v)) > order.index(("forward", top)) for v in readies)
    return "backward" if len(readies) > 1 and readies == sorted(readies, reverse=True) else "forward"


def test_locking(name):
    """What a layer waits for, by the order in which modules run and layers become ready."""
    events = []
    x, y = batch()
    rule = make(name, net_of(name, events), x)
    assert measured_locking(rule, x, y, events) == rule.claims.locking


def test_without_locking_a_layer_needs_nothing_above(name):
    """Gradients below are complete even where the net breaks above them; who waits for the output has none yet."""
    x, y = batch()
    net = net_of(name)
    rule = make(name, net, x)
    skip_other_layers(rule)
    want = credit(rule, x, y)

    class Broken(nn.Module):
        def forward(self, x):
            raise ArithmeticError("the layers above did run")

    rule.zero_grad(set_to_none=True)
    net[7] = Broken()  # the identity after the last synapse
    rule.layers = [*rule.layers[:2], *layers(net)[2:]]  # those below as the rule has made them
    torch.manual_seed(0)  # of the first credit
    with pytest.raises(ArithmeticError):
        rule.credit(x, y)
    got = {key: p.grad for key, p in net.named_parameters()}
    if rule.claims.locking == "none":
        reached = set(below(rule, 2)) - without_gradient(rule)
        assert same(want, got, reached) and reached and all(got[key] is not None for key in reached)
    elif rule.claims.updates == 1:  # half a gradient may be there
        assert all(gradient is None for gradient in got.values())


def test_forward_locking_ignores_the_way_down(name):
    """Only a rule locked backward lets a layer's gradient pass by the activity of the layer above (see ``signal``)."""
    x, y = batch()
    rule = make(name, net_of(name), x)
    skip_where_noise_teaches(rule, x, y)
    if rule.claims.locking == "backward" and (set(rule.claims.learns) - {"feedback"} or rule.family == "target"):
        pytest.skip(
            "sends targets, or by parameters of its own: its signal passes where slopes do not let a gradient pass"
        )
    with torch.no_grad():
        rule.layers[1].synapse.bias.fill_(100.0)  # tanh is flat there: nothing passes layer 1 from above
    got = credit(rule, x, y)
    first = [got[key] for key in below(rule, 1)]
    if rule.claims.signal == "none":
        assert all((got[key] is None) == (key in without_gradient(rule)) for key in below(rule, 1))
    else:
        assert all(gradient.abs().max() < 1e-12 for gradient in first) == (rule.claims.locking == "backward")
        assert (rule.claims.signal == "layerwise") == (rule.claims.locking == "backward")


def test_signal(name):
    """target: outputs do not matter.  error: no error, no signal.  none: no gradient.  layerwise: see above.  loss:
    outputs matter, and where there is no error, what the loss does a step away."""
    x, y = batch()
    rule = make(name, net_of(name), x, loss="mse")
    names = below(rule, 2)
    before = credit(rule, x, y)
    if rule.claims.signal == "none" and rule.claims.labels:
        assert all(before[key] is None for key in names)
        pytest.skip("claims no signal, and nothing came")
    with torch.no_grad():
        right = rule(x)
    try:
        no_error = credit(rule, x, right)
    except Refused as error:
        pytest.skip(f"refuses targets without an error: {error}")
    names = [key for key in names if before[key] is not None]
    rest = 0.0 if rule.claims.inference == "net" else 0.75  # of a state that has not quite settled when it is nudged
    silent = all(no_error[key].abs().max() < 1e-15 + rest * before[key].abs().max() for key in names)
    with torch.no_grad():
        rule.layers[-1].synapse.weight.mul_(-3.0)
        rule.layers[-1].synapse.bias.add_(1.0)
    independent = same(before, credit(rule, x, y), names)
    alone, heard = rule.claims.signal in ("target", "none"), rule.claims.signal == "loss"
    assert (independent, silent) == ((True, False) if alone else (False, not heard))


def test_labels(name):
    """A rule that needs labels sees them; one that does not could not, but for the readout at the end of its net."""
    x, y = batch()
    rule = make(name, net_of(name), x)
    told, otherwise = credit(rule, x, y), credit(rule, x, (y + 1) % CLASSES)
    assert differ(told, otherwise)
    if not rule.claims.labels:
        assert not differ(told, otherwise, below(rule, 2))
        assert same(told, credit(rule, x, None), below(rule, 2))


def test_passes(name):
    """How many batches of rows go through the layer that sees most; a column a class is no pass."""
    events = []
    x, y = batch()
    rule = make(name, net_of(name, events), x)
    credit(rule, x, y)
    rows = [sum(n for kind, at, n in events if (kind, at) == ("forward", level) and n >= N) for level in (0, 1, 2)]
    assert max(rows) == N * rule.claims.passes


def test_updates(name):
    """How often a layer is announced in a batch."""
    x, y = batch()
    rule = make(name, net_of(name), x)
    seen = []
    credit(rule, x, y, seen.append)
    assert seen and all(sum(other is layer for other in seen) == rule.claims.updates for layer in seen)


@pytest.mark.parametrize("part", ["inlet", "activation"])
def test_trains(name, part):
    """Parameters of norms get a gradient where the rule says so, and elsewhere the net is refused."""
    torch.manual_seed(0)
    inlet = [nn.Flatten(), nn.LayerNorm(6)] if part == "inlet" else []
    activation = [nn.LayerNorm(CLASSES)] if part == "activation" else []
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), *inlet, nn.Linear(6, CLASSES), *activation).double()
    x, y = batch()
    if part not in RULES[name].claims.trains:
        with pytest.raises(Refused, match=f"LayerNorm in the {part}"):
            make(name, net, x)
        return
    got = credit(make(name, net, x), x, y)
    norms = [key for key, module in net.named_modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 1 and all(got[f"{norms[0]}.{p}"].abs().max() > 0 for p in ("weight", "bias"))


@pytest.mark.parametrize("part", ["inlet", "activation"])
def test_trains_in_hidden_layers(name, part):
    """The same in the first layer, whose signal comes another way than the output's."""
    torch.manual_seed(0)
    inlet, activation = ([nn.LayerNorm(5)], []) if part == "inlet" else ([], [nn.LayerNorm(6)])
    net = nn.Sequential(*inlet, nn.Linear(5, 6), *activation, nn.Tanh(), nn.Linear(6, CLASSES)).double()
    rule = RULES[name]
    if part not in rule.claims.trains or rule.claims.signal == "none":
        pytest.skip("claims no gradient there")
    x, y = batch()
    got = credit(make(name, net, x), x, y)
    norm = next(key for key, module in net.named_modules() if isinstance(module, nn.LayerNorm))
    assert all(got[f"{norm}.{p}"].abs().max() > 0 for p in ("weight", "bias"))


def test_inference(name):
    """net: calling the rule is calling the net.  own: it answers something else."""
    x, _ = batch()
    rule = make(name, net_of(name), x).eval()
    with torch.no_grad():
        assert torch.equal(rule(x), rule.net(x)) == (rule.claims.inference == "net")


def test_draws(name):
    """Whether one credit, without dropout, moves torch's random stream."""
    x, y = batch()
    rule = make(name, net_of(name), x)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    rule.credit(x, y)
    assert torch.equal(torch.get_rng_state(), before) != rule.claims.draws


def test_averages(name):
    """Whether the gradient of a batch is the mean of those of its halves: two processes then learn as one."""
    x, y = batch()
    rule = make(name, net_of(name), x).eval()
    skip_where_noise_teaches(rule, x, y)
    whole, halves = credit(rule, x, y), [credit(rule, x[i::2], y[i::2]) for i in (0, 1)]
    mean = {key: None if g is None else (halves[0][key] + halves[1][key]) / 2 for key, g in whole.items()}
    assert differ(whole, mean) != rule.claims.averages


def test_learns(name):
    """The rule's own parameters are those of the attributes that it names, and get a gradient from a credit."""
    x, y = batch()
    rule = make(name, net_of(name, depth=4), x)
    own = {key: p for key, p in rule.named_parameters() if not key.startswith("net.")}
    assert {key.partition(".")[0] for key in own} == set(rule.claims.learns)
    rule.credit(x, y)
    assert all(p.grad is not None for p in own.values())


def test_inside(name):
    """none: autograd is not asked for anything in a net of closed forms."""
    x, y = batch()
    rule = make(name, suited(name, nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()), x)
    with torch.autograd.graph.saved_tensors_hooks(pack_fails, lambda kept: kept):
        if rule.claims.inside == "backprop":
            with pytest.raises(AssertionError):
                rule.credit(x, y)
        else:
            rule.credit(x, y)


def pack_fails(kept):
    raise AssertionError("a graph was built")


def test_views_and_limits_are_data(name):
    """One input a sample unless said otherwise, and a limit in words."""
    claims = RULES[name].claims
    assert claims.views >= 1 and isinstance(claims.is_backprop_when, str) and isinstance(claims.learns, tuple)
