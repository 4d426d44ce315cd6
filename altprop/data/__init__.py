"""Data sets as tensors: the published ones by name, the user's own by path, and batches of either.

>>> from altprop.data import batches, load
>>> digits = load("digits", val=0.1)
>>> x, y = next(batches(digits.x_train, digits.y_train, 64))
>>> x.shape
torch.Size([64, 1, 8, 8])
"""

from .augment import AUGMENTATIONS, OF_ANY_SHAPE
from .catalogue import DATASETS, Entry, fetch, load
from .columns import TableEncoding, encode
from .convert import from_torch
from .dataset import Dataset, as_float, as_input, batches
from .errors import DataError, DataWarning, printable
from .features import image_names, read_features, read_samples
from .labelled import Labelled, read_labelled
from .scaling import Raw, far
from .shapes import advice
from .weights import combined, spell_weights

__all__ = [
    "AUGMENTATIONS", "DATASETS", "OF_ANY_SHAPE", "DataError", "DataWarning", "Dataset", "Entry", "Labelled", "Raw",
    "TableEncoding", "advice", "as_float", "as_input", "batches", "combined", "encode", "far", "fetch", "from_torch",
    "image_names", "load", "printable", "read_features", "read_labelled", "read_samples", "spell_weights",
]  # fmt: skip
