"""Nets written as ordinary modules: a chain is cut as the nn.Sequential of the same modules, anything else refused."""

import copy
import os
import pickle
import signal

import pytest
import torch
from helpers import OPTIONS, assert_same, credit, gradients, skip_other_units
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import RULES, Backprop, Layer, Refused, layers
from altprop.limits import Interrupted
from altprop.run.experiment import fit, load, resume_run
from altprop.run.recipe import RunError


class LeNet(nn.Module):
    """Functions between modules."""

    p, size = 0.0, (1, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 2)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), (2, 2))
        x = F.leaky_relu(self.fc1(torch.flatten(x, 1)), 0.1)
        return self.fc2(F.dropout(x, self.p, training=self.training))

    def sequence(self):
        return nn.Sequential(
            self.conv1, nn.ReLU(), nn.MaxPool2d(2), self.conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            self.fc1, nn.LeakyReLU(0.1), nn.Dropout(self.p), self.fc2,
        )  # fmt: skip


class Dropping(LeNet):
    p = 0.5


class VGG(nn.Module):
    """features, pool, classifier; a block of its own class, which is a chain too."""

    size = (2, 8, 8)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(Block(2, 3), nn.MaxPool2d(2), Block(3, 4), nn.MaxPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x):
        x = self.pool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))

    def sequence(self):
        one, pool, two, last = self.features
        parts = [one.conv, nn.Tanh(), pool, two.conv, nn.Tanh(), last]
        return nn.Sequential(*parts, self.pool, nn.Flatten(), *self.classifier)


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x):
        return self.conv(x).tanh()


class MLP(nn.Module):
    """A list of layers in a loop, an own activation, a normalisation."""

    size = (5,)

    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(5, 7), nn.Linear(7, 6)])
        self.norm, self.act, self.head = nn.LayerNorm(6, elementwise_affine=False), Swish(), nn.Linear(6, 3)

    def forward(self, x):
        for layer in self.hidden:
            x = self.act(layer(x))
        return self.head(self.norm(x))

    def sequence(self):
        one, two = self.hidden
        return nn.Sequential(one, self.act, two, self.act, self.norm, self.head)


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


CHAINS = {"lenet": LeNet, "dropout": Dropping, "vgg": VGG, "mlp": MLP}


def pair(kind):
    """(the module, the nn.Sequential of the same modules' copies, x, y)."""
    torch.manual_seed(0)
    net = CHAINS[kind]().double()
    x = torch.rand(4, *net.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return net, copy.deepcopy(net).sequence(), x, torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("name", RULES)
def test_a_chain_learns_as_its_sequence_does(name, kind):
    """To the bit, in train mode with its dropout and in eval mode without, whoever sets the mode."""
    net, sequence, x, y = pair(kind)
    skip_other_units(name, net)
    chain, want = (RULES[name](module, example=x[:1], **OPTIONS.get(name, {})) for module in (net, sequence))
    assert [p.shape for p in chain.net.parameters()] == [p.shape for p in want.net.parameters()]
    for turn in (lambda rule: rule, lambda rule: rule.net.eval(), lambda rule: rule.train(), lambda rule: rule.eval()):
        turn(chain), turn(want)
        got, expected = credit(chain, x, y), credit(want, x, y)
        for one, other in zip(got.values(), expected.values(), strict=True):
            assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
        assert torch.equal(chain.train(False)(x), want.train(False)(x))
        chain.train(), want.train()


def test_the_net_stays_the_users():
    """Names in its state_dict, hooks, modes and attributes: looking at a forward changes nothing."""
    net = Dropping()
    net.conv2.eval()
    keys, modes, own = [*net.state_dict()], [m.training for m in net.modules()], set(vars(net))
    rule = Backprop(net, example=torch.rand(1, 1, 12, 12))
    assert [*net.state_dict()] == keys and [m.training for m in net.modules()] == modes and set(vars(net)) == own
    assert [key.removeprefix("net.") for key in rule.state_dict()] == keys
    assert all(type(module.training) is bool for module in rule.modules())
    assert [layer.name for layer in rule.layers] == ["conv1", "conv2", "fc1", "fc2"]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))], ids=["copy", "pickle"])
def test_a_copy_drops_where_its_own_net_trains(way):
    """A dropout that still looked at the first net would follow that one's mode."""
    net, _, x, y = pair("dropout")
    rule = Backprop(net, example=x)
    other = way(rule)
    rule.net.eval()
    assert not torch.equal(credit(other, x, y, seed=1)["fc2.weight"], credit(other, x, y, seed=2)["fc2.weight"])
    assert torch.equal(credit(rule, x, y, seed=1)["fc2.weight"], credit(rule, x, y, seed=2)["fc2.weight"])


