"""Data sets and batches, against plain indexing and arithmetic."""

import math
import pickle

import numpy as np
import pytest
import torch
from data_helpers import refused

from altprop.data import DataError, Dataset, as_float, batches, from_torch


def make(n=20, **changes) -> Dataset:
    x, y = torch.arange(n * 3.0).reshape(n, 3), torch.arange(n) % 2
    fields = {"name": "toy", "x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4], "classes": ("a", "b")}
    return Dataset(**{**fields, **changes})


def test_properties():
    labelled = make(classes=("a", "b", "c"))
    assert (labelled.shape, labelled.outputs, labelled.task, labelled.net) == ((3,), 3, "classification", "")
    pixels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    fitted = Dataset("toy", pixels, torch.zeros(6, 5), pixels[:1], torch.zeros(1, 5), ())
    assert (fitted.shape, fitted.outputs, fitted.task) == ((1, 2, 2), 5, "regression")


def test_repr_is_short_and_shows_no_pixels():
    assert repr(make()) == "Dataset(name='toy', classes=('a', 'b'), net='')"


def test_to_moves_every_part():
    split = make(net="3-2").split_validation(0.2, seed=0)
    moved = split.to(torch.device("cpu"))
    for (part, x, y), (same, u, v) in zip(split.parts(), moved.parts(), strict=True):
        assert part == same and torch.equal(x, u) and torch.equal(y, v)
    assert [part for part, _, _ in moved.parts()] == ["train", "test", "val"] and moved.net == "3-2"
    if torch.cuda.is_available():
        assert all(t.is_cuda for _, x, y in split.to("cuda").parts() for t in (x, y))


def test_batches_go_to_the_device_that_is_named():
    """A device without memory stands for another one; what they are taken from stays where it is."""
    data = make()
    for generator in (None, torch.Generator()):
        taken = list(batches(data.x_train, data.y_train, 8, generator=generator, device="meta"))
        assert len(taken) == 3 and all(h.is_meta and y.is_meta for h, y in taken)
    assert data.x_train.device.type == data.y_train.device.type == "cpu"


def test_unlabelled_samples_are_moved_and_rescaled_but_not_split(monkeypatch):
    """Left behind on another device, or in another scale than the samples that the net was trained on."""
    free = torch.arange(15.0).reshape(5, 3)
    split = make(x_unlabelled=free).split_validation(0.2, seed=0)
    assert split.x_unlabelled is free and len(split.x_train) == 16
    assert [name for name, _ in split.inputs()] == ["x_train", "x_test", "x_val", "x_unlabelled"]
    assert [name for name, _ in make().inputs()] == ["x_train", "x_test"]
    offset, spread = split.x_train.mean(0), split.x_train.std(0, correction=0)
    assert torch.equal(split.scaled("standard").x_unlabelled, (free - offset) / spread)
    assert torch.equal(free, torch.arange(15.0).reshape(5, 3))
    pixels = torch.arange(60, dtype=torch.uint8).reshape(20, 3)
    scaled = make(x_train=pixels, x_test=pixels[:4], x_unlabelled=pixels[5:8]).scaled("unit")
    assert torch.equal(scaled.x_unlabelled, scaled.x_train[5:8])
    assert pixels.flatten().tolist() == list(range(60))
    monkeypatch.setattr(torch.Tensor, "to", lambda x, device: x + 100 if x.is_floating_point() else x)
    assert torch.equal(split.to("there").x_unlabelled, free + 100)


def test_as_float_scales_bytes_only():
    pixels = torch.arange(256, dtype=torch.uint8)
    scaled = as_float(pixels)
    assert scaled.dtype == torch.float32 and scaled[0] == 0 and scaled[255] == 1
    np.testing.assert_allclose(scaled.numpy(), np.arange(256) / 255, rtol=2e-7)
    assert pixels[255] == 255
    assert as_float(pixels, torch.float64)[51].item() == pytest.approx(0.2, abs=1e-15)
    floats = torch.tensor([-3.0, 700.0])
    assert as_float(floats) is floats
    assert as_float(floats, torch.bfloat16).dtype == torch.bfloat16


def test_batches_in_order_cover_all_once():
    x, y = torch.arange(10.0)[:, None], torch.arange(10)
    seen = list(batches(x, y, 4))
    assert [len(b) for b, _ in seen] == [4, 4, 2]
    assert torch.equal(torch.cat([b for b, _ in seen]), x) and torch.equal(torch.cat([t for _, t in seen]), y)
    assert [len(b) for b, _ in batches(x, y, 4, drop_last=True)] == [4, 4]
    assert [len(b) for b, _ in batches(x, y, 5, drop_last=True)] == [5, 5]
    assert [len(b) for b, _ in batches(x, y, 99)] == [10]
    assert list(batches(x, y, 99, drop_last=True)) == []


def test_batches_shuffle_by_their_generator_and_keep_pairs():
    x, y = torch.arange(50, dtype=torch.uint8)[:, None], torch.arange(50)

    def epoch(generator):
        pairs = list(batches(x, y, 8, generator=generator))
        assert all(torch.equal((b[:, 0] * 255).round().long(), t) for b, t in pairs)
        return torch.cat([t for _, t in pairs]).tolist()

    generator = torch.Generator().manual_seed(3)
    first, second = epoch(generator), epoch(generator)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second != list(range(50))
    assert first == torch.randperm(50, generator=torch.Generator().manual_seed(3)).tolist()
    assert epoch(torch.Generator().manual_seed(3)) == first


def test_batches_draw_once_at_the_call_and_leave_the_global_generator_alone():
    generator, state = torch.Generator().manual_seed(0), torch.get_rng_state()
    stream = batches(torch.zeros(10, 1), torch.zeros(10), 2, generator=generator)
    drawn = generator.get_state()
    list(stream)
    assert torch.equal(generator.get_state(), drawn) and torch.equal(torch.get_rng_state(), state)


def test_shuffled_batches_are_copies():
    x = torch.zeros(4, 1)
    for b, _ in batches(x, torch.zeros(4), 2, generator=torch.Generator()):
        b.add_(1)
    assert x.sum() == 0


def test_batches_refuse_bad_arguments_at_the_call():
    with refused("batch size is 0", "at least 1"):
        batches(torch.zeros(4, 1), torch.zeros(4), 0)
    with refused("4 samples", "y 3"):
        batches(torch.zeros(4, 1), torch.zeros(3), 2)


def test_validation_is_stratified_disjoint_and_seeded():
    x = torch.arange(130.0)[:, None]
    y = torch.tensor([0] * 100 + [1] * 20 + [2] * 10)
    whole = make(x_train=x, y_train=y, x_test=x[:1], y_test=y[:1], classes=tuple("abc")).split_validation(0.0, 0)
    split = whole.split_validation(0.1, seed=5)
    assert torch.bincount(split.y_val).tolist() == [10, 2, 1]
    together = torch.cat([split.x_train, split.x_val]).flatten().sort().values
    assert torch.equal(together, x.flatten())
    assert torch.equal(y[split.x_val.flatten().long()], split.y_val)
    assert torch.equal(whole.split_validation(0.1, seed=5).x_val, split.x_val)
    assert not torch.equal(whole.split_validation(0.1, seed=6).x_val, split.x_val)


def test_validation_never_takes_the_only_sample_of_a_class():
    y = torch.tensor([0] * 9 + [1])
    split = make(n=10, y_train=y).split_validation(0.5, seed=0)
    assert torch.bincount(split.y_train, minlength=2).tolist() == [5, 1]


def test_validation_of_regression_is_a_random_part():
    targets = torch.arange(20.0)[:, None]
    fit = make(y_train=targets, y_test=targets[:4], classes=()).split_validation(0.25, seed=0)
    assert len(fit.y_val) == 5 and len(fit.y_train) == 15
    assert sorted(torch.cat([fit.y_val, fit.y_train]).flatten().tolist()) == list(range(20))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, math.nan])
