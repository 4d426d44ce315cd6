"""The processes of a run, as one of them sees the others: sums over all, words from all, and who is gone.

A sum that fails is not tried again: from then on this process is by itself, and knows whom it misses.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from altprop.limits import shorten, shown
from altprop.parallel.place import Place
from altprop.run.recipe import RunError

PATIENCE = 600.0  # seconds without a word from a process until it counts as hung
GRACE = 5.0  # seconds in which whoever is still there says so, once somebody is missed


class Lost(RunError):
    """A process that others waited for is gone, hangs, or had to stop; told by the first that is left."""

    def __init__(self, message: str, tells: bool) -> None:
        super().__init__(message)
        self.tells = tells


class Peers:
    """The others, and this process among them.  Raises ``Lost`` where they do not find each other."""

    def __init__(self, place: Place) -> None:
        self.rank, self.size, self.local = place
        self.patience = _patience()
        self.begun: list[Any] = []
        self.missed = ""  # who is, once somebody is
        self.tells = self.rank == 0
        on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
        if on_gpus and place.local < torch.cuda.device_count():
            torch.cuda.set_device(place.local)  # what "cuda" without a number stands for
        backend, limit = "cpu:gloo,cuda:nccl" if on_gpus else "gloo", timedelta(seconds=self.patience)
        try:
            store, _, _ = next(dist.rendezvous("env://", self.rank, self.size, timeout=limit))
            self.words = dist.PrefixStore("words", store)
            dist.init_process_group(
                backend, store=dist.PrefixStore("sums", store), rank=self.rank, world_size=self.size, timeout=limit
            )
        except (RuntimeError, ValueError) as error:
            what = f"process {self.rank} of {self.size} did not find the others ({shorten(error, 90)})"
            advice = f"start all by torchrun --nproc-per-node {self.size} -m altprop train"
            raise Lost(f"{what}: {advice}", tells=True) from error

    def begin(self, tensor: Tensor) -> None:
        """Begin to sum a tensor over all processes, in place; all begin the same sums in the same order."""
        if not self.missed:
            try:
                self.begun.append(dist.all_reduce(tensor, async_op=True))
            except RuntimeError as error:
                self._miss(error)

    def wait(self) -> bool:
        """Wait for what was begun; whether it is there.  If not, what it was begun on means nothing."""
        works, self.begun = self.begun, []
        try:
            for work in () if self.missed else works:
                work.wait()
        except RuntimeError as error:
            self._miss(error)
        return not self.missed

    def gather(self, thing: Any) -> list[Any]:
        """What each process gives, by rank; raises ``Lost``."""
        things = [None] * self.size
        try:
            dist.all_gather_object(things, thing)
        except RuntimeError as error:
            raise self.miss(error) from error
        return things

    def follow(self, tensor: Tensor, rank: int) -> None:
        """Fill a tensor with that of the process of that rank."""
        try:
            dist.broadcast(tensor, rank)
        except RuntimeError as error:
            raise self.miss(error) from error

    def miss(self, error: RuntimeError) -> Lost:
        """What to raise where a message of others failed."""
        if not self.missed:
            self._miss(error)
        return self.lost()

    def lost(self, advice: str = "start the run again") -> Lost:
        return Lost(f"{self.missed}: {advice}", self.tells)

    def leave(self, word: str) -> None:
        """Say why this process stops, and wait until the others have heard that it does."""
        self._part(word)
        self.missed = word

    def close(self) -> None:
        if not self.missed and dist.is_initialized():
            dist.destroy_process_group()

    def _miss(self, error: RuntimeError) -> None:
        """Note who does not answer any more, and who has said why."""
        words = self._part("")
        silent = [rank for rank in range(self.size) if rank not in words]
        left = [rank for rank, word in words.items() if not word]
        said = [f"process {rank} of {self.size} stopped ({word})" for rank, word in words.items() if word]
        slow = "imed out" in str(error) or "imeout" in str(error)
        how = f"did not answer for {self.patience:g} s" if slow else "is gone"
        self.missed = "; ".join([*said, *(f"process {rank} of {self.size} {how}" for rank in silent)])
        self.missed = self.missed or f"the processes lost each other ({shorten(error, 90)})"
        self.tells = not words.get(0) and self.rank == min(left)

    def _part(self, word: str) -> dict[int, str]:
        """Say a word and hang up, so that who waits for this process notices; the words of all that say any in time."""
        words, end = {self.rank: word}, time.monotonic() + GRACE
        try:
            self.words.set(str(self.rank), shorten(word, 120))
            threading.Thread(target=_hang_up, daemon=True).start()
            while len(words) < self.size and time.monotonic() < end:
                for rank in set(range(self.size)) - set(words):
                    if self.words.check([str(rank)]):
                        words[rank] = self.words.get(str(rank)).decode()
                time.sleep(0.02)
        except RuntimeError:  # who keeps the words is gone: what has started the processes, or else the first
            return {rank: "" for rank in range(1, self.size)}
        return words


def go_on(path: Path) -> str:
    """What to do with a run that lost a process."""
    if (path / "checkpoint" / "state.json").exists():
        return f"go on with: altprop train --resume {path}"
    return "it has no checkpoint yet, start it again"


def _hang_up() -> None:
    with suppress(RuntimeError, AssertionError, ValueError):
        dist.destroy_process_group()


def _patience() -> float:
    text = os.environ.get("ALTPROP_PATIENCE", str(PATIENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:
        raise RunError(f"ALTPROP_PATIENCE={shown(text)} came: give the seconds that a process may be silent, from 1")
    return seconds
