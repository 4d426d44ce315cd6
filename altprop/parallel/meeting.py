"""The processes of one run, from the moment that they meet to the last word of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from altprop.limits import Interrupted, Problem
from altprop.parallel.peers import Lost, Peers, go_on
from altprop.parallel.pipeline import Pipeline
from altprop.parallel.place import find_place
from altprop.parallel.shared import Shared
from altprop.run.recipe import RunError
from altprop.run.stop import interruptible
from altprop.run.team import ALONE, Team


@contextmanager
def meeting(path: Path, pipeline: int | None = None) -> Iterator[Team]:
    """Who takes the steps of a run that is written to ``path``: this process alone, or those it was started with.

    pipeline: how many processes own the layers, all; None: each takes its share of every batch.
    Raises what the run raises, and ``Lost`` where a process is gone."""
    place = find_place()
    if pipeline not in (None, 1 if place is None else place.size):
        what = f"--pipeline {pipeline} came to {1 if place is None else place.size} processes"
        raise RunError(f"{what}: start as many, torchrun --nproc-per-node {pipeline} -m altprop train ...")
    if place is None:
        yield ALONE
        return
    with interruptible() as asked:
        peers = Peers(place)
        try:
            path = Path(peers.gather(str(path))[0])
            yield Shared(peers, asked) if pipeline is None else Pipeline(peers, asked)
        except (Interrupted, Lost):
            if peers.missed:
                raise peers.lost(go_on(path)) from None
            peers.gather(None)  # the first has written its checkpoint when it is here
            raise
        except (Problem, OSError) as error:
            peers.leave(str(error))
            raise
        finally:
            peers.close()
