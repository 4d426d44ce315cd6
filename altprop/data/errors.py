"""The one error and the one warning of this package, and the helpers that every reader words its errors with."""

import errno
import pickle
import stat
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from altprop.limits import WIDTH, Notice, Problem, closest, memory, shorten

LONG = 100  # letters of a word, such as a path, that may lose its middle
COPIES = 3  # of the same data that stand in memory while they are read, cast and split
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


class DataError(Problem):
    """Data that cannot be used. The message is one line: what came, what was expected, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """The message as `shorten` has it; one that is too long first loses the middle of long words, such as a path."""
    line = " ".join(message.split())
    if len(line) > WIDTH:
        line = " ".join(shorten(word, LONG) for word in line.split(" "))
    return shorten(line)


def printable(name: str) -> str:
    """A name of a file with its bytes that are no UTF-8 as Python writes them, so that any text may hold it."""
    return name.encode(errors="backslashreplace").decode()


def readable_size(count: int) -> str:
    """A number of bytes in the unit of its size: 8000000000 -> "8 GB"."""
    power = (len(str(count)) - 1) // 3 if count < 10**21 else len(_UNITS)
    return f"{count / 1000**power:.3g} {_UNITS[power]}" if power < len(_UNITS) else "over 1000 EB"


class DataWarning(Notice):
    """Data that can be used, of which something should be known all the same. The message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


# What the standard library, numpy and pillow are known to raise on damaged bytes; pickle alone documents half of it.
DAMAGE = (OSError, EOFError, ValueError, TypeError, AttributeError, ImportError, LookupError, SyntaxError,
           OverflowError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError,
           tokenize.TokenError, pickle.UnpicklingError)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of the folder written to meanwhile, not of the file that is read
_SPECIAL: tuple[tuple[Callable[[int], bool], str], ...] = (  # opening one may wait for ever, or never end
    (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a missing, forbidden, empty or damaged file raises into one `DataError` that names it; a FIFO, a
    socket or a device is refused unopened."""
    try:
        status = path.stat()
        special = next((name for is_one, name in _SPECIAL if is_one(status.st_mode)), None)
        if special is not None:
            raise DataError(f"{path}: is {special}; expected {kind}; write what it holds to a file, and give that")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise DataError(f"{path}: the file is empty; expected {kind}; get or write it again")
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {kind}; check the path") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read; expected {kind}; allow it with chmod u+r") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {shorten(error, 70)}; expected {kind} of fewer pixels; make it smaller") from error
    except MemoryError as error:
        raise too_large(path, f"expected {kind} that does; is it damaged? else give a smaller one") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        said = isinstance(error, OSError) and error.strerror  # which does not name the path once more
        came = shorten(f"{type(error).__name__}: {said or error}", 120)
        raise DataError(f"{path}: unreadable ({came}); expected {kind}; damaged or misnamed, get it again") from error


@contextmanager
def within_memory(source: object) -> Iterator[None]:
    """Turns what Python, numpy or torch raise where memory ends into a `DataError` that names the data."""
    try:
        yield
    except MemoryError as error:
        raise too_large(source, "expected data that fit into memory; give fewer samples or features") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise too_large(source, "expected data that fit into memory; give fewer samples or features") from error


def too_large(source: object, expected: str) -> DataError:
    """The refusal of data for which memory did not suffice."""
    return DataError(f"{source}: does not fit into memory ({readable_size(memory())}); {expected}")


def check_room(where: object, what: str, size: int, advice: str) -> None:
    """Raises `DataError` for data of `size` bytes that this machine could not hold `COPIES` times."""
    room = memory() // COPIES
    if size > room:
        expected = f"expected up to {readable_size(room)}, since memory must hold {COPIES} copies meanwhile"
        raise DataError(f"{where}: {what} {readable_size(size)}; {expected}; {advice}")


def user_path(given: str | Path) -> Path:
    """The path with ~ and ~name read as home folders. Raises `DataError` for a user who has none."""
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        came = "no home folder is known of a user so called"
        raise DataError(f"{given}: {came}; expected ~/... or that of a user; write the path in full") from error


def suggest(word: str, known: Iterable[str]) -> str:
    """A tail for an error message: the nearest known word, if one is near, and all of them."""
    names = sorted(known)
    nearest = closest(word, names)
    # A table may have thousands of columns, or long ones; the message stays a line that one can read.
    short = [shorten(name, 40) for name in names[:20]]
    while len(", ".join(short)) > WIDTH // 2:
        short.pop()
    listed = ", ".join(short) + (", ..." if len(names) > len(short) else "")
    return (f"did you mean {nearest!r}? " if nearest else "") + f"there are: {listed}"
