"""Processes that take one job after another: each job once, deaths told by name, and nothing left behind."""

import multiprocessing
import os
import signal
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from altprop.pool.pool import Ended, Here, Job, perform
from altprop.pool.processes import Processes, Worker
from altprop.pool.workers import Workers, run_jobs
from altprop.registry import RULES, import_rules

RULE = '''
from altprop import DRTP

class Outside(DRTP):
    """A rule of a file."""
'''


def square(number):
    return number**2, os.getpid()


def known(shared, name):
    """Whether a rule is, here."""
    return name in RULES, shared, os.getpid()


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def leave_once(file):
    """At its first try."""
    if not os.path.exists(file):
        Path(file).touch()
        raise SystemExit(3)
    return "well"


def stumble(number):
    raise ValueError(f"{number} is not enough")


def large(number):
    return torch.arange(number)


def by_name(jobs, queue):
    seen: list[Ended] = []
    run_jobs(queue, Workers(jobs), seen.append)
    assert multiprocessing.active_children() == []
    assert len(seen) == len(queue)
    return {each.job.name: each for each in seen}


def test_every_job_is_done_once_by_so_many_processes():
    """Seven jobs by two processes, not by seven; and one answer of more than a pipe holds, which a parent
    that waits for the end of the process never reads."""
    found = by_name(2, [*(Job(f"{n}", square, (n,)) for n in range(7)), Job("large", large, (100_000,))])
    assert torch.equal(found.pop("large").value, torch.arange(100_000))
    assert {name: each.value[0] for name, each in found.items()} == {f"{n}": n**2 for n in range(7)}
    assert len({each.value[1] for each in found.values()}) == 2
    assert os.getpid() not in {each.value[1] for each in found.values()}


def test_a_death_is_told_by_name_and_the_others_go_on(tmp_path):
    """A process that is killed, one that gives up at its first try, a job that fails; those behind find another one."""
    queue = [
        Job("killed", die, (0,)), Job("gone", leave_once, (str(tmp_path / "once"),), tries=2),
        Job("raised", stumble, (2,)), Job("well", square, (3,)),
    ]  # fmt: skip
    found = by_name(1, queue)
    assert found["killed"].status == -signal.SIGKILL and found["killed"].death == "killed by signal 9"
    assert found["gone"].value == "well" and found["gone"].status == 0 and found["gone"].death is None
    assert found["raised"].status == 1 and found["raised"].death == "ValueError: 2 is not enough"
    assert found["well"].value[0] == 9 and found["killed"].value is found["raised"].value is None


@pytest.mark.parametrize(("exit", "status"), [(-9, -9), (3, 3), (0, 1), (None, 1)])
def test_a_pipe_that_ends_is_a_death_whatever_the_process_says(exit, status):
    """One that left with status 0 has not done its job either."""
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    pool, job, seen = Processes(1), Job("job", square, (1,)), []
    pool.running[ours] = (Worker(ours, SimpleNamespace(join=lambda: None, exitcode=exit)), job)
    pool._hear(ours, deque(), seen.append)
    assert seen == [Ended(job, None, status, 0.0)] and not pool.running and not pool.idle and ours.closed


def test_a_process_serves_until_the_pool_is_closed(registry_kept, tmp_path):
    """It waits between two queues, has what is shared, and knows the rules of files; a process that dies while it waits
    is not asked."""
    (tmp_path / "rule.py").write_text(RULE)
    import_rules(tmp_path / "rule.py")
    seen: list[Ended] = []
    with Processes(1, "shared") as pool:
        for _ in range(2):
            pool.run([Job("known", known, ("outside",))], seen.append)
        (worker,) = pool.idle
        worker.process.kill()
        worker.process.join()
        pool.run([Job("known", known, ("outside",))], seen.append)
    assert multiprocessing.active_children() == []
    assert [each.value[:2] for each in seen] == [(True, "shared")] * 3
    one, same, other = (each.value[2] for each in seen)
    assert one == same == worker.process.pid != other


def test_what_fails_in_the_parent_stops_the_rest():
    """Processes that work on for nobody."""

    def fail(each):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_jobs([Job(f"{n}", square, (n,)) for n in range(4)], Workers(2), fail)
    assert multiprocessing.active_children() == []


def test_here_one_after_another():
    """In this process, with what is shared, in their order; what a job raises is raised."""
    seen: list[Ended] = []
    Here("shared").run([Job(name, known, (name,)) for name in ("bp", "none")], seen.append)
    assert [each.value for each in seen] == [(True, "shared", os.getpid()), (False, "shared", os.getpid())]
    with pytest.raises(ValueError, match="1 is not enough"):
        Here().run([Job("raised", stumble, (1,))], seen.append)


def test_another_process_imports_the_files_of_rules(registry_kept, tmp_path):
    """Before the job, once; a file that is not there is told, and the job is not begun."""
    (tmp_path / "rule.py").write_text(RULE)
    assert perform([tmp_path / "rule.py"] * 2, known, ("shared", "outside")).value[0]
    value, said, _ = perform([tmp_path / "gone.py"], known, ("shared", "outside"))
    assert value is None and said.startswith("Refused: --import") and "gone.py" in said
