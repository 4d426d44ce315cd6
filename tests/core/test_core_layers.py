"""How nets are cut into layers, and what is refused: the messages are read, for they are all that a user sees."""

import pytest
import torch
from helpers import CLASSES, backward, cnn, credit, differ, inputs, labels, mlp
from torch import nn

from altprop import DFA, DRTP, FA, IFA, PEPITA, RULES, SDFA, Backprop, Layer, Refused, layers
from altprop.core import INITIALISERS, Feedback, draw_feedback, project

CHAIN = [nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES)]


def shape_of(net):
    """[(inlet, synapse, activation)] by the names of the classes."""
    parts = [(layer.inlet, [layer.synapse], layer.activation) for layer in layers(net)]
    return [tuple(" ".join(type(module).__name__ for module in part) for part in layer) for layer in parts]


def refuses(match, net, rule=Backprop, example=None, **options):
    with pytest.raises(Refused, match=match):
        rule(net, example=torch.zeros(1, 5) if example is None else example, **options)


# ---------------------------------------------------------------------------------------------- how a net is cut


def test_an_mlp_is_cut_at_its_linears():
    """Dropout after the nonlinearity belongs below, Flatten above."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3))
    assert shape_of(net) == [("Flatten", "Linear", "ReLU Dropout"), ("", "Linear", "")]
    assert layers(net)[0].synapse is net[1] and layers(net)[1].name == "4"


def test_pooling_opens_the_next_inlet():
    """A signal that entered after the pool would not have the shape of the synapse's output."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(),
                        nn.Linear(12, 3))  # fmt: skip
    assert shape_of(net) == [("", "Conv2d", "BatchNorm2d ReLU"), ("MaxPool2d Dropout Flatten", "Linear", "")]


def test_nested_sequences_are_opened_and_keep_their_path():
    """A nested block taken for one synapse would be trained by backpropagation inside."""
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(nn.ReLU())), nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    )
    assert shape_of(net) == [("", "Conv2d", "ReLU"), ("Flatten", "Linear", "")]
    assert [layer.name for layer in layers(net)] == ["0.0", "1.1"]


def test_trailing_pooling_belongs_to_the_last_layer():
    """All-convolutional nets end in a pool, which has no next layer to open."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert shape_of(net) == [("", "Conv2d", "ReLU"), ("", "Conv2d", "AdaptiveAvgPool2d Flatten")]


def test_norms_are_no_synapse():
    """Before the first synapse in its inlet, after one in its activation."""
    net = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 6), nn.LayerNorm(6), nn.PReLU(), nn.Linear(6, 3))
    assert shape_of(net) == [("BatchNorm1d", "Linear", "LayerNorm PReLU"), ("", "Linear", "")]
    assert [layer.inlet_learns for layer in layers(net)] == [True, False]
    assert {p for layer in layers(net) for p in layer.parameters()} == set(net.parameters())


def test_any_module_with_parameters_is_a_synapse():
    """An unknown block is a layer of its own, not a piece of an activation that nobody trains."""
    net = nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Bilinear(5, 5, 3))
    assert shape_of(net) == [("", "Embedding", ""), ("Flatten", "Bilinear", "")]


@pytest.mark.parametrize("again", [nn.Tanh(), nn.Dropout(0.5), nn.MaxPool1d(2)], ids=lambda m: type(m).__name__)
def test_a_module_that_stands_twice_runs_twice(again):
    """One ReLU object reused, as many nets do, must not vanish from the layers."""
    convolutions = [nn.Conv1d(1, 2, 2), nn.Conv1d(2, 2, 2), nn.Flatten()]
    net = nn.Sequential(convolutions[0], again, convolutions[1], again, convolutions[2])
    x = torch.randn(2, 1, 12)
    torch.manual_seed(0)
    want = h = net(x)
    torch.manual_seed(0)
    h = x
    for layer in layers(net):
        h = layer(h)
    torch.testing.assert_close(h, want)


def test_a_synapse_that_stands_twice_is_refused():
    """Its gradient would be that of one of its places."""
    linear = nn.Linear(5, 5)
    refuses("share a parameter", nn.Sequential(linear, nn.ReLU(), linear, nn.ReLU(), nn.Linear(5, 3)))


def test_cuts_by_hand():
    """A net that is no Sequential, its pool in the activation."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 3, 3), nn.Linear(12, CLASSES)

        def forward(self, x):
            return self.head(nn.functional.max_pool2d(self.conv(x).relu(), 2).flatten(1))

    net = Net().double()
    cuts = [
        Layer(nn.Identity(), net.conv, nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))),
        Layer(nn.Flatten(), net.head, nn.Identity()),
    ]
    x, y = torch.randn(4, 2, 6, 6, dtype=torch.float64), labels()
    got = credit(Backprop(net, example=x, cuts=cuts), x, y)
    assert not differ(got, backward(net, x, y))


