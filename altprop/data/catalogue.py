"""The data sets known by name, and `load`, the one way in."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from . import images
from .cells import TASKS
from .columns import TableEncoding
from .convert import assemble
from .dataset import Dataset
from .download import SOURCES, data_folder, retrieve
from .errors import DataError, suggest, user_path, within_memory
from .files import read_file, refuse_table_options
from .imagenette import imagenette
from .stl10 import stl10


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before it is loaded; `classes` is their number, 0 for regression."""

    loader: Callable[..., Dataset]
    about: str
    shape: tuple[int, ...]
    classes: int
    outputs: int
    n_train: int
    n_test: int
    net: str
    source: str
    downloadable: bool = False

    @property
    def task(self) -> str:
        """Either "classification" or "regression"."""
        return "classification" if self.classes else "regression"


def digits() -> Dataset:
    """Handwritten digits of scikit-learn, (1, 8, 8) in [0, 1]; the stratified fifth for testing is always the same."""
    package: Any = find_spec("sklearn")  # whose file is read, since importing it takes as long as torch does
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")  # (1797, 65): pixels from 0 to 16, and the label
    x, y = table[:, :-1], table[:, -1].astype(np.int64)
    return assemble("digits", (x.reshape(-1, 1, 8, 8) / 16, y), None, seed=0, classes=images.DIGITS)


def drtp_regression() -> Dataset:
    """x (256,) ~ N(mu, 1) with mu ~ U(-pi, pi) for each sample; y_i = cos(mean(x) + pi (i - 4.5) / 9), i = 0..9."""
    rng = np.random.default_rng(0)
    mu = rng.uniform(-np.pi, np.pi, (6000, 1))
    x = rng.normal(mu, 1, (6000, 256))
    y = np.cos(x.mean(1, keepdims=True) + np.pi * (np.arange(10) - 4.5) / 9)
    return assemble("drtp_regression", (x[:5000], y[:5000]), (x[5000:], y[5000:]))


def drtp_classification() -> Dataset:
    """x (256,) of which 128 features carry 10 classes of 5 clusters each, at the corners of a hypercube of side 9."""
    from sklearn.datasets import make_classification

    x, y = make_classification(30000, n_features=256, n_informative=128, n_redundant=0, n_classes=10,
                               n_clusters_per_class=5, class_sep=4.5, random_state=0)  # fmt: skip
    return assemble("drtp_classification", (x[:25000], y[:25000]), (x[25000:], y[25000:]), classes=images.DIGITS)


_DRTP = "Frenkel, Lefebvre and Bol: Learning without feedback. Frontiers in Neuroscience 15, 2021"
_CIFAR = "Krizhevsky: Learning multiple layers of features from tiny images. University of Toronto, 2009"

DATASETS: dict[str, Entry] = {
    "digits": Entry(
        digits, "handwritten digits, tiny and built in", (1, 8, 8), 10, 10, 1438, 359, "64-32-10",
        "Alpaydin and Kaynak: Optical recognition of handwritten digits. UCI repository, 1998; by scikit-learn"),
    "drtp_regression": Entry(
        drtp_regression, "ten phase-shifted cosines of a noisy mean", (256,), 0, 10, 5000, 1000, "256-500-10", _DRTP),
    "drtp_classification": Entry(
        drtp_classification, "clusters at corners of a hypercube", (256,), 10, 10, 25000, 5000, "256-500-10", _DRTP),
    "mnist": Entry(
        images.mnist, "handwritten digits", (1, 28, 28), 10, 10, 60000, 10000, "784-1024-10",
        "LeCun, Bottou, Bengio and Haffner: Gradient-based learning. Proceedings of the IEEE 86, 1998", True),
    "fashion_mnist": Entry(
        images.fashion_mnist, "articles of clothing", (1, 28, 28), 10, 10, 60000, 10000, "784-1024-10",
        "Xiao, Rasul and Vollgraf: Fashion-MNIST. arXiv:1708.07747, 2017", True),
    "cifar10": Entry(
        images.cifar10, "small colour photographs", (3, 32, 32), 10, 10, 50000, 10000, "3072-1024-10", _CIFAR, True),
    "cifar100": Entry(
        images.cifar100, "the same of 100 classes", (3, 32, 32), 100, 100, 50000, 10000, "3072-1024-100", _CIFAR, True),
    "stl10": Entry(
        stl10, "photographs, 100000 more unlabelled (2.6 GB)", (3, 96, 96), 10, 10, 5000, 8000,
        "27648-256-10", "Coates, Lee and Ng: An analysis of single-layer networks. AISTATS, 2011", True),
    "imagenette": Entry(
        imagenette, "ten easy classes of ImageNet (99 MB)", (3, 160, 160), 10, 10, 9469, 3925,
        "76800-256-10", "Howard: Imagenette. https://github.com/fastai/imagenette, 2019", True),
}  # fmt: skip


