"""The square attack against a witness of everything that it asks, and the published schedule."""

import math

import pytest
import torch
from measure_helpers import EPSILON, OPEN, curved, images, linear, margins, predicted
from torch import nn

from altprop import RULES
from altprop.measure.robustness import fgsm, square_attack


def forbidden(*arguments, **options):
    raise AssertionError("a black-box attack asked for a gradient")


def test_square_attack_uses_no_gradient(monkeypatch):
    """It is the check on gradient attacks only as long as it sees outputs alone."""
    rule, x = curved(), images()
    y = predicted(rule, x)
    clean = margins(rule, x, y)
    for owner, name in ((torch.autograd, "grad"), (torch.autograd, "backward"), (torch.Tensor, "backward")):
        monkeypatch.setattr(owner, name, forbidden)
    hook = rule.register_forward_hook(lambda module, given, z: forbidden() if z.requires_grad else None)
    moved = square_attack(rule, x, y, EPSILON)
    hook.remove()
    assert (margins(rule, moved, y) < clean).all()


def witnessed(rule, x, y, epsilon=EPSILON, **options):
    """(result, [every input that the rule was asked about]) of an attack on one sample."""
    asked = []
    hook = rule.register_forward_hook(lambda module, given, z: asked.append(given[0].clone()))
    result = square_attack(rule, x, y, epsilon, **options)
    hook.remove()
    return result, asked


def test_square_attack_returns_the_best_that_it_has_asked():
    """The margin may only fall: a worse proposal that is kept, or a better one that is dropped, shows here."""
    rule, x = curved(), images()
    for index in range(5):
        sample = x[index : index + 1]
        y = predicted(rule, sample)
        result, asked = witnessed(rule, sample, y, epsilon=0.005, queries=30)
        seen = [float(margins(rule, point, y)) for point in asked]
        assert len(asked) == 31, "the clean input, then one a query: it is never misclassified at this strength"
        assert float(margins(rule, result, y)) == pytest.approx(min(seen), abs=1e-12) and min(seen) < seen[0]


def test_square_attack_moves_from_the_best_so_far():
    """Every proposal is the best so far but for one window: started from x again, it would never add up."""
    rule, x = curved(), images(1)
    y = predicted(rule, x)
    _, asked = witnessed(rule, x, y, epsilon=0.005, queries=60)
    best, lowest = asked[0], float(margins(rule, asked[0], y))
    for number, point in enumerate(asked[1:]):
        changed = (point != best).any(1)[0]
        assert number < 6 or changed.float().mean() <= 0.4
        if float(margins(rule, point, y)) < lowest:
            best, lowest = point, float(margins(rule, point, y))


def indifferent(shape):
    """Says class 0 by a margin of 1, whatever it is shown: no proposal is ever kept."""
    rule = linear(shape)
    with torch.no_grad():
        rule.net[1].weight.zero_()
        rule.net[1].bias.copy_(torch.tensor([1.0, 0.0]))
    return rule


