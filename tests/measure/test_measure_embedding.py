"""Activity against the modules run by hand; maps against clusters that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from altprop import RULES, Refused
from altprop.measure.embedding import activity, tsne


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()


def blobs(n=20):
    """Two clusters far apart: the first n samples, the last n."""
    generator = torch.Generator().manual_seed(1)
    x = 0.1 * torch.randn(2 * n, 8, generator=generator, dtype=torch.float64)
    x[n:] += 3
    return x


@pytest.mark.parametrize(("layer", "modules"), [(0, 4), ("0", 4), (1, 6), (-2, 6), ("4", 6), (-1, 7), ("6", 7)])
def test_activity_is_that_after_the_activation(layer, modules):
    """Before the nonlinearity, one layer off, or in train mode, where every call gives other numbers."""
    model, x = net().train(), blobs()
    rule = RULES["bp"](model, example=x)
    model.train()
    got = [activity(probed, x, layer) for probed in (rule, model)]
    assert all(module.training for module in model)
    want = model.eval()[:modules](x)
    assert all(torch.equal(h, want) and not h.requires_grad for h in got)


def test_activity_leaves_no_trace():
    """Statistics of norms, modes of single modules, the data under an in-place module."""
    model = nn.Sequential(nn.ReLU(inplace=True), *net())
    x = blobs() - 1
    rule, data = RULES["bp"](model, example=x), x.clone()
    rule.train()
    model[2].eval()
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes = {m: m.training for m in rule.modules()}
    activity(rule, x, 0)
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {m: m.training for m in rule.modules()} and torch.equal(x, data)


def test_clusters_stay_clusters():
    """Neighbours by activity are neighbours in the map, one row a sample; the seed fixes it."""
    x = blobs()
    rule = RULES["bp"](net(), example=x)
    y = tsne(rule, x, perplexity=5)
    assert y.shape == (40, 2) and np.isfinite(y).all()
    centres = y[:20].mean(0), y[20:].mean(0)
    nearest = np.stack([np.linalg.norm(y - centre, axis=1) for centre in centres]).argmin(0)
    assert (nearest == np.repeat([0, 1], 20)).all()
    assert np.array_equal(tsne(rule, x, perplexity=5), y)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"x": blobs(15)}, "30 samples came for a perplexity of 30"), ({"perplexity": 0.0}, "perplexity of 0"),
     ({"x": torch.ones(40, 8, dtype=torch.float64)}, "same for every sample"), ({"layer": "tanh"}, "no layer 'tanh'"),
     ({"x": torch.full((40, 8), np.nan, dtype=torch.float64)}, "nan or infinity")],
)  # fmt: skip
def test_what_cannot_be_mapped_is_refused(change, message):
    """One line that says what came, in place of an error from within scikit-learn."""
    with pytest.raises(Refused, match=message):
        tsne(RULES["bp"](net(), example=blobs(1)), **{"x": blobs(), **change})


def test_a_single_unit_cannot_be_mapped():
    """A plane needs two."""
    narrow = nn.Sequential(nn.Linear(8, 1), nn.Tanh(), nn.Linear(1, 3)).double()
    with pytest.raises(Refused, match="has one unit"):
        tsne(narrow, blobs(), layer=0)
