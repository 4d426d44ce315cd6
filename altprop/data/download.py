"""Where the published image sets lie, here and on the net, and how they come here: checked, whole or not at all."""

import os
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import DataError, reading
from .images import find


@dataclass(frozen=True)
class Source:
    """A published data set: its folder below the data folder (torchvision's), files there, address, checksums."""

    folder: str
    files: tuple[str, ...]
    url: str
    sha256: dict[str, str]


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
}


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The data folder: the argument, else the environment's ALTPROP_DATA, else the user's cache folder."""
    import pooch  # type: ignore[import-untyped, unused-ignore]

    return Path(data_dir or os.environ.get("ALTPROP_DATA") or pooch.os_cache("altprop")).expanduser()


def locate(source: Source, base: Path) -> Path | None:
    """The folder with all files of `source`: `base`/MNIST/raw and kin, `base`/raw, or `base` itself; else None."""
    # MNIST and Fashion-MNIST share their file names: the folder of one must never be taken for the other.
    own = source.folder.split("/")[0]
    foreign = {other.folder.split("/")[0] for other in SOURCES.values()} - {own}
    here = () if foreign & {base.name, base.absolute().parent.name} else (base / "raw", base)
    folders = (base / source.folder, *here)
    return next((f for f in folders if all(find(f, file).is_file() for file in source.files)), None)


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
                if file.endswith(".tar.gz"):
                    _unpack(Path(scratch) / file, source)
            folder = base / source.folder
            folder.mkdir(parents=True, exist_ok=True)
            for file in source.files:
                fetched = find(Path(scratch), file)
                os.replace(fetched, folder / fetched.name)
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

    bar = progress and sys.stderr.isatty()
    if not bar:
        pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=url.rsplit("/", 1)[1], path=folder, progressbar=bar)
    except (ValueError, OSError) as error:  # pooch: a wrong checksum or address; requests: a server that fails
        raise DataError(
            f"{url}: download failed ({error}); expected a file of SHA-256 {sha256}; "
            "try again, set a mirror (ALTPROP_MIRROR), or put the files into the data folder yourself"
        ) from error


def _unpack(path: Path, source: Source) -> None:
    """Copies the wanted members out one by one: an archive cannot choose where its files land."""
    with reading(path, f"an archive with {source.folder}/"), tarfile.open(path) as archive:
        for file in source.files:
            member = archive.extractfile(f"{source.folder}/{file}")
            if member is None:
                raise DataError(f"{path}: {source.folder}/{file} is no file in it; expected one; get the archive again")
            with member, open(path.parent / file, "wb") as out:
                shutil.copyfileobj(member, out)