def test_validation_refuses_a_fraction_outside(fraction):
    with refused("validation fraction", fraction, "0 <= fraction < 1"):
        make().split_validation(fraction, 0)


def test_validation_refuses_to_split_twice():
    with refused("validation part already"):
        make().split_validation(0.2, 0).split_validation(0.2, 0)


def test_standard_scale_uses_training_statistics_only():
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 3, (50, 4)), rng.normal(9, 1, (10, 4))
    train[:, 2] = test[:, 2] = 0.1
    raw = from_torch((train, np.arange(50) % 2), (test, np.arange(10) % 2))
    scaled = raw.scaled("standard")
    spread = train.std(0)
    spread[2] = 1
    np.testing.assert_allclose(scaled.x_train, (train - train.mean(0)) / spread, atol=1e-5)
    np.testing.assert_allclose(scaled.x_test, (test - train.mean(0)) / spread, atol=1e-5)


def test_unit_scale_is_per_channel_for_images():
    images = torch.randint(0, 200, (6, 3, 4, 4), dtype=torch.uint8)
    images[:, 1] //= 4
    scaled = from_torch((images, torch.arange(6) % 2), (images, torch.arange(6) % 2)).scaled("unit")
    low, high = images.numpy().min((0, 2, 3)).astype(float), images.numpy().max((0, 2, 3)).astype(float)
    expected = (images.numpy() - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_allclose(scaled.x_test, expected, atol=1e-6)
    assert scaled.x_train.amin() == 0 and scaled.x_train.amax() == pytest.approx(1)


def test_scaling_leaves_the_original_and_none_leaves_all():
    original = make()
    before = original.x_train.clone()
    original.scaled("standard")
    assert torch.equal(original.x_train, before) and original.scaled(None) is original
    with refused("'standart'", "did you mean 'standard'?"):
        original.scaled("standart")


NAN, LABELS = torch.zeros(20, 3), torch.arange(20) % 2
NAN[7, 2] = math.nan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": NAN}, ["x_train is nan", "row 7, column 2"]),
        ({"x_test": NAN[4:8].neg().nan_to_num(-math.inf)}, ["x_test is -inf", "row 3, column 2"]),
        ({"y_train": LABELS[:19]}, ["x_train", "20 samples", "19 labels"]),
        ({"x_test": torch.zeros(4, 2)}, ["x_test", "(2,)", "(3,)"]),
        ({"x_test": torch.zeros(4, 3, dtype=torch.uint8)}, ["x_test", "uint8", "float32"]),
        ({"x_test": torch.zeros(0, 3), "y_test": LABELS[:0]}, ["x_test is empty", "at least one sample"]),
        ({"x_train": torch.zeros(20)}, ["shape (20,)", "(N, features)"]),
        ({"x_train": torch.zeros(20, 3, dtype=torch.float64)}, ["float64", "float32"]),
        ({"y_test": torch.tensor([0, 1, 2, 0])}, ["y_test: labels out of range", "2 in row 2", "0 to 1"]),
        ({"y_test": torch.tensor([0, 1, 0, -1])}, ["labels out of range", "-1 in row 3"]),
        ({"y_test": torch.zeros(4)}, ["y_test is torch.float32", "int64 class labels"]),
        ({"classes": ("only",)}, ["only 1 class (only)", "at least 2"]),
        ({"classes": (), "y_train": torch.zeros(20, 2), "y_test": torch.zeros(4, 3)}, ["y_test", "(4, 3)", "alike"]),
        ({"classes": (), "y_train": NAN, "y_test": torch.zeros(4, 3)}, ["y_train is nan", "row 7, column 2"]),
        ({"x_val": torch.zeros(2, 3)}, ["x_val and y_val", "both or neither"]),
        ({"x_unlabelled": NAN}, ["x_unlabelled is nan", "row 7, column 2"]),
        ({"x_unlabelled": torch.zeros(4, 2)}, ["x_unlabelled", "(2,)", "(3,)", "as x_train"]),
        ({"x_unlabelled": torch.zeros(4, 3, dtype=torch.uint8)}, ["x_unlabelled", "uint8", "float32"]),
        ({"x_unlabelled": torch.zeros(0, 3)}, ["x_unlabelled is empty", "at least one sample"]),
    ],
)
def test_unsound_data_sets_are_refused(changes, words):
    with refused("toy", *words):
        make(**changes)


def test_errors_survive_pickling_and_newlines():
    error = pickle.loads(pickle.dumps(DataError("one\ntwo")))
    assert isinstance(error, ValueError) and str(error) == "one two"
