"""What a cell of a table is: a number, a code, a label, or nothing.

A number is an optional sign, digits with or without a decimal point, and perhaps an exponent::

    number = [+|-] (digits [. [digits]] | . digits) [(e|E) [+|-] digits]

and nothing else: no 1_000, no inf or nan, no hexadecimal, no digits of other scripts. Blanks around a cell do not
count. A code is written in digits but counts nothing: it has a leading zero (01234), an underscore, or is a whole
number above 2^53, where neighbours become one in floating point.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .errors import DataError

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})  # in any case of letters
TASKS = ("classification", "regression")
EXACT = 2**53  # up to here every whole number is a float64 of its own
BEYOND = float(np.finfo(np.float32).max)
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LETTERS = frozenset("0123456789+-.eE\n")  # of numbers, and the line break between two cells
_PLAIN = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,15})(?:\.0*)?")  # whole, without exponent or leading zero
_WHOLE = re.compile(r"[+-]?([0-9]+)(?:\.0*)?")
_LEADING_ZERO = re.compile(r"^[+-]?0[0-9]+$", re.MULTILINE)
_FRACTION = re.compile(r"\.[0-9]*[1-9]")
_INFINITE = frozenset({"inf", "infinity"})

Where = Callable[[int], str]  # the place of a row's cell, for a message


def numbers(cells: Sequence[str]) -> np.ndarray | None:
    """float64 (N,) where every cell is a number by the grammar, else None; an overflow is infinite."""
    # Of cells in these letters alone, float takes exactly the grammar; a set is far faster than an expression a cell.
    if not _LETTERS.issuperset("\n".join(cells)):
        return None
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def missing(cells: Sequence[str]) -> np.ndarray:
    """bool (N,): which cells hold nothing."""
    nothing = {cell for cell in set(cells) if is_missing(cell)}
    if not nothing:
        return np.zeros(len(cells), bool)
    return np.fromiter((cell in nothing for cell in cells), bool, len(cells))


def codes(cells: Sequence[str], values: np.ndarray) -> Iterator[int]:
    """The rows whose cell, a number `values` by the grammar, is a code."""
    if _LEADING_ZERO.search("\n".join(cells)):
        yield from (row for row, cell in enumerate(cells) if _LEADING_ZERO.match(cell))
    for row in np.flatnonzero(np.abs(values) >= EXACT).tolist():
        whole = _WHOLE.fullmatch(cells[row])
        if whole and (len(whole[1]) > 16 or int(whole[1]) > EXACT):
            yield row


def short(text: object) -> str:
    """The representation of a value, so far as a line of a message has room for it."""
    text = str(text)
    return repr(text) if len(text) <= 40 else repr(text[:37]) + "..."


def labels(cells: Sequence[str], task: str | None, where: Where) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """(y (N,) class numbers, names of the classes), or (targets (N, 1) float64, None), from a column of labels.

    Labels are text. Where every one is a plain whole number (3, +3, 3.0; no leading zero, no exponent, within 2^53)
    they are sorted and named as numbers. Where all are numbers and one has a fraction they are targets, as they are
    for `task` "regression". Raises `DataError` with the row for a label that is none, and one that the task forbids.
    """
    nothing = {cell for cell in set(cells) if is_missing(cell) or cell.lower().lstrip("+-") in _INFINITE}
    if nothing:
        row = next(row for row, cell in enumerate(cells) if cell in nothing)
        came = f"{cells[row]!r} is no label; expected a number or text"
        raise DataError(f"{where(row)}: {came}; fill in the cell, remove the row, or give --missing drop")
    values = numbers(cells)
    if values is None and task == "regression":
        row = next(row for row, cell in enumerate(cells) if not NUMBER.fullmatch(cell))
        came = f"{short(cells[row])} is no number"
        raise DataError(f"{where(row)}: {came}; regression needs numbers; correct the cell, or --task classification")
    fraction = None if values is None else _first_fraction(cells, values)
    if task == "classification" and fraction is not None:
        came = f"label {short(cells[fraction])} has a fraction, as amounts have"
        raise DataError(
            f"{where(fraction)}: {came}; classes are text or whole numbers; rename them, or leave out --task"
        )
    if values is not None and (task == "regression" or fraction is not None):
        return _targets(cells, values, where), None
    return _classes(cells)


def _first_fraction(cells: Sequence[str], values: np.ndarray) -> int | None:
    with np.errstate(invalid="ignore"):
        whole = values == np.round(values)
    return next((row for row, cell in enumerate(cells) if not whole[row] or _FRACTION.search(cell)), None)


def _targets(cells: Sequence[str], values: np.ndarray, where: Where) -> np.ndarray:
    outside = np.flatnonzero(np.abs(values) > BEYOND)
    if len(outside):
        row = int(outside[0])
        raise DataError(f"{where(row)}: {short(cells[row])} is no finite number in 32 bits; correct the cell")
    return values[:, None]


def _classes(cells: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    plain = all(_PLAIN.fullmatch(cell) and abs(int(cell.partition(".")[0])) <= EXACT for cell in set(cells))
    keys: dict[str, int | str] = {cell: int(cell.partition(".")[0]) if plain else cell for cell in set(cells)}
    names = sorted(set(keys.values()))
    index = {name: number for number, name in enumerate(names)}
    y = np.fromiter((index[keys[cell]] for cell in cells), np.int64, len(cells))
    return y, tuple(str(name) for name in names)
