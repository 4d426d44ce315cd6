"""Every rule is handed nets and samples that not all of them can train: it learns, or says what is in the way."""

import pytest
import torch
from helpers import CLASSES, inputs, labels, suited
from torch import nn

from altprop import RULES, Refused


class Recurrent(nn.Module):
    """A block of five units that reads its input in two halves."""

    def __init__(self, features):
        super().__init__()
        self.half = features // 2
        self.cell = nn.GRU(self.half, 6, batch_first=True)

    def forward(self, x):
        return self.cell(x.view(len(x), 2, self.half))[0][:, -1]


class Attention(nn.Module):
    """A block in which three positions of two features look at each other."""

    def __init__(self):
        super().__init__()
        self.heads = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x):
        x = x.view(len(x), 3, 2)
        return self.heads(x, x, x)[0].flatten(1)


def dense(*middle, width=6):
    """A layer of six units, what is in question, and a layer of classes, on 5 inputs."""
    return nn.Sequential(nn.Linear(5, 6), *middle, nn.Linear(width, CLASSES))


def images(*after):
    """Convolutions on (2, 6, 6), and what follows them."""
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), *after)


def shared():
    layer = nn.Linear(6, 6)
    return dense(nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh())


def tied():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return dense(nn.Tanh(), first, nn.Tanh(), second, nn.Tanh())


NETS = {  # and the layer that a refusal names, by its path in the net
    "a single layer": (lambda: nn.Sequential(nn.Linear(5, CLASSES)), None),
    "an activation that halves": (lambda: dense(nn.GLU(1), width=3), "0"),
    "a batch norm that learns": (lambda: dense(nn.BatchNorm1d(6), nn.Tanh()), "0"),
    "a batch norm": (lambda: dense(nn.BatchNorm1d(6, affine=False), nn.Tanh()), "0"),
    "a slope that learns": (lambda: dense(nn.PReLU()), "0"),
    "a recurrent block": (lambda: dense(nn.Tanh(), Recurrent(6), nn.Tanh()), "2"),
    "an attention block": (lambda: dense(nn.Tanh(), Attention(), nn.Tanh()), "2"),
    "attention at the end": (lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), Attention(), nn.Linear(6, 3)), "2"),
    "a computed weight": (lambda: dense(nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))), "2"),
    "a recurrent module": (lambda: nn.Sequential(nn.GRU(5, 6), nn.Linear(6, CLASSES)), "0"),
    "a module of two inputs": (lambda: dense(nn.Tanh(), nn.Bilinear(3, 3, 6), nn.Tanh()), "2"),
    "a shared layer": (shared, "4"),
    "a tied weight": (tied, "2"),
    "pools": (lambda: images(nn.MaxPool2d(2), nn.Conv2d(4, 3, 1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
                             nn.Linear(3, CLASSES)), None),
    "a pool before the slope": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(),
                                                      nn.Linear(16, CLASSES)), "4"),
    "a pool at the end": (lambda: images(nn.Conv2d(4, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "2"),
    "a transposed convolution": (lambda: images(nn.ConvTranspose2d(4, 3, 2), nn.Tanh(), nn.Flatten(),
                                                nn.Linear(75, CLASSES)), "2"),
    "a table of vectors": (lambda: nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(10, 6), nn.Tanh(),
                                                 nn.Linear(6, CLASSES)), None),
}  # fmt: skip
ANYWAY = {  # which no rule trains
    "a recurrent module": "a recurrent module keeps time steps", "a module of two inputs": "does not take its input",
    "a shared layer": "share a parameter", "a tied weight": "share a parameter",
}  # fmt: skip


@pytest.fixture(params=RULES)
def name(request):
    if RULES[request.param].requires:
        pytest.importorskip("snntorch")
    return request.param


@pytest.mark.filterwarnings("ignore::altprop.core.RuleWarning")
@pytest.mark.parametrize("case", NETS)
def test_a_net_is_trained_or_refused_by_name(name, case):
    """An error of torch's amid the first batch, a layer that stays as it was in silence, numbers that are none."""
    torch.manual_seed(0)
    make, place = NETS[case]
    net = make().double()
    x = torch.randint(9, (4, 5)) if isinstance(net[0], nn.Embedding) else inputs(net).abs()
    try:
        rule = RULES[name](net, example=x[:1])
    except Refused as refusal:
        said = str(refusal)
        assert 40 < len(said) <= 290 and "\n" not in said and ANYWAY.get(case, "") in said
        place = "0" if "vector units" in said else place  # which no layer here has, from the first on
        assert place is None or f"'{place}'" in said, said
        return
    assert case not in ANYWAY
    losses = [phase.step(x, labels() if phase.labels else None, None) for phase in rule.phases()]
    assert all(bool(loss.isfinite()) for loss in losses)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in rule.parameters())
    taught = rule.layers if rule.claims.signal != "none" or not rule.claims.labels else rule.layers[-1:]
    assert all(any(p.grad is not None for p in layer.synapse.parameters()) for layer in taught)
    assert bool(rule.eval()(x).isfinite().all())


GIVEN = {  # loss, y of four samples, words of the refusal
    "another loss": ("hinge", labels(), "unknown loss 'hinge'; there are cross_entropy"),
    "labels beyond the classes": ("cross_entropy", torch.tensor([0, 1, 2, 3]), "labels from 0 to 3 came"),
    "labels below 0": ("cross_entropy", torch.tensor([0, -1, 2, 1]), "labels from -1 to 2 came"),
    "labels that are no tensor": ("cross_entropy", [0, 1, 2, 0], "labels or targets as list came"),
    "too few": ("cross_entropy", labels(3), r"labels or targets of shape \(3,\) came for 4 samples"),
    "targets of another width": ("mse", torch.zeros(4, 2), r"targets of shape \(4, 2\) came for 3 outputs"),
    "amounts for classes": ("cross_entropy", torch.zeros(4), r"targets of shape \(4,\) came for 3 outputs"),
}


@pytest.mark.filterwarnings("ignore::altprop.core.RuleWarning")
@pytest.mark.parametrize("case", GIVEN)
def test_labels_that_do_not_fit_are_refused(name, case):
    """Also where hidden layers learn without any: the last one reads out."""
    loss, y, words = GIVEN[case]
    net = suited(name, dense(nn.Tanh()).double())
    with pytest.raises(Refused, match=words) as caught:
        RULES[name](net, example=inputs(net)[:1], loss=loss).credit(inputs(net).abs(), y)
    assert len(str(caught.value)) <= 290
