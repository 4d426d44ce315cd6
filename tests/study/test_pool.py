"""Processes that take one job after another: each job once, deaths told by name, and nothing left behind."""

import multiprocessing
import os
import signal

import pytest
import torch

from altprop.study.pool import Ended, Job, in_processes


def square(number):
    return number**2, os.getpid()


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(number):
    raise SystemExit(number)


def large(number):
    return torch.arange(number)


def ended(jobs, queue):
    seen: list[Ended] = []
    in_processes(queue, jobs, seen.append)
    assert multiprocessing.active_children() == []
    return {each.job.name: each for each in seen}


def test_every_job_is_done_once_by_so_many_processes():
    """Seven jobs by two processes, not by seven."""
    found = ended(2, [Job(f"{n}", square, (n,)) for n in range(7)])
    assert {name: each.value[0] for name, each in found.items()} == {f"{n}": n**2 for n in range(7)}
    assert len({each.value[1] for each in found.values()}) == 2
    assert os.getpid() not in {each.value[1] for each in found.values()}


def test_a_death_is_told_by_name_and_the_others_go_on():
    """A process that is killed, and one that gives up; the jobs behind them find another one."""
    queue = [Job("killed", die, (0,)), Job("gone", leave, (3,)), Job("well", square, (3,)), Job("too", square, (4,))]
    found = ended(1, queue)
    assert found["killed"].status == -signal.SIGKILL and found["killed"].death == "killed by signal 9"
    assert found["gone"].status == 3 and found["gone"].death is None and found["gone"].value is None
    assert (found["well"].value[0], found["too"].value[0]) == (9, 16)


def test_an_answer_that_fills_the_pipe_comes_through():
    """More than the 64 kB that a pipe holds, which a parent that waits for the end of the process never reads."""
    (found,) = ended(1, [Job("large", large, (100_000,))]).values()
    assert torch.equal(found.value, torch.arange(100_000))


def test_what_fails_in_the_parent_stops_the_rest():
    """Processes that work on for nobody."""

    def fail(each):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_processes([Job(f"{n}", square, (n,)) for n in range(4)], 2, fail)
    assert multiprocessing.active_children() == []