# ------------------------------------------------------------------------------------- what cannot be placed


@pytest.mark.parametrize("module,why", [
    (nn.LSTM(5, 6), "recurrent"), (nn.GRU(5, 6), "recurrent"), (nn.RNN(5, 6), "recurrent"),
    (nn.MultiheadAttention(4, 2), "three inputs"), (nn.ModuleList([nn.Linear(5, 6)]), "it has no forward"),
    (nn.ModuleDict({"a": nn.Linear(5, 6)}), "it has no forward"), (nn.LazyLinear(6), "not known yet"),
    (nn.LazyConv2d(6, 3), "not known yet"), (nn.AlphaDropout(), "use nn.Dropout"),
    (nn.FeatureAlphaDropout(), "use nn.Dropout2d"), (nn.RReLU(), "use nn.LeakyReLU"),
], ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "")  # fmt: skip
def test_refused_modules_are_named_by_path_and_class(module, why):
    """A module trained in another way than the rule says."""
    net = nn.Sequential(nn.Linear(5, 5), nn.Sequential(nn.ReLU(), module), nn.Linear(6, 3))
    with pytest.raises(Refused, match=rf"'1\.1' \({type(module).__name__}\): .*{why}"):
        layers(net)


def test_a_net_that_is_no_sequence_is_refused():
    """The order of forward cannot be read off the attributes, not even of a subclass of Sequential: see test_chain."""

    class Backwards(nn.Sequential):
        def forward(self, x):
            return super().forward(x.flip(0))

    refuses(r"Bilinear is no chain of modules: node 'input2'.*cuts=\[Layer", nn.Bilinear(5, 5, 3))
    refuses(r"Backwards is no chain of modules: node 'flip' .method flip.", Backwards(*CHAIN))


def test_a_net_without_parameters_is_refused():
    """Nothing could learn."""
    refuses("no module with parameters.*add an nn.Linear", nn.Sequential(nn.Flatten(), nn.ReLU()))
    refuses("no module with parameters", nn.Sequential())
    refuses("no module with parameters", nn.Sequential(nn.LayerNorm(5)))


def test_shared_parameters_are_refused():
    """Tied weights would be written by two layers that do not know of one another."""
    net = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 3))
    net[2].weight = net[0].weight
    refuses("modules '0' and '2' share a parameter; .*give each its own", net)


def test_wrong_cuts_are_refused():
    """Layers that compute something else than the net would train something else."""
    net = nn.Sequential(*CHAIN)
    first, last = layers(net)
    wrong = Layer(first.inlet, first.synapse, nn.Sequential(nn.ReLU()), "0")
    refuses("do not compute what the net does", net, example=torch.ones(1, 5), cuts=[wrong, last])
    refuses("leave out parameters", net, example=torch.ones(1, 5), cuts=[last])
    refuses("cuts", net, cuts=[])


def test_cuts_out_of_the_net_are_refused():
    """A copy computes the same, and its gradients reach no optimizer."""
    net = nn.Sequential(*CHAIN)
    copy = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    copy.load_state_dict(net.state_dict())
    refuses("cuts", net, cuts=layers(copy))


