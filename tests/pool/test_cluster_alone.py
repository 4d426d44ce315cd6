"""What is asked of Ray, by a stand-in that does what Ray's documentation says, here, one task after another."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from altprop.limits import Interrupted
from altprop.pool.cluster import _perform_there
from altprop.pool.pool import Ended, Job
from altprop.pool.workers import Workers, open_pool, run_jobs
from altprop.run.directory.files import RunError


class RayError(Exception): ...


class WorkerCrashedError(RayError): ...


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class Crash(BaseException):
    """Of a worker, which no task outlives."""


class Ray:
    """The stand-in."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self):
        self.tasks, self.cancelled, self.waited, self.options_of, self.given, self.on = [], [], [], None, None, False

    def is_initialized(self):
        return self.on

    def init(self, **given):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        if given.get("address") == "nowhere":
            raise ConnectionError("nobody answers")
        self.given, self.on = given, True

    def shutdown(self):
        self.on = False

    def put(self, value):
        return value

    def remote(self, function):
        def begin(*arguments):
            self.tasks.append((function, arguments))
            return len(self.tasks)

        def options(**given):
            self.options_of = given
            return SimpleNamespace(remote=begin)

        return SimpleNamespace(options=options)

    def wait(self, references, num_returns=1, timeout=None):
        self.waited.append(num_returns)
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        function, arguments = self.tasks[reference - 1]
        try:
            return function(*arguments)
        except Crash:
            raise WorkerCrashedError from None
        except Exception as error:
            raise RayTaskError(error) from error

    def cancel(self, reference):
        self.cancelled.append(reference)


@pytest.fixture
def ray(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", stand_in := Ray())
    return stand_in


def crash(shared, file, times, how=Crash):
    """So many times."""
    count = len(Path(file).read_text()) if Path(file).exists() else 0
    Path(file).write_text("x" * (count + 1))
    if count < times:
        raise how
    return shared, count


def stumble(shared):
    raise ValueError("this is not enough")


def told(queue, ray):
    seen: list[Ended] = []
    with open_pool(Workers(2, "local"), "shared") as pool:
        pool.run(queue, seen.append)
    assert not ray.on and ray.options_of == {"num_cpus": 1, "max_retries": 0}
    return {each.job.name: each for each in seen}


def test_who_dies_begins_again_so_often(ray):
    """Whether its worker crashed, or was asked to stop by its machine; what fails by itself would fail again."""
    found = told([
        Job("twice", crash, ("a", 2), tries=3), Job("often", crash, ("b", 3), tries=3), Job("once", crash, ("c", 1)),
        Job("stopped", crash, ("d", 1, Interrupted), tries=2), Job("raised", stumble, (), tries=2),
    ], ray)  # fmt: skip
    assert found["twice"].value == ("shared", 2) and found["twice"].status == 0 and found["twice"].death is None
    assert found["stopped"].value == ("shared", 1)
    for name, tries in (("often", "xxx"), ("once", "x")):
        assert found[name].death == "its worker died (WorkerCrashedError)" and found[name].status == 1
        assert Path({"often": "b", "once": "c"}[name]).read_text() == tries
    assert found["raised"].death == "ValueError: this is not enough" and len(ray.tasks) == 3 + 3 + 1 + 2 + 1


def test_ctrl_c_asks_every_task_to_stop_and_waits(ray):
    """A polite kill does, too, which Ray would answer by the end of this process."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            queue = [Job("well", str, ()), Job("kill", os.kill, (os.getpid(), number)), *[Job("rest", str, ())] * 2]
            count = len(ray.tasks)
            with pytest.raises(Interrupted, match="stopped; go on with the same command"):
                run_jobs(queue, Workers(2, "local"), lambda ended: None)
            assert ray.cancelled[-2:] == [count + 3, count + 4] and ray.waited[-1] == 2
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not ray.on
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_polite_kill_is_left_to_who_waits_for_one(ray):
    """As a search does, whose generation ends first."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        run_jobs([Job("kill", os.kill, (os.getpid(), signal.SIGTERM))], Workers(2, "local"), lambda ended: None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


def test_a_cluster_is_joined_or_begun(ray):
    """Of so many processes here; one that is there already is left as it is."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": 40}
    for workers, given in ((Workers(2, "local"), {"num_cpus": 2}), (Workers(None, "auto"), {"address": "auto"})):
        run_jobs([], workers, print)
        assert ray.given == {**quiet, **given} and not ray.on
    ray.on, ray.given = True, None
    run_jobs([], Workers(2, "local"), print)
    assert ray.on and ray.given is None
    ray.on = False
    with pytest.raises(
        RunError, match=r"no Ray cluster could be had at 'nowhere' \(nobody answers\): give its address"
    ):
        open_pool(Workers(None, "nowhere"))


def test_ray_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"pip install 'altprop\[ray\]'"):
        open_pool(Workers(None, "local"))


def test_a_job_works_in_the_folder_of_the_command(ray, monkeypatch):
    """Whose runs and data may be named from there; a machine without it says so."""
    here = Path.cwd()
    (here / "other").mkdir()
    monkeypatch.chdir("other")
    assert _perform_there((), [], here, os.getcwd, ()).value == str(here)
    value, said, _ = _perform_there((), [], here / "gone", os.getcwd, ())
    assert value is None and "gone is not there on a machine of the cluster" in said and "shared storage" in said
