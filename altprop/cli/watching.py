"""What a run tells while it goes on: a bar or lines on standard error, and the report when it has ended."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from altprop.cli.events import Events
from altprop.reports.page import write_report
from altprop.run.directory.files import failed_write

UPDATE_EVERY = 20  # batches between two movements of the progress bar


def say_line(line: str) -> None:
    """A line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def finish(result: Any) -> dict[str, Any]:
    """The report of a run that has ended; returns its summary."""
    if result.path is not None:
        try:
            write_report(result.path)
        except OSError as error:
            raise failed_write(result.path / "report.html", error) from error
    summary: dict[str, Any] = result.summary()
    return summary


def bar_of_progress() -> Progress:
    """A bar on standard error; silent where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class Watch(ExitStack):
    """The progress bar of one run, or where there is no terminal a line an epoch, and its TensorBoard events if they
    are wanted; quiet: no lines; line: a row of metrics as one."""

    def __init__(self, path: Path, tensorboard: bool, quiet: bool, line: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self.line = line
        self.quiet = quiet
        self.events = Events(path) if tensorboard else None

    def __enter__(self) -> Watch:
        self.bar = self.enter_context(bar_of_progress())
        self.task = self.bar.add_task("")
        if self.events is not None:
            self.enter_context(self.events)
        self.enter_context(_heard(self.tell))
        return self

    def tell(self, line: str) -> None:
        self.bar.update(self.task, description=line)
        if self.bar.disable and not self.quiet:
            say_line(line)

    def progress(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
        if batch % UPDATE_EVERY == 0:
            done, total = epoch * batches + batch, epochs * batches
            self.bar.update(self.task, description=f"epoch {epoch + 1}, loss {loss:.3f}", completed=done, total=total)

    def report(self, row: dict[str, Any]) -> None:
        self.tell(self.line(row))
        if self.events is not None:
            self.events.row(row)


@contextmanager
def _heard(tell: Callable[[str], None]) -> Iterator[None]:
    """What the package logs of its work, such as which measure it is at."""
    log, handler = logging.getLogger("altprop"), logging.Handler()
    handler.emit = lambda record: tell(record.getMessage())  # type: ignore[method-assign]
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
