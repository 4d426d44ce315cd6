"""Data sets as tensors: the published ones by name, the user's own by path, and batches of either.

>>> from altprop.data import batches, load
>>> digits = load("digits", val=0.1)
>>> x, y = next(batches(digits.x_train, digits.y_train, 64))
>>> x.shape
torch.Size([64, 1, 8, 8])
"""

from .augment import AUGMENTATIONS
from .catalogue import DATASETS, Entry, fetch, load
from .convert import from_torch
from .dataset import Dataset, as_float, batches
from .errors import DataError, DataWarning
from .features import read_features
from .labelled import Labelled, align, find_columns, read_labelled
from .scaling import Raw, far
from .shapes import check_shape

__all__ = [
    "AUGMENTATIONS", "DATASETS", "DataError", "DataWarning", "Dataset", "Entry", "Labelled", "Raw", "align", "as_float",
    "batches", "check_shape", "far", "fetch", "find_columns", "from_torch", "load", "read_features", "read_labelled",
]  # fmt: skip
