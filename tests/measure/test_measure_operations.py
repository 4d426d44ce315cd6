"""Operations and bytes, counted by hand from the equations and the shapes."""

import pytest
import torch
from torch import nn

from altprop import RULES
from altprop.core.product import WORTHWHILE
from altprop.measure import held, multiply_adds, state_bytes
from altprop.measure.probe import in_mode

N, X, H, C = 7, 6, 5, 3  # samples, inputs, hidden units, classes
FORWARD = X * H + H * C  # W_1 x, W_2 h
GRADIENTS = FORWARD  # delta_l^T h_{l-1}: as many numbers as weights, each a multiply-add a sample
BY_HAND = {
    "bp": FORWARD + GRADIENTS + C * H,  # delta_2 W_2
    "drtp": FORWARD + GRADIENTS + C * H,  # t D_1
    "dfa": FORWARD + GRADIENTS + C * H,  # e D_1
    "shallow": FORWARD + H * C,
}


def mlp(name, **arguments):
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(X, H), nn.Tanh(), nn.Linear(H, C))
    return RULES[name](net, example=torch.rand(1, X, generator=generator), **arguments)


@pytest.mark.parametrize("name", BY_HAND)
def test_multiply_adds_of_an_mlp_are_those_counted_by_hand(name):
    """FLOPs for multiply-adds are twice as many, a batch's are N times as many."""
    x, y = torch.rand(N, X), torch.arange(N) % C
    assert multiply_adds(mlp(name), x, y) == BY_HAND[name]


def test_products_that_go_to_onednn_count_as_much():
    """Above ``WORTHWHILE`` another operation computes the same product."""
    x, y = torch.rand(2048, 64), torch.arange(2048) % 10
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    assert len(x) * 64 * 128 > WORTHWHILE
    assert multiply_adds(RULES["bp"](net, example=x[:1]), x, y) == 2 * (64 * 128 + 128 * 10) + 10 * 128


def test_a_convolution_is_counted_at_every_position():
    """4 maps of 4 x 4 positions, each of 2 * 3 * 3 inputs; then 4 * 2 * 2 features to 3 classes."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.rand(N, 2, 6, 6), torch.arange(N) % 3
    convolution, dense = 4 * 16 * 2 * 9, 16 * 3
    assert multiply_adds(RULES["dfa"](net, example=x[:1]), x, y) == 2 * (convolution + dense) + 3 * 4 * 16
    assert multiply_adds(RULES["bp"](net, example=x[:1]), x, y) == 2 * (convolution + dense) + dense, (
        "through a pooling"
    )


@pytest.mark.parametrize("name", ["bp", "wm", "kp", "pepita", "softhebb"])
def test_counting_leaves_everything_as_it_was(name):
    """Gradients, statistics of norms, learned feedback, random numbers."""
    norm = [] if name == "pepita" else [nn.BatchNorm1d(X, affine=False)]  # which it refuses
    net = nn.Sequential(*norm, nn.Linear(X, H), nn.ReLU(), nn.Dropout(0.5), nn.Linear(H, C))
    x, y = torch.rand(N, X), torch.arange(N) % C
    rule, random = RULES[name](net, example=x[:1]), torch.get_rng_state()
    before = {key: tensor.clone() for key, tensor in rule.state_dict().items()}
    with in_mode(rule, training=True):
        assert multiply_adds(rule, x, y) > 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in rule.state_dict().items())
    assert all(parameter.grad is None for parameter in rule.parameters())
    assert torch.equal(torch.get_rng_state(), random)


WEIGHTS = 4 * (X * H + H + H * C + C)


@pytest.mark.parametrize(
    ("name", "feedback"), [("bp", 0), ("fa", C * H), ("dfa", C * H), ("kp", C * H), ("pepita", C * X)]
)
def test_bytes_are_four_a_number(name, feedback):
    """Matrices of the shapes that the equations give them; KP's is a parameter, DFA's a buffer."""
    assert held(mlp(name)) == (WEIGHTS, 4 * feedback)


def test_buffers_of_the_net_are_not_the_rules():
    net = nn.Sequential(nn.Linear(X, H), nn.BatchNorm1d(H), nn.ReLU(), nn.Linear(H, C))
    assert held(RULES["bp"](net, example=torch.rand(2, X))) == (WEIGHTS + 4 * 2 * H, 0)


@pytest.mark.parametrize(
    ("make", "copies", "counts"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0, 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1, 0),
        (lambda p: torch.optim.Adam(p, lr=0.1), 2, 4),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_the_state_of_an_optimizer_is_so_many_copies_of_the_weights(make, copies, counts):
    """And with Adam a step count, one float a parameter; before the first step nothing."""
    rule = mlp("bp")
    optimizer = make(rule.parameters())
    assert state_bytes(optimizer) == 0
    rule.credit(torch.rand(N, X), torch.arange(N) % C)
    optimizer.step()
    assert state_bytes(optimizer) == copies * WEIGHTS + 4 * counts
