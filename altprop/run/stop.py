"""A clean way to stop: Ctrl-C asks, and the step under way ends first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C (and a polite kill) asks to stop after the step under way; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    ours = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, ask) for number in ours}  # None: a handler that Python cannot give back
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
