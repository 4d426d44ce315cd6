"""From the bytes of a table to its columns of text: encoding, separator, decimal marks as the file itself has them."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cells import NUMBER, is_missing, short
from .errors import DataError, reading

KIND = "a table of comma-separated text"
SEPARATORS = (",", ";", "\t")
FALLBACK = "cp1252"  # what Windows writes where it does not write UTF-8
SAMPLE = 20  # lines from which the separator is told
# The mark of UTF-32 begins with that of UTF-16, and so stands before it.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_COMMA = re.compile(r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Place(NamedTuple):
    """Where the cells of a table came from, for messages."""

    name: str = "the table"
    lines: Sequence[int] = ()  # of the file, in which each row ends
    numbers: Sequence[int] = ()  # of each data row, from 1

    def at(self, row: int, column: str) -> str:
        if not self.lines:
            return f"{self.name}: row {row} (counted from 0), column {short(column)}"
        return f"{self.name}: row {self.numbers[row]} (line {self.lines[row]}), column {short(column)}"


@dataclass(frozen=True)
class Sheet:
    """A table of text: its columns by name, each of as many cells, without the blanks around them."""

    place: Place
    columns: Mapping[str, Sequence[str]]
    separator: str
    guess: str | None = None  # the encoding, where nothing in the file tells it

    def __len__(self) -> int:
        return len(self.place.lines)

    def keep(self, rows: np.ndarray) -> "Sheet":
        """The rows for which the mask (N,) is true."""
        kept = np.flatnonzero(rows).tolist()
        columns = {name: [cells[row] for row in kept] for name, cells in self.columns.items()}
        lines, numbers = ([each[row] for row in kept] for each in (self.place.lines, self.place.numbers))
        return replace(self, columns=columns, place=Place(self.place.name, lines, numbers))

    def pointed(self, features: Iterable[str], label: str | None = None) -> "Sheet":
        """Decimal commas turned into points, in a table separated by semicolons; labels only where all are numbers.

        Raises `DataError` where some numbers of the table have a comma and others a point.
        """
        if self.separator != ";":
            return self
        names = list(features)
        if label is not None and all(_is_either(cell) or is_missing(cell) for cell in self.columns[label]):
            names.append(label)
        commas = {name: cells for name in names if "," in "".join(cells := self.columns[name])}
        comma = next(((name, row) for name, cells in commas.items() if (row := _first(_COMMA, cells)) >= 0), None)
        if comma is None:
            return self
        for name in names:
            cells = self.columns[name]
            row = next((row for row, cell in enumerate(cells) if "." in cell and NUMBER.fullmatch(cell)), -1)
            if row >= 0:
                other = f"column {short(comma[0])} has {short(self.columns[comma[0]][comma[1]])}"
                came = f"{short(cells[row])} has a decimal point, but {other}"
                raise DataError(f"{self.place.at(row, name)}: {came}; expected one decimal mark; write all alike")
        turned = {n: [c.replace(",", ".") if _COMMA.fullmatch(c) else c for c in cells] for n, cells in commas.items()}
        return replace(self, columns={**self.columns, **turned})


def _is_either(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell) or _COMMA.fullmatch(cell))


def _first(kind: re.Pattern[str], cells: Sequence[str]) -> int:
    return next((row for row, cell in enumerate(cells) if kind.fullmatch(cell)), -1)


def read_sheet(
    path: Path, wanted: Iterable[str] = (), *, encoding: str | None = None, fallback: str | None = None
) -> Sheet:
    """The table in a file, read as its own dialect: separated by commas, semicolons or tabs, below one line of names.

    wanted: names that its header should have, by which the separator is told where two could be it. Without `encoding`
    a byte order mark decides, else it is UTF-8, else `fallback` [cp1252].
    Raises `DataError` for what is no such text, names that stand twice, and a row of another length.
    """
    with reading(path, KIND):
        with open(path, "rb") as file:
            data = file.read()
        text, guess = _decode(path, data, encoding, fallback or FALLBACK)
    separator = _separator(text, frozenset(wanted))
    rows = _rows(text, separator, strict=True)
    try:
        header = [cell.strip() for cell in next(filter(None, rows), [])]
        body: list[list[str]] = []
        lines: list[int] = []
        for row in filter(None, rows):
            if len(row) != len(header):
                if len(row) == 1 and not row[0].strip():
                    continue
                where = f"{path}: row {len(body) + 1} (line {rows.line_num})"
                raise DataError(f"{where} has {len(row)} cells; expected {len(header)}, as the header has; mend it")
            body.append(row)
            lines.append(rows.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: {error}; expected comma-separated text; mend it") from error
    turned = [list(map(str.strip, cells)) for cells in zip(*body, strict=True)] or [[] for _ in header]
    while header and not header[-1] and not any(turned[-1]):  # separators at the end of every line
        header, turned = header[:-1], turned[:-1]
    _check_header(path, header)
    columns = dict(zip(header, turned, strict=True))
    return Sheet(Place(str(path), lines, range(1, len(lines) + 1)), columns, separator, guess)


def _rows(text: str, separator: str, strict: bool) -> Any:
    # Strict, since a quote that is never closed would swallow the rest of the table as one cell.
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict)


def _check_header(path: Path, header: list[str]) -> None:
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        came = f"column {short(twice)} stands twice in the header"
        raise DataError(f"{path}: {came}; expected different names; rename one")


def _separator(text: str, wanted: frozenset[str]) -> str:
    """The one with which the first lines agree on a number of cells, their names are known, and are many."""
    sample = list(islice(io.StringIO(text.lstrip("\r\n"), newline=""), SAMPLE))
    candidates = [separator for separator in SEPARATORS if sample and separator in sample[0]]

    def rate(separator: str) -> tuple[bool, int, int]:
        try:
            header, *rows = filter(None, _rows("".join(sample), separator, strict=False))
        except csv.Error:
            return False, 0, 0
        names = [cell.strip() for cell in header]
        whole = rows[:-1] if len(sample) == SAMPLE else rows  # the sample may end within a quoted cell
        agree = len(names) > 1 and all(len(row) == len(names) for row in whole)
        return agree, len(wanted.intersection(names)), len(names)

    return max(candidates, key=rate) if len(candidates) > 1 else (*candidates, ",")[0]


def _decode(path: Path, data: bytes, encoding: str | None, fallback: str) -> tuple[str, str | None]:
    """(text, the encoding if it was guessed)."""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    name, guess = encoding or marked or "utf-8", None
    try:
        text = data.decode(name)
    except LookupError as error:
        raise DataError(f"encoding {short(name)} is unknown; give one such as utf-8, utf-16 or cp1252") from error
    except UnicodeDecodeError as error:
        # A text that is UTF-8 in other places is a damaged one, and by another encoding all its letters were wrong.
        if encoding or marked or not data.decode("utf-8", errors="ignore").isascii():
            raise _no_text(path, data, error.start, name) from error
        text, guess = _decode_otherwise(path, data, fallback), fallback
    except ValueError as error:
        raise DataError(f"encoding {short(name)} cannot read {path} ({error}); give one such as utf-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}: is no text, line {line} holds a zero byte; expected {KIND}; else give --encoding")
    return text.removeprefix("\ufeff"), guess


def _decode_otherwise(path: Path, data: bytes, fallback: str) -> str:
    try:
        return data.decode(fallback)
    except UnicodeDecodeError as error:
        raise _no_text(path, data, error.start, f"utf-8 or {fallback}") from error


def _no_text(path: Path, data: bytes, start: int, name: str) -> DataError:
    line = data.count(b"\n", 0, start) + 1
    came = f"line {line} is no {name} (byte 0x{data[start]:02x})"
    return DataError(f"{path}: {came}; expected {KIND}; give its --encoding, or mend it")
