"""A batch that is not as the example was: refused by every rule before any layer learns, in words of the user's."""

import copy

import pytest
import torch
from helpers import CLASSES, OPTIONS, cnn, gradients, inputs, labels, mlp, suited
from torch import nn

from altprop import RULES, Claims, Refused, Rule
from altprop.core import forward, learn, slope


class Own(Rule):
    """A rule of the user's, who wrote no check."""

    family, reference = "control", "frenkel2021"
    claims = Claims(weight_transport="none", locking="forward", signal="none", trains=("synapse", "activation"))

    @torch.no_grad()
    def credit(self, x, y, ready=None):
        """Only the last layer learns."""
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x)
        trace = forward(last, x)
        loss, e = self.output_error(trace.h, self.targets(y, len(x)))
        learn(trace, slope(trace, e / len(x)), ready)
        return loss


class Heir(Own):
    """That writes no credit of its own."""


class Caller(Own):
    """That calls the one above it."""

    def credit(self, x, y, ready=None):
        return 2 * super().credit(x, y, ready)


ALL = {**RULES, "own": Own, "heir": Heir, "caller": Caller}


def wide():
    """Takes maps of any size, and so does a matrix for one pixel, by broadcasting."""
    return nn.Sequential(nn.Conv2d(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))


def rule_of(name, net, x):
    return ALL[name](suited(name, net), example=x[:1], **OPTIONS.get(name, {}))


@pytest.fixture(params=ALL)
def name(request):
    return request.param


def refuses(rule, match, *batch, **named):
    before = copy.deepcopy(rule.state_dict())
    with pytest.raises(Refused, match=match) as told:
        rule.credit(*batch, **named)
    assert len(str(told.value)) <= 300 and "\n" not in str(told.value)
    assert all(gradient is None for gradient in gradients(rule).values())
    assert all(torch.equal(value, before[key]) for key, value in rule.state_dict().items())


def test_another_shape_names_both(name):
    """Of features, of images, of one pixel that broadcasts; of a batch whose axis is missing, x[None]."""
    rule = rule_of(name, mlp(), inputs(mlp()))
    x, y, longer = inputs(rule.net), labels(), torch.rand(4, 6).double()
    refuses(rule, r"shape \(4, 6\) came, but the example's samples are \(5,\): give such samples", longer, y)
    refuses(rule, r"shape \(5,\) came, .* \(5,\): add the axis of the batch, x\[None\]", x[0], y[:1])
    refuses(rule, r"shape \(4, 1, 5\) came", x.unsqueeze(1), y)
    refuses(rule, r"shape \(\) came", x[0, 0], y)
    images, other = rule_of(name, cnn(), inputs(cnn())), torch.rand(4, 2, 5, 7).double()
    refuses(images, r"shape \(4, 2, 5, 7\) came, but the example's samples are \(2, 6, 6\)", other, y)
    refuses(images, r"shape \(2, 6, 6\) came.*x\[None\]", inputs(images.net)[0], y[:1])
    refuses(images, r"shape \(4, 6, 6, 2\) came", inputs(images.net).movedim(1, -1), y)


def test_one_pixel_is_no_image(name):
    """Feedback to one pixel would be laid over all of them."""
    rule, x = rule_of(name, wide(), torch.rand(1, 4, 1, 1)), torch.rand(4, 4, 8, 8)
    refuses(rule, r"shape \(4, 4, 8, 8\) came, but the example's samples are \(4, 1, 1\)", x, labels())


def test_another_kind_of_number_is_named(name):
    """Pixels of bytes, numpy's float64, a list."""
    rule = rule_of(name, mlp().float(), inputs(mlp().float()))
    x, y = inputs(rule.net), labels()
    for wrong in (x.long(), x.byte(), x.double(), x.half()):
        refuses(rule, f"inputs of {wrong.dtype} came, but the net takes a torch.Tensor of torch.float32", wrong, y)
    refuses(rule, "inputs of list came", x.tolist(), y)
    refuses(rule, "inputs of float32 came, but the net takes a torch.Tensor", x.numpy(), y)


def test_integers_are_wanted_where_the_example_has_them():
    """Tokens that came as floats, which an embedding cannot look up."""
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, CLASSES))
    tokens = torch.randint(9, (4, 3))
    rule = RULES["dfa"](net, example=tokens)
    refuses(rule, "float32 came, but the net takes a torch.Tensor of integers", tokens.float(), labels())
    rule.credit(tokens.int(), labels())


def test_labels_must_be_one_a_sample(name):
    """Broadcast, cut short by zip, or missed when half of the layers have learned."""
    rule = rule_of(name, mlp(), inputs(mlp()))
    x, y = inputs(rule.net), labels()
    for wrong in (y[:3], y[:1], torch.zeros(5, CLASSES), torch.tensor(1)):
        refuses(rule, rf"labels or targets of shape \({str(tuple(wrong.shape))[1:-1]}\) came for 4 samples", x, wrong)
        refuses(rule, "came for 4 samples", x=x, y=wrong)
    refuses(rule, "labels or targets as list came for 4 samples", x, y.tolist())
    if rule.claims.labels:
        refuses(rule, "labels or targets as NoneType came", x, None)
    else:
        rule.credit(x, None)


def test_an_empty_batch_is_refused(name):
    """Its mean is nan."""
    rule = rule_of(name, mlp(), inputs(mlp()))
    refuses(rule, "a batch without samples came: leave it out", inputs(rule.net)[:0], labels()[:0])


def test_the_check_knows_the_credit_that_it_stands_before():
    """Its name, its words, its arguments; a rule's own options arrive."""
    assert Own.credit.__doc__ == "Only the last layer learns." and Own.credit.__name__ == "credit"
    assert Heir.credit is Own.credit
    rule = rule_of("caller", mlp(), inputs(mlp()))
    seen = []
    own, x, y = rule_of("own", mlp(), inputs(mlp())), inputs(rule.net), labels()
    assert rule.credit(x, y=y, ready=seen.append) == 2 * own.credit(x, y) and seen == rule.layers[-1:]