def test_proposals_are_stripes_and_then_squares_of_the_published_size():
    """p is halved after 10, 50, 200, ... of 10000 queries, of fewer in proportion: 1000 queries here."""
    shape, queries = (2, 20, 20), 1000
    x = torch.full((1, *shape), 0.5, dtype=torch.float64)
    _, asked = witnessed(indifferent(shape), x, torch.zeros(1, dtype=torch.int64), queries=queries, p=0.8)
    stripes = asked[1] - x
    assert torch.allclose(stripes.abs(), torch.full_like(x, EPSILON)) and (stripes == stripes[:, :, :1]).all()
    assert stripes.std(3).min() > 0
    table = [(1, 1), (5, 2), (20, 4), (50, 8), (100, 16), (200, 32), (400, 64), (600, 128), (800, 256), (1000, 512)]
    for query in range(1, queries):
        window = (asked[query + 1] - x)[0]
        rows, columns = (window.abs().sum((0, axis)).nonzero().flatten() for axis in (2, 1))
        p = 0.8 / next(divisor for last, divisor in table if query <= last)
        assert len(rows) == len(columns) == max(1, round(math.sqrt(p * 400)))
        inside = window[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.allclose(inside.abs(), torch.full_like(inside, EPSILON))
        assert (inside == inside[:, :1, :1]).all() and window.count_nonzero() == inside.numel()


def test_every_sample_has_windows_of_its_own():
    """Windows shared by the batch would make the result of a sample hang on the others."""
    x = torch.full((2, 1, 20, 20), 0.5, dtype=torch.float64)
    rule, asked = indifferent((1, 20, 20)), []
    rule.register_forward_hook(lambda module, given, z: asked.append(given[0].clone()))
    square_attack(rule, x, torch.zeros(2, dtype=torch.int64), EPSILON, queries=40)
    places = [(point != x).double() for point in asked[2:]]
    assert sum(not torch.equal(place[0], place[1]) for place in places) > 30


def test_no_query_is_wasted_on_what_is_known():
    """With one channel a window has one of two signs, and one of them may be there already."""
    torch.manual_seed(0)
    rule = RULES["bp"](nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), example=images(1, (1, 5, 5)))
    for index in range(5):
        x = images(5, (1, 5, 5))[index : index + 1]
        y = predicted(rule, x)
        _, asked = witnessed(rule, x, y, epsilon=1e-4, queries=60, bounds=OPEN)
        best, lowest = asked[0], float(margins(rule, asked[0], y))
        for point in asked[1:]:
            assert not torch.equal(point, best)
            if float(margins(rule, point, y)) < lowest:
                best, lowest = point, float(margins(rule, point, y))


def test_windows_reach_every_pixel():
    """A window that cannot stand at the edge leaves the border of every image alone."""
    shape = (1, 5, 7)
    x = torch.full((1, *shape), 0.5, dtype=torch.float64)
    _, asked = witnessed(indifferent(shape), x, torch.zeros(1, dtype=torch.int64), queries=400, p=0.2)
    assert (sum((point != x).double() for point in asked[2:])[0] > 0).all()


def test_features_without_geometry_are_moved_in_sets():
    """Neighbours mean nothing in a vector: a set of features, each with a sign of its own."""
    x = torch.full((1, 50), 0.5, dtype=torch.float64)
    _, asked = witnessed(indifferent((50,)), x, torch.zeros(1, dtype=torch.int64), queries=20, p=0.8)
    sizes = [int((point != x).sum()) for point in asked[1:]]
    assert sizes[0] == 50 and sizes[1:] == sorted(sizes[1:], reverse=True) and sizes[-1] == 1
    signs = (asked[2] - x)[asked[2] != x].sign()
    assert (signs > 0).any() and (signs < 0).any()


def test_a_misclassified_sample_is_left_alone():
    """Accuracy cannot fall further; queries are what a black-box attack is paid by."""
    rule, x = curved(), images()
    wrong = (predicted(rule, x) + 1) % 3
    assert torch.equal(square_attack(rule, x, wrong, EPSILON), x)
    _, asked = witnessed(rule, x[:1], wrong[:1])
    assert len(asked) == 1


def test_square_attack_fools_a_linear_net_nearly_as_far_as_possible():
    """The corner of the ball is the optimum; random search must come close to it, or squares do not adapt."""
    rule, x = linear(), images()
    y = predicted(rule, x)
    with torch.no_grad():
        rule.net[1].bias[0] += 100 * (
            1 - 2 * y[0]
        )  # so sure of one class that it is never fooled and goes on to the end
    y = predicted(rule, x)
    clean, corner, found = (
        margins(rule, point, y)
        for point in (
            x,
            fgsm(rule, x, y, EPSILON, bounds=OPEN),
            square_attack(rule, x, y, EPSILON, queries=600, bounds=OPEN),
        )
    )
    assert ((clean - found) / (clean - corner)).mean() > 0.6