def test_shapes_that_do_not_fit_name_the_layer():
    """Torch's own message says neither which layer nor which shape."""
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(7, 3))
    refuses(r"layer '2' .*does not take its input of shape \(6,\) a sample", net)
    refuses(r"layer '5' .*input of shape \(3, 8, 8\) a sample", cnn().float(), example=torch.zeros(1, 2, 8, 8))


def test_an_output_that_is_no_row_is_refused():
    """Maps or sequences at the top would be broadcast against labels."""
    refuses(
        r"puts out shape \(3, 4, 4\) a sample.*end the net in an nn.Linear",
        nn.Sequential(nn.Conv2d(2, 3, 3)),
        example=torch.zeros(1, 2, 6, 6),
    )


# ------------------------------------------------------------------------------------------ losses and targets


@pytest.mark.parametrize("head", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_head_that_the_loss_applies_itself_is_refused(head, loss):
    """The commonest silent bug of all: softmax twice."""
    match = rf"ends in {type(head).__name__}, but loss '{loss}' takes logits.*loss='mse'"
    refuses(match, nn.Sequential(*CHAIN, head), loss=loss)
    Backprop(nn.Sequential(*CHAIN, head), example=torch.zeros(1, 5), loss="mse")


def test_a_head_in_cuts_by_hand_is_refused():
    """An activation need not be a Sequential where it is given by hand."""
    net = nn.Sequential(*CHAIN, nn.Softmax(1))
    cuts = [Layer(nn.Identity(), net[0], net[1], "0"), Layer(nn.Identity(), net[2], net[3], "2")]
    refuses("ends in Softmax", net, cuts=cuts)


def test_unknown_names_list_the_known_ones():
    """A typing error that falls back on a default."""
    refuses(
        "unknown loss 'crossentropy'; there are cross_entropy, binary_cross_entropy, mse",
        nn.Sequential(*CHAIN),
        loss="crossentropy",
    )
    refuses(
        "unknown feedback initialiser 'kaiming'; there are he_uniform, .*normal",
        nn.Sequential(*CHAIN),
        DFA,
        init="kaiming",
    )


@pytest.mark.parametrize("y", [torch.tensor([0, 1, 2, 3]), torch.tensor([0, -1, 2, 1])], ids=["too large", "negative"])
def test_bad_labels_are_refused(y):
    """A label that no output stands for."""
    rule = Backprop(mlp(), example=inputs(mlp()))
    with pytest.raises(Refused, match=rf"labels from {y.min()} to {y.max()} came, but the net has 3 outputs: .*0 to 2"):
        rule.credit(inputs(rule.net), y)


def test_bad_targets_are_refused():
    """Targets that torch would broadcast."""
    rule = Backprop(mlp(), example=inputs(mlp()), loss="mse")
    for shape in ((4, 2), (4,), (4, 3, 1)):
        with pytest.raises(
            Refused, match=rf"targets of shape {str(shape)[:-1].replace('(', '.')}.* for 3 outputs: give"
        ):
            rule.credit(inputs(rule.net), torch.zeros(shape))


@pytest.mark.parametrize("y", [torch.tensor([1]), torch.zeros(1, 3), torch.zeros(5, 3), torch.tensor([0, 1])], ids=str)
@pytest.mark.parametrize("n", [1, 4])
def test_another_number_of_targets_than_inputs_is_refused(y, n):
    """One target for four inputs is broadcast, and the net learns it for all of them."""
    if len(y) == n:
        return
    rule = Backprop(mlp(), example=inputs(mlp()), loss="mse")
    with pytest.raises((Refused, RuntimeError), match=r"target|label|size|shape"):
        rule.credit(inputs(rule.net, n), y)


def test_one_output_takes_a_vector_of_targets():
    """A regression on one number, (N,) instead of (N, 1)."""
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = inputs(nn.Sequential(nn.Linear(5, 1).double()))
    rule, t = Backprop(net, example=x, loss="mse"), torch.arange(4).double()
    assert not differ(credit(rule, x, t), credit(rule, x, t.unsqueeze(1)))


# ------------------------------------------------------------------------------------------ rules and modules


@pytest.mark.parametrize("rule", [DFA, SDFA, IFA, DRTP, PEPITA])
def test_a_norm_in_an_inlet_is_refused_where_no_signal_comes_down(rule):
    """Its scale and shift would never learn, without a word."""
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 3))
    refuses(
        rf"{rule.__name__} cannot work with LayerNorm in the inlet of layer '4'.*elementwise_affine=False.*'bp'",
        net,
        rule,
    )
    for parameter in net[3].parameters():
        parameter.requires_grad_(False)
    rule(net, example=torch.zeros(1, 5))


