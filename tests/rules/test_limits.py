"""Where theory says that one rule is another: exact limits, in float64."""

import pytest
import torch
from helpers import (
    CLASSES,
    LOSSES,
    assert_same,
    backward,
    cnn,
    credit,
    hidden,
    inputs,
    labels,
    loss_of,
    make,
    mlp,
    strided,
)  # fmt: skip
from torch import nn
from torch.nn import functional as F

from altprop import RULES, Layer, Refused

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


class Block(nn.Module):
    """A residual block, as one synapse."""

    def __init__(self, n):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 9), nn.Linear(9, n)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


def deep_cnn():
    """Norms before and after pooling, dropout of both kinds, a pool at the end of the features."""
    return nn.Sequential(
        nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(0.3),
        nn.Conv2d(4, 3, 2, padding="same"), nn.GELU(), nn.Dropout(0.3), nn.AvgPool2d(3), nn.Flatten(),
        nn.LayerNorm(3), nn.Linear(3, 5), nn.PReLU(), nn.Linear(5, CLASSES),
    ).double()  # fmt: skip


def residual():
    return nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), Block(6), nn.Dropout(0.3), Block(6), nn.SiLU(), nn.Linear(6, CLASSES)
    ).double()


def all_convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ELU(), nn.Conv2d(4, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()


NETS = {
    "mlp": lambda: mlp(3, p=0.4), "linear": lambda: mlp(1), "cnn": lambda: cnn(p=0.4),
    "strided": lambda: strided(p=0.4),
    "deep_cnn": deep_cnn, "residual": residual, "all_convolutional": all_convolutional,
}  # fmt: skip


def net_and_batch(kind):
    torch.manual_seed(0)
    net = NETS[kind]()
    x = torch.randn(4, 2, 6, 6).double() if any(isinstance(m, nn.Conv2d) for m in net) else torch.randn(4, 5).double()
    return net, x, labels()


def only_hidden(got, net):
    return {name: got[name] for name in hidden(net)}


def with_error(rule, error):
    """The rule, told another error than that of its output."""
    plain = rule.output_error
    rule.output_error = lambda output, t: (plain(output, t)[0], error(t))
    return rule


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", NETS)
def test_bp_is_autograd(kind, loss):
    """The yardstick itself: any module that the local arithmetic gets wrong."""
    net, x, y = net_and_batch(kind)
    rule = make("bp", net, x, loss=loss)
    assert_same(credit(rule, x, y), backward(net, x, y, loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_torch(loss):
    """A loss that trains by one scale and reports by another."""
    net, x, y = net_and_batch("mlp")
    net.eval()
    torch.testing.assert_close(make("bp", net, x, loss=loss).credit(x, y), loss_of(net(x), y, loss).detach())


def test_bp_of_channel_dropout_on_rows_is_autograd():
    """On (N, C) torch's Dropout1d takes the rows for channels: whatever one thinks of that, the masks are torch's."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout1d(0.5), nn.Linear(6, CLASSES)).double()
    x, y = inputs(net), labels()
    assert_same(credit(make("bp", net, x), x, y), backward(net, x, y))


def test_bp_of_targets_that_are_no_distribution_is_autograd_or_refused():
    """softmax(z) - t is the slope of the cross entropy only where the rows of t sum to one."""
    net = mlp(2)
    x, t = inputs(net), torch.tensor([[1, 1, 0], [0, 0, 0], [2, 0, 0], [0, 1, 1]]).double()
    try:
        got = credit(make("bp", net, x), x, t)
    except Refused:
        return
    net.zero_grad()
    F.cross_entropy(net(x), t).backward()
    assert_same(got, {key: p.grad for key, p in net.named_parameters()})


@pytest.mark.parametrize("kind", ["mlp", "cnn", "strided", "deep_cnn", "all_convolutional"])
def test_fa_with_the_forward_weights_is_bp(kind):
    """A transposed, flipped or misplaced feedback matrix."""
    net, x, y = net_and_batch(kind)
    rule = make("fa", net, x)
    for index, layer in enumerate(rule.layers[1:]):
        rule.feedback[index] = layer.synapse.weight
    assert_same(credit(rule, x, y), backward(net, x, y))


@pytest.mark.parametrize("name", ["dfa", "ifa"])
def test_direct_feedback_of_two_layers_with_the_forward_weights_is_bp(name):
    """With one hidden layer and D = W_2 there is no difference left."""
    net = mlp(2, p=0.3)
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    rule.feedback[0] = net[-1].weight
    assert_same(credit(rule, x, y), backward(net, x, y))


def test_dfa_of_linear_layers_with_the_product_of_the_weights_is_bp():
    """D_l = W_L ... W_{l+1}: the rows of D are the classes."""
    net = mlp(4, nn.Identity)
    x, y = inputs(net), labels()
    rule = make("dfa", net, x)
    product = torch.eye(CLASSES).double()
    for level in range(len(rule.layers) - 2, -1, -1):
        product = product @ rule.layers[level + 1].synapse.weight
        rule.feedback[level] = product
    assert_same(credit(rule, x, y), backward(net, x, y))


def test_ifa_of_two_layers_is_dfa():
    """The one matrix of IFA is the first of DFA, from the same seed."""
    net = cnn(p=0.3)
    x, y = inputs(net), labels()
    assert_same(credit(make("ifa", net, x, seed=3), x, y), credit(make("dfa", net, x, seed=3), x, y), 1e-14)


@pytest.mark.parametrize("kind", [mlp, strided])
def test_ifa_is_the_forward_derivative_of_the_activity(kind):
    """delta_l = f'(a_l) J_l[delta_0], by torch.func.jvp from the first activity upwards."""
    net = kind(3) if kind is mlp else kind()
    x, y = inputs(net), labels()
    rule = make("ifa", net, x)
    got = credit(rule, x, y)
    first, second = rule.layers[:2]
    with torch.no_grad():
        e = (net(x).softmax(1) - F.one_hot(y, CLASSES)) / len(x)
        a = first.synapse(first.inlet(x))
        injected = (e @ rule.feedback[0].flatten(1)).view_as(a)
    _, delta = torch.func.jvp(first.activation, (a,), (injected,))
    _, above = torch.func.jvp(lambda h: second(h), (first.activation(a),), (delta,))
    torch.testing.assert_close(
        got[f"{first.name}.bias"], delta.flatten(2).sum((0, 2)) if delta.dim() > 2 else delta.sum(0)
    )
    torch.testing.assert_close(
        got[f"{second.name}.bias"], above.flatten(2).sum((0, 2)) if above.dim() > 2 else above.sum(0)
    )


def test_drtp_is_dfa_whose_error_is_the_target():
    """The same path, another messenger."""
    net = cnn()
    x, y = inputs(net), labels()
    drtp, dfa = make("drtp", net, x, seed=3), with_error(make("dfa", net, x, seed=3), lambda t: t)
    assert_same(only_hidden(credit(drtp, x, y), net), only_hidden(credit(dfa, x, y), net), 1e-16)


def test_drtp_reads_the_rows_of_its_labels_only():
    """Rows of classes that are not in the batch may be anything."""
    net = mlp(3)
    x, y = inputs(net), torch.tensor([0, 2, 0, 2])
    rule = make("drtp", net, x)
    before = credit(rule, x, y)
    for index, D in enumerate(rule.feedback):
        rule.feedback[index] = D.index_fill(0, torch.tensor([1]), 1e6)
    assert_same(credit(rule, x, y), before, 0)
    rule.feedback[0] = rule.feedback[0].index_fill(0, torch.tensor([2]), 1.0)
    assert not torch.equal(credit(rule, x, y)["1.weight"], before["1.weight"])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_sdfa_of_outputs_in_0_1_is_the_sum_of_rows_minus_twice_the_target_row(loss):
    """The sign of y_hat - t is known before the output is: sDFA needs no forward pass here."""
    net = mlp(3)
    x, y = inputs(net), labels()
    sdfa, dfa = make("sdfa", net, x, loss=loss, seed=3), with_error(make("dfa", net, x, seed=3), lambda t: 1 - 2 * t)
    assert_same(only_hidden(credit(sdfa, x, y), net), only_hidden(credit(dfa, x, y), net), 1e-12)


def test_shallow_is_the_output_layer_of_bp():
    """And nothing below."""
    net, x, y = net_and_batch("deep_cnn")
    want = backward(net, x, y)
    torch.manual_seed(0)
    net, _, _ = net_and_batch("deep_cnn")
    got = credit(make("shallow", net, x), x, y)
    top = {name for name in got if name.split(".")[0] == "14"}
    assert_same(got, {name: want[name] if name in top else None for name in want})


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("presynaptic", ["modulated", "standard"])
def test_pepita_without_feedback_learns_nothing_below_the_output(kind, presynaptic):
    """F = 0 makes the passes equal, dropout included."""
    net, x, y = net_and_batch(kind)
    got = credit(make("pepita", net, x, presynaptic=presynaptic, scale=0.0), x, y)
    want = credit(make("shallow", net, x), x, y)
    for name in hidden(net):
        assert got[name].abs().max() < 1e-15
    assert_same(
        {n: g for n, g in got.items() if n not in hidden(net)}, {n: want[n] for n in got if n not in hidden(net)}, 1e-12
    )


def test_small_pepita_is_a_forward_derivative():
    """(h^m - h) / eps -> J_l[e F], with an error of first order in eps."""
    net = mlp(4)
    x, y = inputs(net, 5), labels(5)
    rule = make("pepita", net, x, presynaptic="standard", scale=1.0)
    F1 = rule.feedback[0].clone()
    with torch.no_grad():
        e = net(x).softmax(1) - F.one_hot(y, CLASSES)
    want = {}
    for level, layer in enumerate(rule.layers[:-1]):
        upto = nn.Sequential(*[nn.Sequential(v.inlet, v.synapse, v.activation) for v in rule.layers[: level + 1]])
        _, tangent = torch.func.jvp(upto, (x,), (e @ F1,))
        presynaptic = nn.Flatten()(x) if level == 0 else upto[:-1](x)
        want[f"{layer.name}.weight"] = (-tangent.T @ presynaptic / len(x)).detach()
    errors = []
    for eps in (1e-2, 1e-3, 1e-4):
        rule.feedback[0] = eps * F1
        got = credit(rule, x, y)
        errors.append([((got[n] / eps - w).norm() / w.norm()).log10().item() for n, w in want.items()])
    errors = torch.tensor(errors)
    slopes = errors[:-1] - errors[1:]
    assert ((slopes > 0.9) & (slopes < 1.1)).all(), slopes


@pytest.mark.parametrize(
    "options", [{}, {"sign": -1}, {"presynaptic": "standard"}, {"output_error": "modulated"}], ids=str
)
@pytest.mark.parametrize("n", [2, 5])
def test_pepita_of_one_by_one_images_is_the_linear_rule(options, n):
    """A 1 x 1 convolution of one pixel is a matrix; so is a Linear on rows of length 1."""
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv2d(5, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Tanh(), nn.Flatten(), nn.Linear(4, CLASSES)
    ).double()
    linear = nn.Sequential(
        nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4, CLASSES)
    ).double()
    linear.load_state_dict({k: v.flatten(1) if v.dim() == 4 else v for k, v in conv.state_dict().items()})
    x, y = torch.randn(n, 5).double(), labels(n)
    left = credit(make("pepita", conv, x[..., None, None], scale=1.0, **options), x[..., None, None], y)
    right = credit(make("pepita", linear, x, scale=1.0, **options), x, y)
    assert_same({name: g.flatten(1) if g.dim() == 4 else g for name, g in left.items()}, right, 1e-12)


@pytest.mark.parametrize("name", ["bp", "fa", "dfa", "ifa", "drtp", "pepita"])
def test_a_linear_on_sequences_is_a_convolution_of_length_one(name):
    """Positions of a sequence are counted as those of a map are."""
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv1d(4, 5, 1), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, CLASSES)
    ).double()
    x, y = torch.randn(4, 4, 6).double(), labels()
    left = make(name, conv, x)

    class Mean(nn.Module):
        def forward(self, h):
            return h.mean(1)

    linear = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), Mean(), nn.Linear(5, CLASSES)).double()
    linear.load_state_dict(
        {k.replace("4.", "3."): v.squeeze(-1) if v.dim() == 3 else v for k, v in conv.state_dict().items()}
    )
    cuts = [Layer(nn.Identity(), linear[0], linear[1], "0"), Layer(linear[2], linear[3], nn.Identity(), "3")]
    xt = x.transpose(1, 2).contiguous()
    right = RULES[name](linear, example=xt[:1], cuts=cuts)
    for index, D in enumerate(left.feedback):
        right.feedback[index] = D.transpose(1, 2).contiguous() if D.dim() == 3 else D
    got = credit(left, x, y)
    want = {k.replace("3.", "4."): g for k, g in credit(right, xt, y).items()}
    assert_same({k: g.squeeze(-1) if g.dim() == 3 else g for k, g in got.items()}, want, 1e-12)


def test_drtp_theorem():
    """One example, linear hidden layers that begin at zero: the projected target comes to point along e W_L ..."""
    net = mlp(3, nn.Identity, bias=False)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    x, y = inputs(net, 1), labels(1)
    rule = make("drtp", net, x)
    optimizer = torch.optim.SGD(rule.parameters(), lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        rule.credit(x, y)
        optimizer.step()
    with torch.no_grad():
        down = net(x).softmax(1) - F.one_hot(y, CLASSES)
        for level in (1, 0):
            down = down @ rule.layers[level + 1].synapse.weight
            assert torch.cosine_similarity(down, rule.feedback[level][y]) > 0.999


def test_bp_with_a_hook_on_an_activation_is_autograd():
    """A hook that changes the output, on a module that is known in closed form, would go unheard."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    net[1].register_forward_hook(lambda module, inputs, output: output * output)
    x, y = torch.rand(6, 4, dtype=torch.float64), torch.arange(6) % 3
    nn.functional.cross_entropy(net(x), y).backward()
    wanted = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    RULES["bp"](net, example=x[:1]).credit(x, y)
    for parameter, gradient in zip(net.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-12)
