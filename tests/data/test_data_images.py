"""Readers of published image sets, against files written from the formats' descriptions, and the real ones if there."""

import gzip
import os
import pickle
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import cifar10_files, cifar100_files, cifar_images, idx_bytes, idx_files, refused, write_files

from altprop.data import DATASETS, load
from altprop.data.images import read_idx, read_pickle


@pytest.fixture
def mnist(tmp_path):
    write_files(tmp_path / "MNIST" / "raw", idx_files())
    return tmp_path


@pytest.fixture
def cifar(tmp_path):
    write_files(tmp_path / "cifar-10-batches-py", cifar10_files())
    write_files(tmp_path / "cifar-100-python", cifar100_files())
    return tmp_path


def test_idx_set(mnist):
    data = load("mnist", data_dir=mnist)
    assert (data.name, data.shape, data.outputs, data.net) == ("mnist", (1, 28, 28), 10, "784-1024-10")
    assert data.x_train.dtype == torch.uint8 and data.x_train.shape == (20, 1, 28, 28) and len(data.x_test) == 10
    assert data.x_train[:, 0, 3, 5].tolist() == list(range(20))
    assert data.y_train.tolist() == [i % 10 for i in range(20)] and data.y_train.dtype == torch.int64
    assert data.classes == tuple("0123456789")


def test_idx_keeps_rows_and_columns_apart(tmp_path):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    (tmp_path / "file").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "file", 3), array)


@pytest.mark.parametrize("place", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_places_and_compression(tmp_path, place, zipped):
    files = idx_files()
    if zipped:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    write_files(tmp_path / place, files)
    assert load("mnist", data_dir=tmp_path).x_train[7].unique().tolist() == [7]


def test_the_environment_names_the_data_folder(mnist, monkeypatch):
    monkeypatch.setenv("ALTPROP_DATA", str(mnist))
    assert len(load("mnist").x_train) == 20


@pytest.mark.parametrize("folder", [".", "MNIST", "MNIST/raw"])
def test_mnist_is_never_taken_for_fashion_mnist(mnist, folder):
    with refused("download failed"):
        load("fashion_mnist", data_dir=mnist / folder, mirror="http://127.0.0.1:9", progress=False)


TRAIN = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:5000], [TRAIN, "5000 bytes", f"{16 + 20 * 784} for shape (20, 28, 28)", "cut short"]),
        (lambda b: b + b"x", [TRAIN, f"{16 + 20 * 784 + 1} bytes"]),
        (lambda b: b[:9], ["9 bytes", "a header of 16"]),
        (lambda b: b"", ["empty", "an idx file"]),
        (lambda b: b"\0\0\x0d\x03" + b[4:], ["starts with 00000d03", "expected 00000803"]),
        (lambda b: b"<html>" + b, ["starts with 3c68746d", "00000803"]),
        (lambda b: gzip.compress(b)[:-20], [TRAIN, "EOFError", "damaged"]),
        (lambda b: gzip.compress(b)[:-6] + b"sixsix", [TRAIN, "BadGzipFile"]),
        (lambda b: idx_bytes(np.zeros((19, 28, 28))), ["mnist", "19 samples", "20 labels"]),
        (lambda b: idx_bytes(np.zeros((20, 28, 27))), ["(1, 28, 28)", "(1, 28, 27)"]),
    ],
    ids=range(10),
)
def test_damaged_idx_files_are_refused(mnist, damage, words):
    path = mnist / "MNIST" / "raw" / TRAIN
    path.write_bytes(damage(path.read_bytes()))
    with refused(*words):
        load("mnist", data_dir=mnist)


def test_idx_images_of_another_size_are_refused(tmp_path):
    write_files(tmp_path / "MNIST" / "raw", idx_files(size=8))
    with refused("mnist", "(1, 8, 8)", "(1, 28, 28)"):
        load("mnist", data_dir=tmp_path)


def test_idx_labels_out_of_range_are_refused(mnist):
    (mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0] * 9 + [11])))
    with refused("y_test: labels out of range", "11 in row 9", "0 to 9"):
        load("mnist", data_dir=mnist)


def test_cifar10(cifar):
    data = load("cifar10", data_dir=cifar)
    assert data.x_train.shape == (20, 3, 32, 32) and data.x_train.dtype == torch.uint8 and len(data.x_test) == 4
    assert data.y_train.tolist() == [(batch + i) % 10 for batch in range(1, 6) for i in range(4)]
    assert data.x_train[3, :, 1, 0].tolist() == [3, 103, 203]
    assert data.x_train[0, 0, 0].tolist() == list(range(32))
    assert data.classes[9] == "class9" and data.net == "3072-1024-10"


def test_cifar100_takes_fine_labels(cifar):
    data = load("cifar100", data_dir=cifar)
    assert data.y_train.tolist() == [95, 96, 97, 98] and data.y_test.tolist() == [3, 4, 5, 6]
    assert data.outputs == 100 and data.classes[42] == "fine42" and data.net == "3072-1024-100"


@pytest.mark.parametrize("keys", [bytes, str])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar_pickles_of_any_python(tmp_path, keys, protocol):
    write_files(tmp_path / "cifar-10-batches-py", cifar10_files(keys=keys, protocol=protocol))
    data = load("cifar10", data_dir=tmp_path)
    np.testing.assert_array_equal(data.x_test.reshape(4, 3072), cifar_images(4))
    assert data.classes[0] == "class0"


def test_cifar_pickle_of_numpy_before_two(cifar):
    path = cifar / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert len(load("cifar10", data_dir=cifar).x_test) == 4