@pytest.mark.parametrize("affine", [True, False])
def test_pepita_refuses_batchnorm(affine):
    """The two passes would have two sets of statistics."""
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, affine=affine), nn.Tanh(), nn.Linear(6, 3))
    refuses("PEPITA cannot work with BatchNorm1d in the activation of layer '0'.*'fa'", net, PEPITA)


def test_pepita_refuses_an_affine_layernorm_in_an_activation():
    """PEPITA takes no derivative, so nothing would reach its scale."""
    net = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    refuses("PEPITA cannot work with LayerNorm in the activation of layer '0'", net, PEPITA)


@pytest.mark.parametrize("noise", [nn.Dropout(0.5), nn.BatchNorm1d(5)], ids=lambda m: type(m).__name__)
def test_pepita_refuses_what_it_cannot_replay_inside_a_synapse(noise):
    """A block's own dropout would draw a second mask, and the layer would learn the difference of its masks."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.noise = nn.Linear(5, 5), noise

        def forward(self, x):
            return x + self.noise(self.linear(x))

    refuses(
        f"PEPITA cannot replay {type(noise).__name__} inside",
        nn.Sequential(Block(), nn.Tanh(), nn.Linear(5, 3)),
        PEPITA,
    )


def test_pepita_refuses_an_activation_that_changes_the_shape():
    """A difference of pooled activities has no shape that the synapse could learn from."""
    net = nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, 3))
    refuses("PEPITA learns from differences.*move what changes", net, PEPITA)


def test_fa_refuses_a_synapse_without_a_weight_matrix():
    """It would have to come down through the block's own weights."""
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Bilinear(6, 6, 3))
    net[2].forward = lambda x: nn.functional.bilinear(x, x, net[2].weight, net[2].bias)
    refuses(r"FA has no feedback matrix for layer '2' .*'dfa'", net, FA)


def test_options_of_the_rules_are_checked():
    """A mistyped option that means the default."""
    net = nn.Sequential(*CHAIN)
    refuses("sign 0 came; DRTP takes sign=1 or sign=-1", net, DRTP, sign=0)
    refuses("sign=2 came; PEPITA takes 1 or -1", net, PEPITA, sign=2)
    refuses("presynaptic='mod' came; PEPITA takes 'modulated' or 'standard'", net, PEPITA, presynaptic="mod")
    refuses("output_error='' came; PEPITA takes 'standard' or 'modulated'", net, PEPITA, output_error="")
    with pytest.raises(TypeError, match="lr"):
        DFA(net, example=torch.zeros(1, 5), lr=0.1)


# ---------------------------------------------------------------------------------------------------- feedback


def test_feedback_shapes():
    """The shape of feedback[l] says where the signal comes from and where it goes."""
    net, x = cnn(), inputs(cnn())
    assert [tuple(D.shape) for D in DFA(net, example=x).feedback] == [(3, 3, 6, 6)]
    assert [tuple(D.shape) for D in FA(net, example=x).feedback] == [(3, 27)]
    assert [tuple(D.shape) for D in PEPITA(net, example=x).feedback] == [(3, 2, 6, 6)]
    deep = mlp(4)
    assert [tuple(D.shape) for D in DRTP(deep, example=inputs(deep)).feedback] == [(3, 7), (3, 6), (3, 4)]
    assert [tuple(D.shape) for D in IFA(deep, example=inputs(deep)).feedback] == [(3, 7)]
    assert [tuple(D.shape) for D in FA(deep, example=inputs(deep)).feedback] == [(6, 7), (4, 6), (3, 4)]