def test_a_dropout_that_was_set_to_eval_mode_stays_so():
    """As an nn.Dropout does, until the rule is set to train mode again."""
    net, _, x, y = pair("dropout")
    rule = Backprop(net, example=x)
    rule.layers[2].activation.eval()
    first = credit(rule, x, y, seed=1)
    assert torch.equal(first["fc2.weight"], credit(rule, x, y, seed=2)["fc2.weight"])
    assert not torch.equal(first["fc2.weight"], credit(rule.train(), x, y, seed=2)["fc2.weight"])


def test_modules_of_cuts_by_hand_follow_the_rule():
    """A dropout that no net holds would drop while the net is evaluated."""
    net = LeNet()
    cuts = layers(net.sequence())
    rule = Backprop(net, example=torch.rand(1, 1, 12, 12), cuts=cuts).eval()
    assert not any(module.training for layer in rule.layers for part in layer.activation for module in part.modules())


def of(forward, **modules):
    """A module of that forward."""

    def build(self):
        nn.Module.__init__(self)
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(32, 3)
        for name, module in modules.items():
            setattr(self, name, module)

    return type("Own", (nn.Module,), {"__init__": build, "forward": forward})()


RESHAPED = {
    "view size": lambda x: x.view(x.size(0), -1), "view size()": lambda x: x.view(x.size()[0], 32),
    "view shape": lambda x: x.view(x.shape[0], -1), "view len": lambda x: x.view(len(x), -1),
    "view -1": lambda x: x.view(-1, 32), "view product": lambda x: x.view(-1, x.size(1) * x.size(2) * x.size(3)),
    "reshape": lambda x: x.reshape(x.shape[0], -1), "torch.reshape": lambda x: torch.reshape(x, (len(x), -1)),
    "flatten": lambda x: x.flatten(1), "torch.flatten": lambda x: torch.flatten(x, start_dim=1),
    "twice": lambda x: x.view(-1, 2, 16).flatten(1), "contiguous": lambda x: x.contiguous().view((-1, 32)),
}  # fmt: skip


@pytest.mark.parametrize("way", RESHAPED)
def test_every_way_to_flatten_is_one(way):
    """Samples stay apart, whatever says how many there are."""
    torch.manual_seed(0)
    net = of(lambda self, x: self.fc(RESHAPED[way](torch.relu(self.conv(x))))).double()
    x, y = torch.rand(4, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    rule = Backprop(net, example=x)
    assert [type(module).__name__ for module in rule.layers[1].inlet][-1] == "Flatten"
    got = credit(rule, x, y)
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    assert_same(got, gradients(net), 1e-12)


def test_a_whole_batch_flattened_is_no_batch():
    """torch.flatten(x) without a start takes the samples too; an nn.Flatten would not."""
    net = of(lambda self, x: self.fc(torch.flatten(self.conv(x))))
    with pytest.raises(Refused, match=r"layer 'fc' .* does not take its input"):
        Backprop(net, example=torch.rand(2, 1, 6, 6))


def test_a_forward_that_mixes_samples_up_is_refused():
    """An example of one sample would not show it."""
    net = of(lambda self, x: self.fc(self.mixed(self.conv(x).flatten(1))), mixed=Mixed())
    with pytest.raises(Refused, match="do not compute what the net does"):
        cuts = [Layer(nn.Identity(), net.conv, nn.Identity()), Layer(nn.Flatten(), net.fc, nn.Identity())]
        Backprop(net, example=torch.rand(1, 1, 6, 6), cuts=cuts)


class Mixed(nn.Module):
    def forward(self, x):
        return x + x.sum(0) * (len(x) > 1)


FUNCTIONS = {
    "F.relu": (F.relu, nn.ReLU()), "relu_": (lambda x: x.relu_(), nn.ReLU()), "F.relu_": (F.relu_, nn.ReLU()),
    "inplace": (lambda x: F.relu(x, inplace=True), nn.ReLU()), "tanh": (torch.tanh, nn.Tanh()),
    "sigmoid": (lambda x: x.sigmoid(), nn.Sigmoid()), "silu": (F.silu, nn.SiLU()), "F.elu": (F.elu, nn.ELU()),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), nn.LeakyReLU(0.3)), "relu6": (F.relu6, nn.ReLU6()),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")), "mish": (F.mish, nn.Mish()),
    "hardtanh": (lambda x: F.hardtanh(x, -0.1, 0.1), nn.Hardtanh(-0.1, 0.1)), "selu": (F.selu, nn.SELU()),
    "softplus": (lambda x: F.softplus(x, beta=2), nn.Softplus(2)), "softmax": (lambda x: x.softmax(1), nn.Softmax(1)),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 1, 1), nn.MaxPool2d(3, 1, 1)),
    "ceil": (lambda x: F.max_pool2d(x, 2, stride=1, padding=1, ceil_mode=True)[:, :, :4, :4], None),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 1, 1), nn.AvgPool2d(3, 1, 1)),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, 4), nn.AdaptiveAvgPool2d(4)),
    "no dropout": (lambda x: F.dropout(x, 0.5, training=False), nn.Identity()),
    "own relu": (lambda x: x.clamp(min=0), None), "mean": (lambda x: x - x.mean((2, 3), keepdim=True), None),
    "layer_norm": (lambda x: F.layer_norm(x, (4, 4)), None), "group_norm": (lambda x: F.group_norm(x, 2), None),
    "softmax in": (lambda x: F.softmax(x, 1, dtype=torch.float64), None), "squared": (lambda x: x * x, None),
    "similar": (lambda x: F.cosine_similarity(x, x), None), "noise": (lambda x: F.alpha_dropout(x, 0.5, True), None),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_module_of_its_name(name):
    """With its arguments, in its own order; a function that no module stands for is refused."""
    function, module = FUNCTIONS[name]
    torch.manual_seed(0)
    net = of(lambda self, x: self.fc(function(self.conv(x)).flatten(1)))
    x = torch.rand(4, 1, 6, 6)
    if module is None:
        with pytest.raises(Refused, match=r"node '\w+' \((function|method)|parameters that are not the net's"):
            Backprop(net, example=x)
        return
    rule = Backprop(net, example=x)
    want = Backprop(nn.Sequential(net.conv, module, nn.Flatten(), net.fc), example=x)
    y = torch.tensor([0, 1, 2, 1])
    assert credit(rule, x, y)["conv.weight"].equal(credit(want, x, y)["0.weight"])


class ResBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)) + x)


def branches(self, x):
    return self.fc(x.flatten(1)) if x.sum() > 0 else x


def loops(self, x):
    for row in x:
        x = x + row
    return x


def by_mode(self, x):
    x = self.conv(x)
    return self.fc((F.relu(x) if self.training else x).flatten(1))


OTHERS = {
    "resnet": (lambda self, x: self.fc(self.block(self.conv(x)).flatten(1)), "node 'add' .function add. does not"),
    "branches": (branches, "branches or loops on values"), "loops": (loops, "branches or loops on values"),
    "mode": (by_mode, "branches or loops on values"),
    "parameter": (lambda self, x: self.fc(self.conv(x).flatten(1)) * self.scale, "'scale' .parameter or buffer scale."),
    "buffer": (lambda self, x: self.fc(self.conv(x - self.mean).flatten(1)), "'mean' .parameter or buffer mean."),
    "own tensor": (lambda self, x: self.fc(self.conv(x + torch.ones(1)).flatten(1)), "_tensor_constant0"),
    "always": (lambda self, x: self.fc(F.dropout(self.conv(x)).flatten(1)), "drops in eval mode too.*self.training"),
    "two inputs": (lambda self, x, z: self.fc(self.conv(x + z).flatten(1)), "node 'z' .input z."),
    "tuple": (lambda self, x: (self.fc(self.conv(x).flatten(1)), x), "node 'output'"),
    "dict": (lambda self, x: {"out": self.fc(self.conv(x).flatten(1))}, "node 'output'"),
    "lstm": (lambda self, x: self.fc(self.lstm(x)[0].flatten(1)), r"'lstm' \(LSTM\): a recurrent module"),
    "shared": (lambda self, x: self.fc(self.same(self.same(self.conv(x))).flatten(1)), "share a parameter"),
    "unused": (lambda self, x: self.fc(x.view(-1, 32)), "leave out parameters of the net, conv.weight"),
    "fixed batch": (lambda self, x: self.fc(self.conv(x).view(1, -1)), "node 'view'"),
    "all in one": (lambda self, x: self.fc(self.conv(x).view(-1)), "node 'view'"),
    "regrouped": (lambda self, x: self.fc((x := self.conv(x)).view(x.size(1), -1)), "node 'view' .method"),
    "mixed up": (lambda self, x: self.fc(self.conv(x).view(-1, 16).view(-1, 2, 32)[:, 0]), "node 'getitem'"),
    "broken": (lambda self, x: self.fc(self.missing(x)), "cannot run so .*missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_chain_is_refused_by_the_first_node_that_is_none(kind):
    """And told what to do, in one line."""
    forward, why = OTHERS[kind]
    extra = {"resnet": {"block": ResBlock()}, "lstm": {"lstm": nn.LSTM(6, 8)}}.get(kind, {})
    extra |= {
        "parameter": {"scale": nn.Parameter(torch.ones(1))},
        "shared": {"same": nn.Conv2d(2, 2, 1)},
    }.get(kind, {})
    net = of(forward, **extra)
    if kind == "buffer":
        net.register_buffer("mean", torch.zeros(1))
    own = set(vars(net))
    with pytest.raises(Refused, match=why) as told:
        Backprop(net, example=torch.rand(3, 1, 6, 6))
    assert len(str(told.value)) <= 300 and "\n" not in str(told.value) and set(vars(net)) == own
    if "no chain" in str(told.value):
        assert "cuts=[Layer(" in str(told.value) and "altprop.align" in str(told.value)


def test_a_net_of_tuples_is_named_where_cuts_are_given():
    """Its second output has no target."""
    net = of(lambda self, x: (self.fc(self.conv(x).flatten(1)), x))
    cuts = [Layer(nn.Identity(), net.conv, nn.Identity()), Layer(nn.Flatten(), net.fc, nn.Identity())]
    with pytest.raises(Refused, match="Own returns a tuple, where one tensor is wanted"):
        Backprop(net, example=torch.rand(1, 1, 6, 6), cuts=cuts)


class Twin(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 6)

    def forward(self, x):
        return self.linear(x), x


@pytest.mark.parametrize("part", ["synapse", "activation", "inlet"])
def test_a_module_that_returns_a_tuple_is_named(part):
    """torch would say that a tuple has no attribute shape."""
    pair = type("Pair", (nn.Module,), {"forward": lambda self, x: (x, x)})()
    nets = {
        "synapse": [Twin(), nn.Linear(6, 3)], "activation": [nn.Linear(5, 6), pair, nn.Linear(6, 3)],
        "inlet": [pair, nn.Linear(5, 3)],
    }  # fmt: skip
    with pytest.raises(Refused, match=r"(Twin|Pair) returns a tuple, where one tensor is wanted"):
        Backprop(nn.Sequential(*nets[part]), example=torch.zeros(1, 5))


# ------------------------------------------------------------------------------------------ runs


class Residual(nn.Module):
    """No chain, with its cuts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.head(x + self.inner(x))

    def cuts(self):
        one = nn.Identity()
        return [Layer(one, self.first, nn.Tanh(), "first"), Layer(one, Sum(self.inner), one, "inner"),
                Layer(one, self.head, one, "head")]  # fmt: skip


class Sum(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Chain(Residual):
    def forward(self, x):
        return self.head(self.inner(torch.tanh(self.first(x))))

    def cuts(self):
        return None


def task():
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("kind", [Residual, Chain])
@pytest.mark.parametrize("rule", ["bp", "dfa", "fa"])
def test_fit_trains_a_module_of_ones_own(rule, kind, tmp_path):
    """Beside its cuts where it is no chain; load and resume take them too, and go on to the bit."""

    def stop(epoch, epochs, batch, batches, loss):
        if (epoch, batch) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)

    net, other, third = kind(), kind(), kind()
    settings = {"epochs": 3, "batch": 8, "lr": 0.1}
    whole = fit(rule, net, task(), cuts=net.cuts(), out=tmp_path / "whole", **settings)
    assert whole.test_accuracy > 0.7
    loaded = load(tmp_path / "whole", net=other, cuts=other.cuts())
    assert all(torch.equal(a, b) for a, b in zip(loaded.net.parameters(), net.parameters(), strict=True))
    assert [*loaded.net.state_dict()] == [*net.state_dict()]
    with pytest.raises(Interrupted):
        fit(rule, third, task(), cuts=third.cuts(), out=tmp_path / "parts", progress=stop, **settings)
    fourth = kind()
    again = resume_run(tmp_path / "parts", net=fourth, data=task(), cuts=fourth.cuts())
    assert all(torch.equal(a, b) for a, b in zip(again.net.parameters(), net.parameters(), strict=True))


def test_cuts_without_their_net_are_refused():
    """A spec string builds a net of its own."""
    with pytest.raises(RunError, match="cuts came without the net"):
        altprop.fit("bp", "6-5-2", task(), cuts=Residual().cuts(), epochs=1)
