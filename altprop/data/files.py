"""Readers of the user's own data: .npz archives, and the ways to .csv tables and folders of images."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .archives import read_arrays
from .convert import assemble
from .dataset import Dataset
from .errors import DataError, check_room, printable, reading
from .folders import read_folder
from .table import read_csv

Build = Callable[..., Any]  # of name, train and test part: a `Dataset` as by `assemble`, or `Labelled` samples


def read_file(
    path: Path, *, label: str = "label", seed: int = 0, val: float = 0.0, task: str | None = None,
    build: Build = assemble, **table: Any,
) -> Dataset:  # fmt: skip
    """The data set in an .npz or .csv file, or in a folder of images by class; without a test part a fifth is held out.

    `table` are the keywords of `read_csv` alone, None or empty elsewhere; `build` makes the set of what was read of
    anything else.
    Raises `DataError` for a path that does not exist, an unknown suffix, and what the reader refuses.
    """
    kinds = f"a {' or '.join(READERS)} file or a folder of images by class"
    with reading(path, kinds):
        status = path.stat()
    folder = stat.S_ISDIR(status.st_mode)
    if path.suffix.lower() not in TABLES or folder:
        refuse_table_options(str(path), table)
    if folder:
        return read_folder(path, seed=seed, build=build)
    if path.suffix.lower() not in READERS:
        came = f"the suffix {path.suffix!r} is unknown"
        raise DataError(f"{path}: {came}; expected {kinds}; convert it, or give tensors to from_torch")
    if path.suffix.lower() in TABLES:
        check_room(path, "the table takes", status.st_size, "give fewer rows or columns")
        return read_csv(path, label=label, seed=seed, val=val, task=task, **table)
    return READERS[path.suffix.lower()](path, label=label, seed=seed, task=task, build=build)


def refuse_table_options(name: str, options: dict[str, Any]) -> None:
    """Raises `DataError` where one that only a table has use for came with other data."""
    for key, value in options.items():
        if value:
            raise DataError(f"{key} came with {name}, which is no .csv table; leave it out")


def read_npz(
    path: Path, *, label: str = "label", seed: int = 0, task: str | None = None, build: Build = assemble
) -> Dataset:
    """x_train, y_train, x_test, y_test, or the first two, or x, y, from an archive of arrays; nothing is unpickled.

    x (N, ...) uint8 or real; y (N,) whole numbers from 0 are labels, else targets (N,) or (N, K), unless `task` says
    otherwise. `label` is not used.
    Raises `DataError` for another archive or other names in it, for objects, and for what `Dataset` refuses.
    """
    arrays = read_arrays(path)
    train = next((pair for pair in (("x_train", "y_train"), ("x", "y")) if arrays.keys() >= set(pair)), None)
    tested = {"x_test", "y_test"} & arrays.keys()
    if train is None or len(tested) == 1:
        raise DataError(
            f"{path}: holds {sorted(arrays)}; expected x_train, y_train, x_test, y_test, or x, y; rename them"
        )
    test = (arrays["x_test"], arrays["y_test"]) if tested else None
    return build(printable(path.name), (arrays[train[0]], arrays[train[1]]), test, seed=seed, task=task)


TABLES = (".csv", ".tsv")
READERS: dict[str, Callable[..., Dataset]] = {".npz": read_npz, ".csv": read_csv, ".tsv": read_csv}
