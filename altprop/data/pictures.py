"""One image file as an array: turned as its EXIF says, at 8 or 16 bits, grey or RGB, and nothing dropped in silence."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from .errors import DAMAGE, DataError, DataWarning, check_room, reading

# Formats that say by their first bytes what they are: of others any text might pass for an image.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
IMAGE_SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
                  ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif")  # fmt: skip
EXPECTED = "a PNG or JPEG image, or BMP, WebP, TIFF or GIF"
MOST_PIXELS = 89_478_485  # of one image, Pillow's own limit; 100 kB of PNG may claim a hundred times as many

_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # one number of 16 bits a pixel
_FLAT = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB", "RGBX": "RGB"}
_TURNS = {  # what undoes each orientation of EXIF
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass
class Notes:
    """What reading images has left out, read in part or taken for granted: told in one line at its end."""

    unread: Counter[str] = field(default_factory=Counter)  # by suffix: files of no format that is read
    left: Counter[str] = field(default_factory=Counter)  # what else is left out
    partly: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    def tell(self, path: Path) -> None:
        """Warns of everything noted, with counts, or says nothing where there is nothing."""
        suffixes = ", ".join(f"{count} {suffix}" for suffix, count in self.unread.most_common(6))
        more = ", ..." * (len(self.unread) > 6)
        parts = [f"{sum(self.unread.values())} left out, of no format that is read ({suffixes}{more})"] * bool(suffixes)
        parts += [f"{count} left out, {kind}" for kind, count in self.left.most_common() if count]
        parts += [f"{count} read {how}" for how, count in self.partly.most_common() if count]
        if parts or self.said:
            warnings.warn(f"{path}: {'; '.join(self.said + parts)}", DataWarning, stacklevel=3)


@contextmanager
def opened(path: Path, notes: Notes | None = None) -> Iterator[Image.Image]:
    """The first frame of an image file, of a size that can be held, upright. Raises `DataError` for any other file."""
    with reading(path, EXPECTED), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of metadata; a size beyond its limit is refused below
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]
        # By the open file: given the path, Pillow maps an uncompressed TIFF into memory, and garbles one on its side.
        with open(path, "rb") as file, Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                came = f"has {width} x {height} pixels"
                raise DataError(f"{path}: {came}; expected up to {MOST_PIXELS / 1e6:.0f} million; make it smaller")
            notes = notes or Notes()
            notes.partly["at 8 of 16 bits, as colours are"] += _narrowed(image)
            image.load()
            yield _upright(image, notes)
            # Last, since it may turn to another frame. The second picture of a camera's JPEG is a small copy.
            notes.partly["by the first of several frames"] += image.format != "MPO" and _animated(image)


def _narrowed(image: Image.Image) -> bool:
    """Whether Pillow gives 8 bits of colours that have more in the file."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    if image.mode in _DEEP or image.format not in ("PNG", "TIFF", "PPM"):
        return False
    if image.format == "PPM":
        return isinstance(arguments, tuple) and arguments[1] > 255
    return "16" in str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _upright(image: Image.Image, notes: Notes) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # the picture is there all the same
        notes.partly["without its EXIF data, which are damaged"] += 1
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DAMAGE:  # in a frame that is not read
        return True


def read_image(
    path: Path, shape: tuple[int, ...] | None = None, like: str = "the first image is", notes: Notes | None = None
) -> np.ndarray:
    """An image (C, H, W) of C = 1, grey, or 3, RGB: uint8, or where it has 16 bits of grey float32 in [0, 1].

    Black and white counts as grey; a palette gives RGB, or grey where all its colours are and `shape` is not of RGB;
    opaque alpha is dropped. Raises `DataError`, naming the file, for transparent pixels, other modes, integers beyond
    16 bits, and another shape than `shape`, which is said to be as `like`.
    """
    with opened(path, notes) as image:
        mode = image.mode
        if mode in _DEEP:
            pixels = _deep(path, image)[None]
        elif mode in _FLAT:
            pixels = _flat(path, image, shape)
        else:
            came = f"has mode {mode}"
            raise DataError(f"{path}: {came}; expected L (grey) or RGB; convert it, as by Image.convert('RGB')")
    if shape and pixels.shape != shape:
        came = f"{mode} of (C, H, W) = {pixels.shape}"
        raise DataError(f"{path}: is {came}; expected {shape}, as {like}; resize or convert it")
    return pixels


def _deep(path: Path, image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535 or "transparency" in image.info:
        came = "a transparent grey" if "transparency" in image.info else f"integers from {low} to {high}"
        raise DataError(f"{path}: has {came}; expected 16 bits, 0 to 65535; convert it, or give its numbers as .npz")
    return values.astype(np.float32) / np.float32(65535)


def _flat(path: Path, image: Image.Image, shape: tuple[int, ...] | None) -> np.ndarray:
    if image.has_transparency_data and (np.asarray(image.convert("RGBA"))[..., 3] < 255).any():
        came = f"has mode {image.mode} with transparent pixels"
        raise DataError(f"{path}: {came}; expected an opaque image; lay it on a background, then convert('RGB')")
    pixels = np.atleast_3d(np.asarray(image.convert(_FLAT[image.mode]))).transpose(2, 0, 1)
    # GIF has a palette only; of grey images it has the greys that occur.
    grey = image.mode in ("P", "PA") and (shape is None or shape[0] == 1) and (pixels == pixels[:1]).all()
    return pixels[:1] if grey else pixels


def read_images(where: Path, files: Sequence[Path], shape: tuple[int, ...] | None, like: str, notes: Notes) -> Tensor:
    """Images x (N, C, H, W) of the folder `where`, uint8 or float32 as `read_image` gives them, of one shape and depth.

    Raises `DataError`, naming the file, for one that is unlike the first, or unlike `shape`, and for more than a third
    of memory.
    """
    first = read_image(files[0], shape, like, notes)
    size = first.nbytes * len(files)
    check_room(where, f"{len(files)} images of {first.shape} take", size, "give fewer or smaller ones")
    x = torch.empty(len(files), *first.shape, dtype=torch.uint8 if first.dtype == np.uint8 else torch.float32)
    for row, file in enumerate(files):  # filled in place: stacking would need twice as much
        pixels = read_image(file, first.shape, like, notes) if row else first
        if pixels.dtype != first.dtype:
            came, expected = ("8 bits" if array.dtype == np.uint8 else "16 bits" for array in (pixels, first))
            raise DataError(f"{file}: has {came} a pixel; expected {expected}, as the first image has; convert it")
        x[row] = torch.from_numpy(pixels.copy())
    return x
