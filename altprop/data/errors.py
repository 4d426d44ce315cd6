"""The one error of this package, and the two helpers that every reader words its errors with."""

import difflib
import errno
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class DataError(ValueError):
    """Data that cannot be used. The message is one line: what came, what was expected, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class DataWarning(UserWarning):
    """Data that can be used, but perhaps not as meant."""


# What the standard library, numpy and pillow are known to raise on damaged bytes; pickle alone documents half of it.
_DAMAGE = (OSError, EOFError, ValueError, TypeError, AttributeError, ImportError, LookupError, SyntaxError,
           OverflowError, NotImplementedError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError,
           pickle.UnpicklingError)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of the folder written to meanwhile, not of the file that is read


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a missing, forbidden, empty or damaged file raises into one `DataError` that names it."""
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty; expected {kind}; get or write it again")
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {kind}; check the path") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read; expected {kind}; allow it with chmod u+r") from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        came = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: unreadable ({came}); expected {kind}; damaged or misnamed, get it again") from error


def suggest(word: str, known: Iterable[str]) -> str:
    """A tail for an error message: the nearest known word, if one is near, and all of them."""
    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    nearest = [lowered[match] for match in difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.5)]
    # A table may have thousands of columns; the message stays a line that one can read.
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return (f"did you mean {nearest[0]!r}? " if nearest else "") + f"there are: {listed}"
