"""What Forward-Forward compares: wrong labels, labels in the input, masks, patchworks; and what it refuses."""

import math

import pytest
import torch
from helpers import CLASSES, cnn, credit, inputs, labels, mlp
from torch import nn

from altprop import Refused, layers
from altprop.rules.forward_forward import ForwardForward
from altprop.rules.forward_forward.goodness import GOODNESS
from altprop.rules.forward_forward.samples import Samples, blobs, wrong


def labelled(x, y, label):
    """x with the one-hot of y in its first entries, written sample by sample."""
    x = x.clone()
    for sample, c in zip(x, y.tolist(), strict=True):
        sample.view(-1)[:CLASSES] = torch.eye(CLASSES).double()[c] * label
    return x


def test_wrong_labels_are_wrong_and_uniform():
    """A permutation of labels leaves some true; a draw from 0 to C - 2 favours neighbours."""
    torch.manual_seed(0)
    true = torch.arange(5).repeat_interleave(4000)
    table = torch.zeros(5, 5).index_put_((true, wrong(true, 5)), torch.ones(len(true)), accumulate=True)
    assert table.diagonal().sum() == 0
    others = table[~torch.eye(5, dtype=torch.bool)]
    assert (others - 1000).abs().max() < 5 * math.sqrt(4000 * 0.25 * 0.75)


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2)])
def test_labels_stand_over_the_first_entries(shape):
    """One entry too far, a label in the negatives that is true, a batch that is overwritten in place."""
    torch.manual_seed(0)
    x, y = torch.randn(6, *shape).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    kept, samples = x.clone(), Samples(False, 2.0, 6, CLASSES)
    positive, negative = samples.pairs(x, y).split(6)
    assert torch.equal(positive, labelled(x, y, 2.0)) and (samples.neutral(x).flatten(1)[:, :CLASSES] == 0.1).all()
    assert torch.equal(samples.neutral(x).flatten(1)[:, CLASSES:], x.flatten(1)[:, CLASSES:])
    others = negative.flatten(1)[:, :CLASSES].argmax(1)
    assert not (others == y).any() and torch.equal(negative, labelled(x, others, 2.0))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("shape", [(40, 3, 12, 10), (40, 1, 28, 28), (40, 12, 10), (400, 64)])
def test_masks_are_patches(shape):
    """Noise that is not blurred, in one direction only, or a mask of its own for each channel."""
    torch.manual_seed(0)
    x = torch.zeros(shape)
    mask = blobs(x, 6)
    sides = shape[1:][-2:]
    assert mask.dtype == torch.bool and mask.shape == (shape[0], *(1 for _ in shape[1:-2]), *sides)
    assert abs(mask.double().mean() - 0.5) < 0.05 and len(mask.flatten(1).unique(dim=0)) == len(mask)
    for dim in range(-len(sides), 0):
        for blurs, low, high in ((6, 0.72, 0.95), (0, 0.45, 0.55)):
            mask = blobs(x, blurs)
            assert low < (mask == mask.roll(1, dim)).double().mean() < high


def test_the_blur_is_a_quarter_a_half_a_quarter():
    """A blur to one side shifts the masks, and smooths them less."""
    torch.manual_seed(0)
    mask = blobs(torch.zeros(50, 30).double(), 2)
    torch.manual_seed(0)
    noise = nn.functional.pad(torch.rand(50, 1, 30, dtype=torch.float64), (2, 2), "circular")
    twice = torch.tensor([[[1.0, 4.0, 6.0, 4.0, 1.0]]]).double() / 16
    assert torch.equal(mask, nn.functional.conv1d(noise, twice)[:, 0] > 0.5)


@pytest.mark.parametrize("shape", [(2, 6, 6), (64,)])
def test_patchworks_are_of_two_samples(shape):
    """A sample patched with itself is no negative; entries in between would be a blend."""
    torch.manual_seed(0)
    x = torch.arange(5.0).view(5, *(1 for _ in shape)).expand(5, *shape).clone()
    partners = [set() for _ in x]
    for _ in range(100):
        positive, patched = Samples(True, 1.0, 6, 10).pairs(x, torch.zeros(5).long()).split(5)
        assert torch.equal(positive, x)
        for n, sample in enumerate(patched):
            found = set(sample.unique().tolist()) - {float(n)}
            assert len(found) <= 1
            partners[n] |= found
    assert partners == [{float(k) for k in range(5) if k != n} for n in range(5)]
    alone = Samples(True, 1.0, 6, 10).pairs(x[:1], torch.zeros(1).long())
    assert torch.equal(alone, x[[0, 0]])


@pytest.mark.parametrize("goodness", GOODNESS.values(), ids=GOODNESS)
def test_a_black_image_has_finite_slopes(goodness):
    """The root in the length has none at zero."""
    leaf = torch.zeros(2, 2, 6, 6).double().requires_grad_()
    goodness.unit(leaf).sum().backward()
    assert leaf.grad.isfinite().all() and not goodness.unit(leaf).any()


REFUSALS = [
    ("goodness='max' came; ForwardForward takes 'sum' or 'mean'", mlp, {"goodness": "max"}),
    ("negatives='noise' came; ForwardForward takes 'labels' or 'images'", mlp, {"negatives": "noise"}),
    ("inference='fast' came; ForwardForward takes 'readout' or 'goodness'", mlp, {"inference": "fast"}),
    ("came with negatives='images'.*use inference='readout'", mlp, {"negatives": "images", "inference": "goodness"}),
    ("place='under' came; ForwardForward takes 'auto' or 'over' or 'beside'", mlp, {"place": "under"}),
    ("place='beside' came with .*negatives='images'", mlp, {"place": "beside", "negatives": "images"}),
    ("one layer.*add a hidden layer", lambda: mlp(1), {}),
    (
        "2 inputs came for 3 classes.*longer inputs",
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)),
        {"place": "over"},
    ),
    ("5 inputs came for 1 classes.*at least 2", lambda: nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 1)), {}),
    ("integers came: give the net a real-valued", lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)), {}),
    ("cannot work with BatchNorm1d", lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)), {}),
]


@pytest.mark.parametrize(("message", "build", "options"), REFUSALS)
def test_what_does_not_fit_is_refused(message, build, options):
    """A guess in its place, or torch's own message from deep inside a step."""
    net = build()
    first = getattr(net[0], "in_features", 5)
    example = torch.zeros(1, dtype=torch.int64) if isinstance(net[0], nn.Embedding) else torch.rand(1, first)
    with pytest.raises(Refused, match=message) as error:
        ForwardForward(net, example=example, **options)
    assert "\n" not in str(error.value)


def test_activations_of_another_shape_have_no_peer_term():
    """A unit of the pooled map is the mean of several; broadcasting would hand it to the wrong ones."""
    net = cnn()
    conv, head = layers(net)
    inlet = list(head.inlet)
    cuts = [type(conv)(conv.inlet, conv.synapse, nn.Sequential(*conv.activation, inlet[0]), conv.name),
            type(head)(inlet[1], head.synapse, head.activation, head.name)]  # fmt: skip
    with pytest.raises(Refused, match=r"peer=0\.03 came.*layer '0'.*use peer=0"):
        ForwardForward(net, example=inputs(net)[:1], cuts=cuts)
    got = credit(ForwardForward(net, example=inputs(net)[:1], cuts=cuts, peer=0.0), inputs(net), labels())
    assert all(gradient.abs().max() > 0 for gradient in got.values())
