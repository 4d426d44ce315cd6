"""Writes the files of a run whole or not at all, and reads them again, held against their schema.  Without torch.

Anybody may have changed them, so that nothing that is read is trusted before it has passed here."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from altprop.limits import WIDTH, Problem, shorten, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SCRATCH = re.compile(r"\.(.+)\.\d+(\.tmp)?")  # what is being written: .NAME.PROCESS
AGAIN = "the run is damaged, train it again"


class RunError(Problem):
    """A run that cannot be started, read, reported or continued; one line that says what to do."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all; raises ``RunError`` where the disk is full or forbids it."""
    try:
        check_writable(path)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(scratch, "wb") as file:
                file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
    except (OSError, UnicodeEncodeError) as error:
        raise failed_write(path, error) from error


def is_folder(path: Path) -> bool:
    """Whether a folder stands there; raises ``RunError`` for a path that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise RunError(f"no folder can be at {shorten(path, 120)} ({what}): check the path") from error


def check_writable(path: Path) -> None:
    """Raises ``RunError`` where a folder, a pipe or a device stands at ``path``, or where no file can ever stand."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # too long, or with a zero byte
        raise failed_write(path, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise RunError(f"{shorten(path, 120)} is {what}: give the path of a file to write")


def sweep(folder: Path, name: str = "") -> None:
    """Remove what a kill in the middle of a write has left in ``folder``, of every file or of the one of that name."""
    for path in folder.glob(".*") if folder.is_dir() else ():
        match = SCRATCH.fullmatch(path.name)
        if match and name in ("", match[1]) and path.is_file():
            path.unlink(missing_ok=True)


def failed_write(path: Path, error: OSError | ValueError) -> RunError:
    full = isinstance(error, OSError) and error.errno in FULL
    what = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
    where = shorten(path, 120)
    return RunError(f"cannot write {where}: {what}; free some space or allow writing there, or choose another --out")


def read_bytes(path: Path, expected: str, advice: str = AGAIN) -> bytes:
    """What stands in a file; raises ``RunError`` where there is none, a pipe or a folder in its place included."""
    try:
        if path.exists() and not path.is_file():
            raise unreadable(path, "a folder, a pipe or a device", expected, advice)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        if isinstance(error, RunError):
            raise
        raise unreadable(path, getattr(error, "strerror", None) or error, expected, advice) from error


def read_text(path: Path, expected: str = "a text file in UTF-8", advice: str = AGAIN) -> str:
    try:
        return read_bytes(path, expected, advice).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(path, error, expected, advice) from error


def read_toml(path: Path, advice: str = 'write lines such as rule = "pepita"') -> dict[str, Any]:
    """The table in a TOML file; raises ``RunError``."""
    text = read_text(path, expected := "a recipe in TOML and UTF-8", advice)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, f"not TOML: {_reason(error)}", expected, advice) from error


def read_json(path: Path, schema: type[BaseModel], advice: str = AGAIN) -> dict[str, Any]:
    """The object in a JSON file, if the schema takes it; raises ``RunError``."""
    return parse_json(path, read_text(path, advice=advice), schema, advice)


def read_rows(path: Path, schema: type[BaseModel], whole: bool = True) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; without ``whole`` a last line that has no end yet is left out."""
    lines = read_text(path).split("\n")
    kept = enumerate(lines if whole else lines[:-1], start=1)
    return [parse_json(path, line, schema, where=f"line {number}: ") for number, line in kept if line.strip()]


def parse_json(
    path: Path, text: str, schema: type[BaseModel], advice: str = AGAIN, where: str = ""
) -> dict[str, Any]:  # fmt: skip
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
    except (ValueError, RecursionError) as error:
        raise unreadable(path, f"{where}{_reason(error)}", "a JSON object", advice) from error
    check(path, content, schema, advice, where)
    return content


def check(path: Path, content: dict[str, Any], schema: type[BaseModel], advice: str = AGAIN, where: str = "") -> None:
    """Raises ``RunError`` by file and key for content that is not of the schema."""
    try:
        schema.model_validate(content)
    except pydantic.ValidationError as error:
        kind = (schema.__doc__ or "").split(",")[0].rstrip(".").partition(":")[0]
        raise unreadable(path, where + flaw(error), f"what altprop writes there ({kind})", advice) from error


def flaw(error: pydantic.ValidationError) -> str:
    """The first fault that a schema found, by key."""
    first = error.errors(include_url=False)[0]
    key = shorten(".".join(str(part) for part in first["loc"]), 60)
    message = first["msg"].replace("Input should", "it should").removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key} is {shown(first['input'])}: {message}" if key else message


def unreadable(path: Path, came: object, expected: str, advice: str = AGAIN) -> RunError:
    where = shorten(path, 130)
    room = max(40, WIDTH - len(f"{where}: unreadable (); expected {expected}; {advice}"))
    return RunError(f"{where}: unreadable ({shorten(came, room)}); expected {expected}; {advice}")


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else shorten(error, 100)
