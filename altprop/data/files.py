"""Readers of the user's own data: .npz archives, .csv tables; folders of images have a file of their own."""

import csv
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .archives import read_arrays
from .convert import assemble
from .dataset import Dataset
from .errors import DataError, check_room, printable, reading, suggest
from .folders import read_folder


def read_file(path: Path, *, label: str = "label", seed: int = 0) -> Dataset:
    """The data set in an .npz or .csv file, or in a folder of images by class; without a test part a fifth is held out.

    Raises `DataError` for a path that does not exist, an unknown suffix, and what the reader refuses.
    """
    kinds = f"a {' or '.join(READERS)} file or a folder of images by class"
    with reading(path, kinds):
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return read_folder(path, seed=seed)
    if path.suffix.lower() not in READERS:
        came = f"the suffix {path.suffix!r} is unknown"
        raise DataError(f"{path}: {came}; expected {kinds}; convert it, or give tensors to from_torch")
    if path.suffix.lower() == ".csv":
        check_room(path, "the table takes", status.st_size, "give fewer rows or columns")
    return READERS[path.suffix.lower()](path, label=label, seed=seed)


def read_npz(path: Path, *, label: str = "label", seed: int = 0) -> Dataset:
    """x_train, y_train, x_test, y_test, or the first two, or x, y, from an archive of arrays; nothing is unpickled.

    x (N, ...) uint8 or real; y (N,) whole numbers from 0 are labels, else targets (N,) or (N, K). `label` is not used.
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
    return assemble(printable(path.name), (arrays[train[0]], arrays[train[1]]), test, seed=seed)


def read_csv(path: Path, *, label: str = "label", seed: int = 0) -> Dataset:
    """Numeric columns (N, features) float32 and the column `label`, from a comma-separated table with a header.

    Labels are whole numbers ("3.0" too) or text, both sorted into classes; numbers with a fraction are a regression
    target. Raises `DataError`, naming data row, line and column, for a cell that is empty, text, NaN or infinite, a row
    of another length, or a label column that is not there.
    """
    with reading(path, "a comma-separated table"), open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        try:
            header = _header(path, next(rows, []), label)
            column = header.index(label)
            names = header[:column] + header[column + 1 :]
            x, labels = [], []
            for number, row in enumerate(filter(None, rows), start=1):
                where = f"{path}: row {number} (line {rows.line_num})"
                if len(row) != len(header):
                    raise DataError(f"{where} has {len(row)} cells; expected {len(header)}, as the header has; mend it")
                labels.append(_label(f"{where}, column {label!r}", row.pop(column).strip()))
                x.append(parse_features(where, row, names))
        except csv.Error as error:
            raise DataError(f"{path}: line {rows.line_num}: {error}; expected comma-separated text; mend it") from error
    if not x:
        raise DataError(f"{path}: has a header but no rows; expected at least one; add samples")
    y, classes = _classes(labels)
    return assemble(printable(path.name), (np.stack(x), y), None, seed=seed, classes=classes)


def _header(path: Path, cells: list[str], label: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if label not in header:
        came = f"the header has no column {label!r}"
        raise DataError(f"{path}: {came}; expected one with the labels; name it by label=; {suggest(label, header)}")
    twice = next((name for name in header if header.count(name) > 1), None) if len(set(header)) < len(header) else None
    if twice is not None:
        raise DataError(f"{path}: column {twice!r} stands twice in the header; expected different names; rename one")
    if len(header) < 2:
        raise DataError(f"{path}: has no column but {label!r}; expected features beside it; is it separated by commas?")
    return header


def _label(where: str, cell: str) -> str:
    if cell.lower().lstrip("+-") in ("", "nan", "inf", "infinity"):
        raise DataError(f"{where}: {cell!r} is no label; expected a number or text; fill in the cell or remove the row")
    return cell


def parse_features(where: str, cells: list[str], names: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, cells), np.float64, len(cells)).astype(np.float32)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        name, cell = next((n, c) for n, c in zip(names, cells, strict=True) if not _is_finite(c))
        came = f"{cell!r} is no finite number" if cell.strip() else "the cell is empty"
        raise DataError(f"{where}, column {name!r}: {came}; expected a number; correct the cell or remove the row")
    return values


def _is_finite(cell: str) -> bool:
    try:
        return bool(abs(float(cell)) <= float(np.finfo(np.float32).max))
    except ValueError:
        return False


def _classes(labels: list[str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Class indices (N,) with the names of the classes, or targets (N, 1) where labels are numbers with a fraction."""
    try:
        values = np.array([float(label) for label in labels])
    except ValueError:
        names, y = np.unique(labels, return_inverse=True)
        return y, tuple(str(name) for name in names)
    if (values != np.round(values)).any():
        return values[:, None], None
    numbers, y = np.unique(values, return_inverse=True)
    return y, tuple(str(int(number)) for number in numbers)


READERS: dict[str, Callable[..., Dataset]] = {".npz": read_npz, ".csv": read_csv}