def load(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    label: str = "label",
    scale: str | None = None,
    val: float = 0.0,
    seed: int = 0,
    mirror: str | None = None,
    progress: bool = True,
    task: str | None = None,
    encoding: str | None = None,
    categories: Sequence[str] = (),
    missing: str | None = None,
    table: TableEncoding | None = None,
) -> Dataset:
    """A data set by its name in `DATASETS`, or the user's own: an .npz or .csv file, or a folder of images by class.

    `label` names the label column of a .csv; `scale` is None, "unit" or "standard" (`Dataset.scaled`); `val` is the
    share of the training part to hold out for validation; `seed` draws that, and the test part of data that have none.
    Published sets are sought in `data_dir`, else ALTPROP_DATA, else the user's cache, and downloaded there (`fetch`).
    `task` is "classification" or "regression" for labels that could be either; `encoding`, `categories`, `missing` and
    `table` are those of `read_csv`.
    A name goes before a folder so called: write Path("mnist") for the folder.
    Raises `DataError` for an unknown name and for all data that cannot be used.
    """
    options = {"encoding": encoding, "categories": categories, "missing": missing, "table": table}
    with within_memory(source):
        if isinstance(source, str) and source in DATASETS:
            refuse_table_options(source, options)
            dataset = _published(source, data_dir, mirror, progress)
        else:
            dataset = _own(source, label=label, seed=seed, val=val, task=task, **options)
        if task not in (None, dataset.task):
            came = f"task {task!r} came for data of {dataset.task}"
            raise DataError(f"{dataset.name}: {came}; expected one of {' and '.join(TASKS)} that fits; leave it out")
        return dataset.split_validation(val, seed).scaled(scale)


def _published(name: str, data_dir: str | Path | None, mirror: str | None, progress: bool) -> Dataset:
    entry = DATASETS[name]
    given = (fetch(name, data_dir, mirror, progress),) if entry.downloadable else ()
    dataset = replace(entry.loader(*given), net=entry.net)
    if dataset.shape != entry.shape:
        raise DataError(f"{name}: has samples of {dataset.shape}; expected {entry.shape}; get its files again")
    return dataset


def _own(source: str | Path, **options: Any) -> Dataset:
    if isinstance(source, str) and source == Path(source).stem and not (source and os.path.exists(source)):
        raise DataError(f"data set {source!r} is unknown; give a known name or a path; {suggest(source, DATASETS)}")
    return read_file(user_path(source), **options)


def fetch(name: str, data_dir: str | Path | None = None, mirror: str | None = None, progress: bool = True) -> Path:
    """The folder of a published data set, downloaded where it is not there yet and checked by SHA-256.

    `mirror`, else ALTPROP_MIRROR, else the publisher's address; a mirror has the files at <mirror>/<name>/<file>.
    Raises `DataError` for a name that cannot be downloaded, a server that fails, a wrong checksum.
    """
    if name not in SOURCES:
        came = "is built in, there is nothing to download" if name in DATASETS else "is unknown"
        raise DataError(f"data set {name!r} {came}; expected one that is published; {suggest(name, SOURCES)}")
    return retrieve(name, SOURCES[name], data_folder(data_dir), mirror or os.environ.get("ALTPROP_MIRROR"), progress)
