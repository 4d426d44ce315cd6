"""Arrays of an .npz archive. What its directory and headers claim is held against the file before memory is taken."""

import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from .errors import DataError, check_room, readable_size, reading

INFLATION = 500  # times its size in the archive that a large array may have; deflate gives at most 1032
HARMLESS = 2**30  # bytes, up to which it may inflate as it likes

# Version 3 is that of records with names beyond latin1, which are no samples.
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name; nothing is unpickled.

    Raises `DataError` for anything else: encrypted members, names that stand twice, objects, headers that claim more or
    less than there is, and arrays beyond a third of memory.
    """
    with reading(path, "an .npz archive"), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: is no .npz archive, or one cut short; expected one; write it with numpy.savez")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            members = _members(path, archive)
            for name, member in members.items():
                with archive.open(member) as content:
                    _check_header(f"{path}: {name!r}", content, member.file_size)
            return {name: _array(archive, member) for name, member in members.items()}


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        where = f"{path}: {name!r}"
        if name in members:
            raise DataError(f"{where} stands twice in the archive; expected each array once; write it anew")
        if member.flag_bits & 1:
            raise DataError(f"{where} is encrypted; expected an open archive; unpack it, and write it with numpy.savez")
        if member.file_size > max(HARMLESS, INFLATION * member.compress_size):
            came = f"{readable_size(member.file_size)} out of {readable_size(member.compress_size)}"
            raise DataError(f"{where} unpacks to {came}; expected up to {INFLATION}-fold; write it with numpy.savez")
        members[name] = member
    whole = sum(member.file_size for member in members.values())
    check_room(path, "its arrays together take", whole, "give fewer samples or features, or a smaller type")
    return members


def _check_header(where: str, content: IO[bytes], size: int) -> None:
    """Raises `DataError` unless a member of `size` bytes holds exactly the array that its header claims."""
    if content.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
        raise DataError(f"{where} is no array; expected numbers, written with numpy.savez; take it out of the archive")
    version = tuple(content.read(2))
    if version not in _HEADERS:
        raise DataError(f"{where} is in version {version} of npy; expected an array of plain numbers; write it anew")
    shape, _, dtype = _HEADERS[version](content)
    if dtype.hasobject or not dtype.itemsize:
        kind = "Object arrays, which may run code" if dtype.hasobject else f"{dtype}, which has no size"
        raise DataError(f"{where} is of {kind}; expected an array of plain numbers; convert it")
    claimed, held = prod(shape) * dtype.itemsize, size - content.tell()
    if min(shape, default=0) < 0 or claimed != held:
        came = f"claims shape {shape} of {dtype}, {readable_size(claimed)}, and holds {readable_size(held)}"
        raise DataError(f"{where} {came}; expected them to agree; the file is damaged, get or write it again")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as content:
        return npy.read_array(content, allow_pickle=False)