@pytest.mark.parametrize("array", [np.array([[1, -300]], ">i2"), np.asfortranarray(np.arange(6.0).reshape(2, 3))])
def test_pickled_arrays_keep_type_and_order(tmp_path, array):
    (tmp_path / "file").write_bytes(pickle.dumps({"a": array, b"b": [1, 2]}, protocol=2))
    read = read_pickle(tmp_path / "file")
    np.testing.assert_array_equal(read["a"], array)
    assert read["b"] == [1, 2]


class Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Calls(os.system, "touch pwned"), f"{os.system.__module__}.system"),
        (Calls(subprocess.check_call, ["touch", "pwned"]), "subprocess.check_call"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(np.load, "x"), "numpy.load"),
        (np.float64, "numpy.float64"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_ask_for_more_are_refused(cifar, monkeypatch, thing, name, protocol):
    monkeypatch.chdir(cifar)
    path = cifar / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({b"data": thing, b"labels": []}, protocol, fix_imports=False))
    with refused("data_batch_3", f"asks for {name}", "malicious"):
        load("cifar10", data_dir=cifar)
    assert not (cifar / "pwned").exists()


def test_no_numpy_class_can_be_called_by_a_pickle(tmp_path):
    (tmp_path / "file").write_bytes(b"cnumpy\nndarray\n(K\x03\x85tR.")
    with refused("TypeError"):
        read_pickle(tmp_path / "file")
    (tmp_path / "file").write_bytes(pickle.dumps({"a": np.array([None, "text"])}, protocol=2))
    with refused("array of object", "plain numbers"):
        read_pickle(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda b: b[:1000], ["data_batch_2", "damaged"]),
        (lambda b: b"", ["data_batch_2", "empty"]),
        (lambda b: b"not a pickle at all", ["data_batch_2", "expected a pickled CIFAR batch"]),
        (lambda b: b"\x80\x02" + random.Random(0).randbytes(100), ["data_batch_2"]),
        (lambda b: b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f", ["data_batch_2", "more than fits into memory"]),
        (lambda b: b"\x80\x02Nr\xff\xff\xff\xff", ["data_batch_2", "EOFError"]),
        (lambda b: pickle.dumps([1]), ["pickled list", "dictionary"]),
        (lambda b: pickle.dumps({"data": 1}, 2), ["no 'labels'", "'data'"]),
        (lambda b: pickle.dumps({"data": 1, "labels": [1]}, 2), ["data int", "uint8 (N, 3072)"]),
        (lambda b: pickle.dumps({"data": cifar_images(2)[:, :9], "labels": [1, 2]}, 2), ["(2, 9)", "(N, 3072)"]),
        (lambda b: pickle.dumps({"data": cifar_images(2), "labels": [1]}, 2), ["1 labels for 2 images"]),
        (lambda b: pickle.dumps({"data": cifar_images(2), "labels": [1, 10]}, 2), ["labels out of range", "10 in row"]),
        (
            lambda b: pickle.dumps({"data": cifar_images(2), "labels": ["a", "b"]}, 2),
            ["str in row 0", "expected numbers"],
        ),
    ],
    ids=range(13),
)
def test_damaged_pickles_are_refused(cifar, content, words):
    path = cifar / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(content(path.read_bytes()))
    with refused(*words):
        load("cifar10", data_dir=cifar)


def test_every_cut_of_a_pickle_is_refused_in_one_line(tmp_path):
    whole = pickle.dumps({b"data": np.arange(6, dtype=np.uint8), b"labels": [1, 2]}, protocol=2)
    for end in range(len(whole)):
        (tmp_path / "file").write_bytes(whole[:end])
        with refused("file"):
            read_pickle(tmp_path / "file")


@pytest.fixture
def real():
    if "ALTPROP_DATA" not in os.environ:
        pytest.skip("ALTPROP_DATA is not set: the published image sets are not at hand")
    return Path(os.environ["ALTPROP_DATA"])


# Mean of each channel / 255 of training and test part, as published. Copies of CIFAR differ in the order of samples.
KNOWN = {
    "mnist": ([0.1307], [0.1325]),
    "fashion_mnist": ([0.2860], [0.2868]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.4942, 0.4851, 0.4504]),
    "cifar100": ([0.5071, 0.4866, 0.4409], [0.5088, 0.4874, 0.4419]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_real_sets(real, name):
    data, entry = load(name, data_dir=real, progress=False), DATASETS[name]
    assert (len(data.x_train), len(data.x_test), data.shape) == (entry.n_train, entry.n_test, entry.shape)
    for (_, x, _), means in zip(data.parts(), KNOWN[name], strict=True):
        sums = x.sum((0, 2, 3), dtype=torch.int64).double()
        np.testing.assert_allclose(sums * entry.shape[0] / x.numel() / 255, means, atol=1e-4)
    if name != "mnist":
        assert torch.bincount(data.y_train).tolist() == [entry.n_train // entry.classes] * entry.classes


def test_the_real_mnist_samples(real):
    data = load("mnist", data_dir=real)
    assert data.y_train[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3] and data.y_test[:4].tolist() == [7, 2, 1, 0]
    assert torch.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    five = data.x_train[0, 0]
    assert five.sum(dtype=torch.int64) == 27525 and five[5, 12:20].tolist() == [3, 18, 18, 18, 126, 136, 175, 26]


def test_the_real_fashion_samples(real):
    data = load("fashion_mnist", data_dir=real)
    assert [data.classes[i] for i in data.y_train[:4]] == ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"]


def test_the_real_cifar_samples(real):
    data = load("cifar10", data_dir=real)
    x = data.x_train.numpy()
    known = (x[:, :, 0, 0] == [59, 62, 63]).all(1) & (x[:, 0, 0, 1:3] == [43, 50]).all(1)
    assert known.sum() == 1 and data.classes[int(data.y_train[known.nonzero()[0][0]])] == "frog"
