"""Downloads, from a server on this machine with archives made here."""

import gc
import gzip
from dataclasses import replace

import pytest
import torch
from data_helpers import archive, cifar10_files, idx_files, refused, registered, serve, serving

from altprop.data import DATASETS, fetch, load
from altprop.data.download import SOURCES, data_folder, retrieve
from altprop.data.images import cifar10, mnist


@pytest.fixture
def server():
    with serving() as served:
        yield served


MNIST = {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}
CIFAR = {"cifar-10-python.tar.gz": archive("cifar-10-batches-py", {**cifar10_files(), "readme.html": b"not wanted"})}


def test_idx_files_come_once_and_whole(server, tmp_path):
    url, files, asked = server
    serve(files, "mnist", MNIST)
    source = registered("mnist", MNIST)
    folder = retrieve("mnist", source, tmp_path, url + "/", progress=False)
    assert folder == tmp_path / "MNIST" / "raw" and len(asked) == 4
    assert sorted(p.name for p in folder.iterdir()) == sorted(MNIST)
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]
    assert mnist(folder).x_train[9].unique().tolist() == [9]
    assert retrieve("mnist", source, tmp_path, url, progress=False) == folder and len(asked) == 4


def test_archives_are_unpacked_to_the_wanted_files(server, tmp_path):
    url, files, _ = server
    serve(files, "cifar10", CIFAR)
    folder = retrieve("cifar10", registered("cifar10", CIFAR), tmp_path / "new" / "folder", url, progress=False)
    assert sorted(p.name for p in folder.iterdir()) == sorted(SOURCES["cifar10"].files)
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["cifar-10-batches-py"]
    assert len(cifar10(folder).x_train) == 20


def test_without_a_mirror_the_publisher_is_asked(server, tmp_path):
    url, files, asked = server
    files.update({f"/{file}": data for file, data in MNIST.items()})
    retrieve("mnist", replace(registered("mnist", MNIST), url=url), tmp_path, progress=False)
    assert sorted(asked) == sorted(f"/{file}" for file in MNIST)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    url, files, _ = server
    serve(files, "mnist", {**MNIST, "t10k-labels-idx1-ubyte.gz": b"something else"})
    expected = registered("mnist", MNIST).sha256["t10k-labels-idx1-ubyte.gz"]
    with refused("mnist/t10k-labels-idx1-ubyte.gz", "SHA-256", expected, "ALTPROP_MIRROR"):
        retrieve("mnist", registered("mnist", MNIST), tmp_path, url, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the socket that broke off
@pytest.mark.parametrize("answer", [404, 503, (b"half", 1000), b""])
def test_a_failing_server_leaves_nothing(server, tmp_path, answer):
    url, files, _ = server
    serve(files, "cifar10", {"cifar-10-python.tar.gz": answer})
    with refused("cifar10/cifar-10-python.tar.gz", "download failed"):
        retrieve("cifar10", registered("cifar10", CIFAR), tmp_path, url, progress=False)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_no_server_and_no_protocol_are_refused(tmp_path):
    for mirror in ("http://127.0.0.1:9", "gopher://127.0.0.1"):
        with refused("download failed"):
            retrieve("mnist", SOURCES["mnist"], tmp_path, mirror, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        archive("cifar-10-batches-py", {"data_batch_1": b"alone"}),
        archive("../cifar-10-batches-py", cifar10_files()),
        CIFAR["cifar-10-python.tar.gz"][:-200],
        b"no archive",
    ],
    ids=["incomplete", "outside", "cut", "text"],
)
def test_a_bad_archive_leaves_nothing(server, tmp_path, content):
    url, files, _ = server
    wrong = {"cifar-10-python.tar.gz": content}
    serve(files, "cifar10", wrong)
    with refused("cifar-10-python.tar.gz"):
        retrieve("cifar10", registered("cifar10", wrong), tmp_path / "data", url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_incomplete_sets_are_fetched_again(server, tmp_path):
    url, files, _ = server
    serve(files, "mnist", MNIST)
    source = registered("mnist", MNIST)
    folder = retrieve("mnist", source, tmp_path, url, progress=False)
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert len(mnist(retrieve("mnist", source, tmp_path, url, progress=False)).y_train) == 20


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with refused("cannot be stored", "ALTPROP_DATA"):
        retrieve("mnist", SOURCES["mnist"], tmp_path / "file", "http://127.0.0.1:9", progress=False)


def test_the_published_checksums_are_enforced(server, tmp_path, monkeypatch):
    url, files, _ = server
    serve(files, "fashion_mnist", MNIST)
    monkeypatch.setenv("ALTPROP_MIRROR", url)
    monkeypatch.setenv("ALTPROP_DATA", str(tmp_path))
    with refused(f"{url}/fashion_mnist/train-images", SOURCES["fashion_mnist"].sha256["train-images-idx3-ubyte.gz"]):
        load("fashion_mnist", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_terminals_only(server, tmp_path, capfd):
    url, files, _ = server
    serve(files, "mnist", MNIST)
    retrieve("mnist", registered("mnist", MNIST), tmp_path, url, progress=True)
    assert "%" not in capfd.readouterr().err


def test_sources_are_complete():
    assert set(SOURCES) == {name for name, entry in DATASETS.items() if entry.downloadable}
    for source in SOURCES.values():
        assert source.url.startswith("https://") and not source.url.endswith("/")
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in source.sha256.values())


def test_where_data_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("ALTPROP_DATA", "/from/environment")
    assert str(data_folder()) == "/from/environment" and data_folder(tmp_path) == tmp_path
    monkeypatch.delenv("ALTPROP_DATA")
    assert data_folder().name == "altprop"


@pytest.mark.parametrize(
    ("name", "words"), [("digits", ["built in"]), ("minst", ["unknown", "did you mean 'mnist'?", "cifar100"])]
)
def test_fetch_refuses_names(name, words):
    with refused(f"'{name}'", *words):
        fetch(name)


def test_fetch_finds_what_is_there(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in MNIST.items():
        (folder / name).write_bytes(content)
    assert fetch("mnist", tmp_path) == folder
    assert torch.equal(load("mnist", data_dir=str(tmp_path)).y_test, torch.arange(10))