STATISTICS = {  # (largest absolute value or None, standard deviation) for fan_in 600 and fan_out 300 (100 x 3)
    "he_uniform": (0.1, 0.1 / 3**0.5), "he_normal": (None, (2 / 600) ** 0.5),
    "glorot_uniform": ((6 / 900) ** 0.5, (2 / 900) ** 0.5), "glorot_normal": (None, (2 / 900) ** 0.5),
    "orthogonal": (None, 600**-0.5), "uniform": (1.0, 1 / 3**0.5), "normal": (None, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("init", INITIALISERS)
def test_initialisers_have_the_spread_they_are_named_for(init):
    """fan_in and fan_out exchanged, a variance for a deviation, half of the interval."""
    bound, deviation = STATISTICS[init]
    matrix = draw_feedback([(100, 200, 3)], init=init, like=torch.zeros(1, dtype=torch.float64))[0]
    assert abs(matrix.mean()) < 0.02 * deviation and abs(matrix.std() / deviation - 1) < 0.02
    if bound is not None:
        assert 0.99 * bound < matrix.abs().max() <= bound


def test_orthogonal_feedback_keeps_lengths():
    """Rows of length 1, at right angles."""
    rows = draw_feedback([(10, 20, 3)], init="orthogonal", like=torch.zeros(1, dtype=torch.float64))[0].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(10, dtype=torch.float64))


def test_feedback_is_assigned_in_its_shape_only():
    """A matrix of another shape would be broadcast into something."""
    feedback = Feedback([torch.zeros(3, 4)])
    feedback[-1] = torch.ones(3, 4, requires_grad=True)
    assert feedback[0].sum() == 12 and not feedback[0].requires_grad and len(feedback) == 1
    with pytest.raises(Refused, match=r"feedback\[0\] has shape \(3, 4\), but \(4, 3\) came"):
        feedback[0] = torch.zeros(4, 3)
    with pytest.raises(IndexError):
        feedback[1]


def test_project_keeps_the_shape_of_the_place():
    """(N, C) through (C, *out)."""
    e, D = torch.randn(4, 3), torch.randn(3, 2, 5)
    torch.testing.assert_close(project(e, D), torch.einsum("nc,cio->nio", e, D))


@pytest.mark.parametrize("name", ["pepita", "dfa", "fa"])
def test_feedback_is_not_the_weights_drawn_from_the_same_seed(name):
    """torch.manual_seed(0), the net, feedback of seed 0: one stream for both would make the feedback the weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    rule = RULES[name](net, example=torch.rand(1, 64))
    for parameter in (net[0].weight, net[2].weight, net[4].weight):
        drawn, fed = parameter.detach().flatten(), rule.feedback[0].flatten()
        size = min(len(drawn), len(fed))
        assert abs(float(torch.corrcoef(torch.stack([drawn[:size], fed[:size]]))[0, 1])) < 0.2


@pytest.mark.parametrize("name", ["dfa", "drtp", "pepita", "ifa", "sdfa"])
def test_nonlinearity_behind_the_pooling_is_refused(name):
    """Conv, MaxPool, ReLU: the layer would learn without the slope of the ReLU that stands in the next inlet."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(Refused, match=r"ReLU in the inlet.*before the pooling"):
        RULES[name](net, example=torch.rand(1, 1, 6, 6))


def test_cast_of_a_feedback_that_is_replaced():
    """A float32 matrix in a float64 net would fail only when credit is assigned."""
    rule = RULES["dfa"](nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double(), example=torch.rand(1, 3))
    rule.feedback[0] = torch.rand(2, 4)
    assert rule.feedback[0].dtype == torch.float64
