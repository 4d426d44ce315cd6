"""Reader of Imagenette: photographs of ten classes of ImageNet that are easily told apart, in folders by class."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .convert import assemble
from .dataset import Dataset
from .errors import DataError
from .folders import class_files, class_folders
from .pictures import Notes, opened

SIDE = 160  # pixels

CLASSES = {  # WordNet's number of the class, which names its folder -> the class
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def imagenette(folder: Path) -> Dataset:
    """Imagenette (Howard 2019) from its folder imagenette2-160: (3, 160, 160) uint8, the part val/ for testing.

    Raises `DataError` for an image that is damaged and for folders of other classes than its ten.
    """
    names = tuple(CLASSES.values())
    return assemble("imagenette", _read_part(folder / "train"), _read_part(folder / "val"), classes=names)


def read_photograph(path: Path) -> np.ndarray:
    """The middle square (3, 160, 160) uint8 of a photograph, resized so that its short side has 160 pixels.

    Grey ones become RGB. Where one pixel is left over it goes from the right or the bottom.
    """
    with opened(path) as file:
        image = file.convert("RGB")
    short = min(image.size)
    if short != SIDE:
        width, height = (SIDE * side // short for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = ((side - SIDE) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))  # (H, W, C)
    return pixels.transpose(2, 0, 1)


def _read_part(path: Path) -> tuple[Tensor, Tensor]:
    present = class_folders(path)
    odd = sorted(set(present) ^ set(CLASSES))
    if odd:
        came = f"has a folder {odd[0]}" if odd[0] in present else f"has no folder {odd[0]}"
        raise DataError(f"{path}: {came}; expected the {len(CLASSES)} of Imagenette; is it another set? get it again")
    notes = Notes()
    files, labels = class_files(path, tuple(CLASSES), notes)
    notes.tell(path)
    x = torch.empty(len(files), 3, SIDE, SIDE, dtype=torch.uint8)  # filled in place: stacking would need twice as much
    for row, file in enumerate(files):
        x[row] = torch.from_numpy(read_photograph(file).copy())
    return x, torch.tensor(labels)
