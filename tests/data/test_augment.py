"""Random changes of images, against each image changed by hand, and where the recipe asks for them."""

import pytest
import torch
from data_helpers import cifar10_files, write_files
from torch.nn import functional as F

from altprop.data import AUGMENTATIONS
from altprop.run.experiment import fit
from altprop.run.recipe import RunError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_flip_is_the_image_or_its_mirror():
    """Half of them, each whole; the others to the bit."""
    x = torch.rand(400, 2, 3, 5)
    flipped = AUGMENTATIONS["flip"](x, generator())
    mirrored = (flipped == x.flip(3)).all(dim=(1, 2, 3))
    kept = (flipped == x).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all() and 150 < mirrored.sum() < 250


def test_crop_is_a_window_of_the_padded_image():
    """Every shift of up to four pixels either way, zeros around, both axes apart and channels together."""
    x = torch.rand(300, 2, 6, 7) + 1
    cropped, padded = AUGMENTATIONS["crop"](x, generator()), F.pad(x, (4, 4, 4, 4))
    found = set()
    for image, around in zip(cropped, padded, strict=True):
        places = [(i, j) for i in range(9) for j in range(9) if torch.equal(around[:, i : i + 6, j : j + 7], image)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 70


def test_the_generator_decides():
    """The same seed, the same images; the global stream has no say and hears nothing."""
    x = torch.rand(20, 3, 8, 8)
    state = torch.get_rng_state()
    for change in AUGMENTATIONS.values():
        assert torch.equal(change(x, generator(1)), change(x, generator(1)))
        assert not torch.equal(change(x, generator(1)), change(x, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def cifar(tmp_path):
    write_files(tmp_path / "cifar-10-batches-py", cifar10_files())
    return tmp_path


def test_a_run_trains_on_changed_images(cifar):
    """A key that is read and dropped would leave the losses as they are."""
    settings = {"data": "cifar10", "data_dir": str(cifar), "net": "3072-10", "epochs": 1, "lr": 0.01}
    plain, flipped = (fit("bp", **settings, augment=augment) for augment in (None, "flip+crop"))
    assert plain.metrics[-1]["loss"] != flipped.metrics[-1]["loss"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment": "rotate"}, "unknown augmentation 'rotate'.*flip"),
        ({"augment": "flip", "data": "drtp_classification"}, "it takes images"),
        ({"freeze": 2}, "freeze = 2 came for a net of 2 layers"),
        ({"whiten": "pac"}, "unknown whitening 'pac'.*pca, zca"),
    ],
)
def test_refusals(settings, words):
    """A setting that cannot be met says so before anything is trained."""
    with pytest.raises((RunError, ValueError), match=words):
        fit("bp", epochs=1, **settings)


def test_frozen_layers_stay_as_drawn():
    """The control of random features: what is frozen is the seed's, to the bit, and the rest learns."""
    frozen, free = (fit("bp", "64-16-12-10", epochs=1, freeze=freeze).net for freeze in (1, 0))
    drawn = fit("bp", "64-16-12-10", epochs=1, lr=1e-30).net
    assert torch.equal(frozen[1].weight, drawn[1].weight) and not torch.equal(free[1].weight, drawn[1].weight)
    assert not torch.equal(frozen[3].weight, drawn[3].weight)


def test_whitened_inputs_train():
    """Whitening learned on the training part alone reaches the net, of as many features."""
    result = fit("bp", "64-10", whiten="pca", epochs=3)
    assert result.test_accuracy > 0.8
