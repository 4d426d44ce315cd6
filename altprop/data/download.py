"""Where the published image sets lie, here and on the net, and how they come here: checked, whole or not at all."""

import os
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from altprop.limits import shorten

from .errors import DataError, reading, user_path
from .imagenette import CLASSES as IMAGENETTE
from .images import find


@dataclass(frozen=True)
class Source:
    """A published data set: its folder below the data folder (torchvision's), files there, address, checksums.

    `folders` are wanted there whole, and `optional` files only where the archive has them.
    """

    folder: str
    files: tuple[str, ...]
    url: str
    sha256: dict[str, str]
    folders: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_ARCHIVES = (".tar.gz", ".tgz")
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

SOURCES: dict[str, Source] = {
    "mnist": Source(
        "MNIST/raw",
        _IDX,
        "https://ossci-datasets.s3.amazonaws.com/mnist",  # the mirror that torchvision asks first
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion_mnist": Source(
        "FashionMNIST/raw",
        _IDX,
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "cifar10": Source(
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        "https://www.cs.toronto.edu/~kriz",
        {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    ),
    "cifar100": Source(
        "cifar-100-python",
        ("train", "test", "meta"),
        "https://www.cs.toronto.edu/~kriz",
        {"cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
    ),
    "stl10": Source(
        "stl10_binary",
        ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
        "https://ai.stanford.edu/~acoates/stl10",
        {"stl10_binary.tar.gz": "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"},
        optional=("unlabeled_X.bin",),
    ),
    "imagenette": Source(
        "imagenette2-160",
        (),
        "https://s3.amazonaws.com/fast-ai-imageclas",
        {"imagenette2-160.tgz": "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5"},
        folders=tuple(f"{part}/{wnid}" for part in ("train", "val") for wnid in IMAGENETTE),
    ),
}


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The data folder: the argument, else the environment's ALTPROP_DATA, else the user's cache folder."""
    import pooch  # type: ignore[import-untyped, unused-ignore]

    return user_path(data_dir or os.environ.get("ALTPROP_DATA") or pooch.os_cache("altprop"))


def locate(source: Source, base: Path) -> Path | None:
    """The folder with all files of `source`: `base`/MNIST/raw and kin, `base`/raw, or `base` itself; else None."""
    # MNIST and Fashion-MNIST share their file names: the folder of one must never be taken for the other.
    own = source.folder.split("/")[0]
    foreign = {other.folder.split("/")[0] for other in SOURCES.values()} - {own}
    here = () if foreign & {base.name, base.absolute().parent.name} else (base / "raw", base)
    folders = (base / source.folder, *here)
    return next((folder for folder in folders if not _missing(source, folder)), None)


def _missing(source: Source, folder: Path) -> list[str]:
    files = [file for file in source.files if not find(folder, file).is_file()]
    return files + [inner for inner in source.folders if not (folder / inner).is_dir()]


def retrieve(name: str, source: Source, base: Path, mirror: str | None = None, progress: bool = True) -> Path:
    """The folder of `source` below `base`, downloaded where it is not there yet.

    Files are checked in a scratch folder and only then moved, so that a failure leaves nothing behind.
    Raises `DataError` for a server that fails, a wrong SHA-256, an archive without the files, a folder that cannot be
    written.
    """
    present = locate(source, base)
    if present is not None:
        return present
    url = f"{mirror.rstrip('/')}/{name}" if mirror else source.url
    made = [folder for folder in (base, *base.parents) if not folder.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base, prefix=f".{name}-") as scratch:
            for file, sha256 in source.sha256.items():
                _download(f"{url}/{file}", sha256, Path(scratch), progress)
                if file.endswith(_ARCHIVES):
                    _unpack(Path(scratch) / file, source)
                    (Path(scratch) / file).unlink()
            folder = base / source.folder
            for fetched in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
                target = folder / fetched.relative_to(scratch)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fetched, target)
    except OSError as error:
        came = f"{name} cannot be stored there ({error})"
        raise DataError(f"{base}: {came}; expected a writable folder; set ALTPROP_DATA to one") from error
    finally:
        for empty in made:  # a failure leaves no new folder behind
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
    return folder


def _download(url: str, sha256: str, folder: Path, progress: bool) -> None:
    import pooch

    bar, logger = progress and sys.stderr.isatty(), pooch.get_logger()
    level = logger.level
    try:
        if not bar:
            logger.setLevel("WARNING")
        pooch.retrieve(url, f"sha256:{sha256}", fname=url.rsplit("/", 1)[1], path=folder, progressbar=bar)
    except (ValueError, OSError) as error:  # pooch: a wrong checksum or address; requests: a server that fails
        raise DataError(
            f"{url}: download failed ({shorten(error, 50)}); expected a file of SHA-256 {sha256}; "
            "try again, set ALTPROP_MIRROR, or put it there yourself"
        ) from error
    finally:
        logger.setLevel(level)


def _unpack(path: Path, source: Source) -> None:
    """Copies the wanted members out one by one, in one pass: an archive cannot choose where its files land.

    Raises `DataError` for a member that would leave the folder, one that is wanted but no file (a link may lead
    anywhere), and an archive without the files.
    """
    with reading(path, f"an archive with {source.folder}/"), tarfile.open(path) as archive:
        for member in archive:
            file = _within(path, member, source)
            content = archive.extractfile(member) if file else None
            if content is not None:
                (path.parent / file).parent.mkdir(parents=True, exist_ok=True)
                with content, open(path.parent / file, "wb") as out:
                    shutil.copyfileobj(content, out)
    missing = _missing(source, path.parent)
    if missing:
        raise DataError(f"{path}: {source.folder}/{missing[0]} is not in it; expected it; get the archive again")


def _within(path: Path, member: tarfile.TarInfo, source: Source) -> str:
    """Where a wanted member lies below the folder of `source`; empty for one that is not wanted."""
    base = os.path.abspath(path.parent)
    target = os.path.normpath(os.path.join(base, member.name))  # as this system reads the name: drives, backslashes
    if os.path.commonpath((base, target)) != base:
        came = f"holds {member.name!r}, which would leave the folder"
        raise DataError(f"{path}: {came}; expected {source.folder}/ alone; do not trust it, get the archive again")
    file = Path(os.path.relpath(target, os.path.join(base, source.folder))).as_posix()
    whole = any(file.startswith(f"{inner}/") for inner in source.folders)
    if not (whole or file in (*source.files, *source.optional)) or member.isdir():
        return ""
    if not member.isfile():
        raise DataError(f"{path}: {member.name!r} is a link or a device; expected a file; get the archive again")
    return file
