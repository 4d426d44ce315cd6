"""Bad input by kinds: every argument of every rule, every key, device, net and file of a run gets what does not fit.

What is not taken is refused in one line of at most 300 letters; nothing ends in another exception, nothing hangs."""

import datetime
import hashlib
import json
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from run_helpers import assert_refused, content, run_cli, toy, toy_file, toy_tensors
from torch import nn

import altprop
from altprop import RULES, limits
from altprop.cli.settings import parse_settings
from altprop.core import Refused, draw_feedback
from altprop.limits import Problem, shorten, shown
from altprop.measure import fit_whitening
from altprop.nets import NetError, build
from altprop.reports.page import write_report
from altprop.run import machine
from altprop.run import train as training
from altprop.run.build import build_rule
from altprop.run.directory.files import RunError, sweep, write_atomically
from altprop.run.experiment import fit, load, resume_run
from altprop.run.machine import check_room, check_threads, find_device, within_memory
from altprop.run.optimizers import find_schedule
from altprop.run.readout import Readout
from altprop.run.recipe import Recipe
from altprop.run.values import check_arguments, make_recipe, read_recipe, rule_arguments
from altprop.study.papers import rows as published_rows

HUGE = 10**5000  # of more digits than Python writes
SMALL = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "1", "--batch", "16"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


def told(call, *arguments, **options):
    """The message with which something is refused, or None where it is taken; any other exception goes on."""
    try:
        call(*arguments, **options)
    except Problem as problem:
        message = str(problem)
        assert 20 < len(message) <= 290 and message.isprintable(), message
        return message


def refused(call, *arguments, words=(), **options):
    message = told(call, *arguments, **options)
    assert message is not None, "it was taken"
    for word in words:
        assert word in message, message


# messages


def test_a_message_is_one_line_of_at_most_300_letters():
    """It keeps its beginning, what came, and its end, what to do; and shows no letter that a terminal obeys."""
    message = str(Problem("lr = " + "9" * 9000 + "\n came: give\tless \x1b[31m\x00\udce9 now"))
    assert len(message) == 290 and message.startswith("lr = 999") and message.endswith("less \\x1b[31m\\x00\\udce9 now")
    assert shorten("a b") == "a b" and len(shorten("x" * 300, 40)) == 40 and shorten("täglich 数据") == "täglich 数据"


def test_values_in_messages_are_short_whatever_they_are():
    """repr itself refuses some of them."""
    nested = []
    nested.append(nested)
    for value in (HUGE, [HUGE], "x" * 9999, nested, np.zeros(9999), {"a": HUGE}, "\ud800"):
        assert len(shown(value)) <= 60 and shown(value).isprintable()
    assert shown("fast") == "'fast'"


@pytest.mark.parametrize(
    "arguments",
    [["x" * 5000], ["train", "--" + "x" * 5000], ["train", "bp", "a", "b" * 5000], ["data", "x" * 5000], ["explain",
    "x" * 5000],
     ["train", "--epochs", "9" * 5000], ["train", "--epochs", "x" * 5000], ["reproduce", "--seeds", "9" * 5000],
     ["reproduce", "x" * 5000],
     ["compare", "--rules", "bp," * 3000], ["compare", "--seeds", "4," * 3000], ["train", "bp", "--set", "x" * 5000],
     ["train", "fa", "--set", "x" * 5000 + "=1"], ["train", "bp", "--data", "x" * 5000], ["train", "bp", "--net",
     "x" * 5000],
     ["train", "bp", "--act", "x" * 5000], ["train", "bp", "--device", "x" * 5000], ["train", "--resume", "d/" * 2000],
     ["eval", "d/" * 2000], ["report", "x" * 400], ["train", "--config", "x" * 400], ["train", "bp", *SMALL, "--out",
     "x" * 400],
     ["train", "bp", *SMALL, "--out", "d/" * 3000], ["train", "bp", *SMALL, "--out", "a\0b"], ["report", "a\0b"],
     ["train", "--resume", "a\0b"], ["train", "bp", "--data", "~nobody/x.csv"], ["train", "bp", *SMALL, "--data-dir",
     "\udce9"],
     ["predict", "none", "x" * 5000], ["list", "--" + "x" * 5000], ["train", "bp", "--data", "caf\udce9.npz"]],
)  # fmt: skip
def test_the_command_line_answers_in_one_short_line(capsys, arguments):
    """Of the parser of options, too, and of the system that is asked for a file of that name."""
    before = content(".")
    outcome = run_cli(capsys, *arguments)
    assert_refused(outcome)
    assert len(outcome.err) <= 301 and content(".") == before


@pytest.mark.parametrize(("arguments", "word"), [([], "train"), (["data"], "fetch"), (["--help"], "compare")])
def test_a_command_without_anything_prints_its_help(capsys, arguments, word):
    """As help: on standard output, with status 0, in lines."""
    outcome = run_cli(capsys, *arguments)
    assert outcome.status == 0 and outcome.err == ""
    assert outcome.out.startswith("Usage:") and word in outcome.out and outcome.out.count("\n") > 5


# numbers and types: recipes

VALUES = [
    float("nan"), float("inf"), -1, 0, 1, 2, 10**400, 2**70, 2**63, 1e308, 1e39, 3e38, 1e-300, "", "None", None, [],
        [[]],
    [1, "a"], [1, [2]], [float("nan")], [0.5], {}, {"a": 1}, True, "x" * 10000, "\0", "\udce9",
    datetime.date(1979, 5, 27), b"x", HUGE, 1j, object(), (1, 2), np.float32(0.5), np.int64(1), np.zeros(2), 1.5,
]  # fmt: skip


@pytest.mark.parametrize("rule", [name for name in RULES if rule_arguments(name)])
def test_every_argument_of_every_rule_takes_or_refuses_every_value(rule):
    """By the types of the rule's signature; what is taken trains a step, or the rule says what it wants."""
    x, y = toy_tensors(12)
    for name in rule_arguments(rule):
        for value in VALUES:
            try:
                recipe = make_recipe(rule=rule, arguments={name: value}, net="6-5-3")
                toml = recipe.toml()
                built = build_rule(recipe, nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), x[:1])
                built.credit(x, y)
                assert all(0 <= group["lr"] < float("inf") for group in built.param_groups(0.1))
            except Problem as problem:
                assert 20 < len(str(problem)) <= 290 and str(problem).isprintable()
            else:
                Path("recipe.toml").write_text(toml)
                assert read_recipe(Path("recipe.toml")) == recipe


ARGUMENTS = {
    "beyond float32": ("fa", {"scale": 1e39}, ["scale=1e+39", "float32"]),
    "beyond float": ("fa", {"scale": 10**400}, ["scale=1000", "float32"]),
    "of more digits than Python writes": ("fa", {"scale": HUGE}, ["scale=an int too long to show"]),
    "beyond int64": ("som", {"maps": 2**63}, ["maps=9223372036854775808", "a whole number"]),
    "whole number as a fraction": ("pepita", {"at": 1.0}, ["at=1.0", "a whole number"]),
    "switch as a number": ("softhebb", {"anti_hebbian": 1}, ["anti_hebbian=1", "true or false"]),
    "number as a switch": ("fa", {"scale": True}, ["scale=True", "a number"]),
    "word in a list": ("softhebb", {"inverse_temperature": [1, "a"]}, ["[1, 'a']", "a number", "a list of them"]),
    "list in a list": ("softhebb", {"inverse_temperature": [[1.0]]}, ["[[1.0]]", "a list of them"]),
    "list of none": ("softhebb", {"inverse_temperature": []}, ["inverse_temperature=[]", "one a layer"]),
    "date": ("stdp", {"beta": datetime.date(1979, 5, 27)}, ["beta=datetime.date(1979, 5, 27)"]),
    "number for a word or None": ("pepita", {"normalise": 1}, ["normalise=1", "a word or None"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_argument_of_the_wrong_type(case):
    """The message names what came and what the signature wants."""
    rule, arguments, words = ARGUMENTS[case]
    refused(lambda: fit(rule, "6-5-3", "toy.npz", epochs=1, arguments=arguments), words=words)


@pytest.mark.parametrize("key", Recipe.model_fields)
def test_every_key_of_a_recipe_takes_or_refuses_every_value(key):
    """What is taken comes back from TOML as it was."""
    for value in VALUES:
        settings = {"rule": "softhebb", key: value}
        if told(make_recipe, **settings) is None:
            Path("recipe.toml").write_text(make_recipe(**settings).toml())
            assert read_recipe(Path("recipe.toml")) == make_recipe(**settings)


@pytest.mark.parametrize("key", Readout.model_fields)
def test_every_key_of_a_readout_takes_or_refuses_every_value(key):
    """Beside the layers below, after them, and in closed form."""
    for value in VALUES:
        for others in ({}, {"epochs": 1}, {"by": "ridge"}):
            told(make_recipe, rule="softhebb", readout={**others, key: value})


KEYS = {
    "lr beyond float32": ({"lr": 1e308}, ["lr = 1e+308"]),
    "weight decay beyond float32": ({"weight_decay": 1e39}, ["weight_decay = 1e+39"]),
    "epochs beyond all": ({"epochs": 10**100}, ["epochs = 1000", "less than"]),
    "epochs of more digits than Python writes": ({"epochs": HUGE}, ["epochs = an int too long to show"]),
    "epochs a fraction that is whole": ({"epochs": 3.0}, ["epochs = 3.0", "integer"]),
    "epochs a switch": ({"epochs": True}, ["epochs = True", "integer"]),
    "batch beyond all": ({"batch": 10**30}, ["batch = 1000"]),
    "lr as text": ({"lr": "0.1"}, ["lr = '0.1'", "number"]),
    "lr a switch": ({"lr": True}, ["lr = True"]),
    "bias as text": ({"bias": "yes"}, ["bias = 'yes'", "boolean"]),
    "bias as a number": ({"bias": 1}, ["bias = 1", "boolean"]),
    "val nan": ({"val": float("nan")}, ["val = nan"]),
    "rates with a word": ({"rule": "softhebb", "rates": [0.1, "a"]}, ["phase.1.lr = 'a'", "number"]),
    "rates that are infinite": ({"rule": "softhebb", "rates": [1e400]}, ["phase.0.lr = inf"]),
    "a name that is no UTF-8": ({"data": "caf\udce9.csv"}, ["data = 'caf\\udce9.csv'", "UTF-8", "rename it"]),
    "a name with a zero byte": ({"data_dir": "a\0b"}, ["data_dir", "zero byte"]),
    "readout epochs": ({"rule": "softhebb", "readout": {"epochs": True}}, ["readout.epochs = True"]),
    "readout strength": ({"rule": "oja", "readout": {"by": "svc", "strength": 1e300}}, ["readout.strength = 1e+300"]),
}  # fmt: skip


@pytest.mark.parametrize("case", KEYS)
def test_key_of_the_wrong_type_or_size(case):
    values, words = KEYS[case]
    refused(make_recipe, **values, words=words)


def test_numbers_of_numpy_and_torch_are_numbers():
    """A search over a grid gives them."""
    recipe = make_recipe(
        rule="softhebb", lr=np.float32(0.5), seed=np.int64(3), rates=(np.float64(0.1), torch.tensor(0.5))
    )
    assert (recipe.lr, recipe.seed, recipe.rate_used) == (0.5, 3, [0.1, 0.5]) and type(recipe.seed) is int


@pytest.mark.parametrize(
    ("text", "value"), [("9" * 5000, "9" * 5000), ("[" * 5000, "[" * 5000), ("[1, 2", "[1, 2"), ("1e400", float("inf"))]
)
def test_settings_that_no_reader_of_toml_survives(text, value):
    """They are words then, which no rule takes for a number."""
    settings = parse_settings([f"scale={text}"])
    assert settings == {"scale": value}
    refused(check_arguments, "fa", settings, words=["scale="])


@pytest.mark.parametrize(
    "text", ["halve@inf%", "halve@nan%", "halve@1e400%", "halve@101%", "halve@-5%", "step@-1", "step@1e3",
    "step@" + "9" * 20,
             "step@" + "9" * 5000, "step@1,,2", "step@٣"],
)  # fmt: skip
def test_milestones_are_epochs_or_shares(text):
    refused(find_schedule, text, 10, words=["schedule", "step@60,90"])


def test_milestones_that_are_right():
    """The control: 50.5 % of 10 epochs is epoch 5, the last epoch's end is allowed."""
    halve, step = find_schedule("halve@50.5%, 100%", 10), find_schedule("step@2,4", 10)
    assert [halve(epoch) for epoch in (4, 5, 10)] == [1, 0.5, 0.25]
    assert [step(epoch) for epoch in (1, 2, 4)] == pytest.approx([1, 0.1, 0.01])


# devices, cores, memory


@pytest.mark.parametrize(
    "name", ["mps", "mps:3", "xla", "xla:0", "hpu", "hpu:0", "privateuseone", "privateuseone:0", "meta", "lazy",
    "vulkan", "maia",
             "ipu", "mtia", "cuda:99", "cuda:-1", "cuda:1e3", "cpu:1", "cpu:-1", "cpu:" + "9" * 30, "", " cpu",
             "CPU", ":0",
             "тостер", "x" * 5000, "\0", None, 0, torch.device("meta")],
)  # fmt: skip
def test_devices_that_do_not_compute_here(monkeypatch, name):
    """torch knows a score of names; those without a machine behind them end in a page, or a module that is missing."""
    monkeypatch.setattr(machine, "devices", lambda: {"cpu": 1})
    refused(find_device, name, words=["device", "is not there", "there is cpu", "--device cpu"])


def test_devices_that_are_there():
    assert find_device("cpu") == torch.device("cpu") and find_device("cpu:0").type == "cpu"


def test_threads_are_bound_by_the_cores(monkeypatch):
    """A small machine cannot start a thousand; of a large one nothing is taken away."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    check_threads(64)
    refused(check_threads, 65, words=["threads = 65", "2 cores"])
    monkeypatch.setattr(os, "cpu_count", lambda: 256)
    check_threads(1024)
    refused(fit, "bp", "6-5-3", "toy.npz", epochs=1, threads=1025, words=["threads = 1025"])


NETS = {
    "a width beyond memory": ("6-1000000000000-3", (6,), ["6-1000000000000-3", "memory"]),
    "a width of thousands of digits": ("6-" + "9" * 5000 + "-3", (6,), ["999", "memory", "smaller"]),
    "inputs of thousands of digits": ("9" * 5000 + "-3", (6,), ["memory"]),
    "two widths beyond memory": ("6-900000-900000-3", (6,), ["GB", "smaller"]),
    "a residual width": ("6-res" + "9" * 5000 + "-3", (6,), ["memory"]),
    "channels beyond memory": ("conv999999999k9-3", (9, 9, 9), ["GB", "smaller"]),
    "a kernel beyond memory": ("conv9k999999999p999999999-3", (1, 8, 8), ["memory", "smaller"]),
    "padding beyond memory": ("conv4k3p999999-3", (1, 8, 8), ["'conv4k3p999999'", "GB of one sample"]),
    "a kernel of thousands of digits": ("conv4k" + "9" * 5000 + "-3", (1, 8, 8), ["memory"]),
    "a stride of thousands of digits": ("conv4k3s" + "9" * 5000 + "-3", (1, 8, 8), ["memory"]),
    "a pool of thousands of digits": ("pool" + "9" * 5000 + "-3", (1, 8, 8), ["memory"]),
    "layers without end": ("6-" + "5-" * 10000 + "3", (6,), ["10002 parts", "2000"]),
    "blocks without end": ("resnet99999998", (3, 8, 8), ["too deep", "2000"]),
    "blocks of no depth": ("resnet99999999", (3, 8, 8), ["too deep"]),
    "a depth of thousands of digits": ("resnet" + "9" * 5000, (3, 8, 8), ["too deep"]),
    "an activation beyond float32": ("6-5-3", (6,), ["triangle1000", "float32"], {"act": "triangle1" + "0" * 400}),
    "an initialiser beyond float32": ("6-5-3", (6,), ["radius999", "float32"], {"init": "radius" + "9" * 400}),
}  # fmt: skip


@pytest.mark.parametrize("case", NETS)
def test_nets_beyond_memory_are_refused_before_they_are_built(monkeypatch, case):
    """By their size on paper: a try would fill the machine first, or end in the allocator's own words."""
    monkeypatch.setattr("altprop.nets.spec.memory", lambda: 10**11)
    spec, shape, words, *options = NETS[case]
    refused(build, spec, shape, 3, **(options[0] if options else {}), words=words)


def test_memory_counts_weights_feedback_and_batches(monkeypatch):
    """To the byte: 6-5-3 has 53 numbers; DFA on it 15 more; the covariance of 6 features and its
    directions 72 doubles; a batch of 10 in its first layer 10 x (6 + 5)."""
    for room, fits in ((4 * 53, True), (4 * 53 - 1, False)):
        monkeypatch.setattr("altprop.nets.spec.memory", lambda room=room: room)
        assert (told(build, "6-5-3", (6,), 3) is None) == fits
    for room, fits in ((4 * 15, True), (4 * 15 - 1, False)):
        monkeypatch.setattr("altprop.core.feedback.memory", lambda room=room: room)
        assert (told(draw_feedback, [(3, 5)], like=torch.zeros(1)) is None) == fits
    monkeypatch.setattr("altprop.core.feedback.memory", lambda: 10**9)
    for room, fits in ((5 * 8 * 36, True), (5 * 8 * 36 - 1, False)):  # five matrices of float64
        monkeypatch.setattr("altprop.measure.whitening.memory", lambda room=room: room)
        assert (told(fit_whitening, torch.rand(9, 6)) is None) == fits
    rule = RULES["dfa"](nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), example=torch.zeros(1, 6))
    for room, fits in ((4 * 10 * 11, True), (4 * 10 * 11 - 1, False)):
        monkeypatch.setattr(machine, "memory", lambda room=room: room)
        assert (told(check_room, rule, 10) is None) == fits


def test_memory_is_what_the_control_group_leaves(monkeypatch, tmp_path):
    """In a container less is allowed than the machine has."""
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "some").write_text("1000\n")
    monkeypatch.setattr(limits, "CONTROL_GROUPS", (str(tmp_path / "max"), str(tmp_path / "none")))
    assert limits.memory() > 10**8
    monkeypatch.setattr(limits, "CONTROL_GROUPS", (str(tmp_path / "max"), str(tmp_path / "some")))
    assert limits.memory() == 1000


@pytest.mark.parametrize(
    "error", [MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: "
              "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)" + "x" * 900),
              RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")],
)  # fmt: skip
def test_what_allocators_say_becomes_one_line(capsys, monkeypatch, error):
    def full(self, x, y):
        raise error

    monkeypatch.setattr(training.Learner, "step", full)
    assert_refused(run_cli(capsys, "train", "bp", *SMALL, "--out", "run"), "memory is full", "--batch")
    assert not Path("run").exists()


def test_other_errors_of_torch_stay_errors():
    """A bug is no lack of memory."""
    with pytest.raises(RuntimeError, match="shapes"), within_memory():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_seeds_of_sparse_feedback_reach_to_the_last():
    """Each layer's draw counts up from the seed, which may be the last that there is."""
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    rule = RULES["ssdfa"](net, example=torch.zeros(1, 6), seed=2**63 - 1)
    assert len(rule.feedback) == 2


# run directories that somebody has changed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, one stopped in the middle by momentum and one by adam, and a comparison's page."""
    folder = tmp_path_factory.mktemp("runs")
    data = str(toy_file(folder))
    fit("dfa", "6-5-3", data, epochs=2, batch=16, out=folder / "finished")
    step = training.Learner.step

    def stopping(self, x, y, count=[]):  # noqa: B006
        count.append(1)
        if len(count) % 6 == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, x, y)

    training.Learner.step = stopping
    try:
        for name, settings in (("half", {}), ("adam", {"optimizer": "adam"})):
            with pytest.raises(training.Interrupted):
                fit("dfa", "6-5-3", data, epochs=3, batch=16, out=folder / name, **settings)
    finally:
        training.Learner.step = step
    return folder


FILES = {  # what reads each of them
    "finished/recipe.toml": (resume_run, load, write_report),
    "finished/data.json": (resume_run, load),
    "finished/metrics.jsonl": (resume_run, write_report),
    "finished/environment.json": (write_report,),
    "finished/rule.safetensors": (resume_run, load),
    "finished/checkpoint/state.json": (resume_run,),
    "half/recipe.toml": (resume_run,),
    "half/data.json": (resume_run,),
    "half/checkpoint/state.json": (resume_run, load),
}


def half(path):
    """Of a file's bytes the first, inside a line: half a recipe may be a whole one."""
    content = path.read_bytes()[: path.stat().st_size // 2]
    return content[: content.rindex(b"=") + 1] if path.suffix == ".toml" else content


CONTENTS = {
    "cut": lambda path: path.write_bytes(half(path)),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x01"),
    "zero bytes": lambda path: path.write_bytes(bytes(100) + b"\n"),
    "a list": lambda path: path.write_text("[]\n"),
    "a number": lambda path: path.write_text("3\n"),
    "null": lambda path: path.write_text("null\n"),
    "nested without end": lambda path: path.write_text("[" * 100000 + "\n"),
    "objects without end": lambda path: path.write_text('{"a":' * 100000 + "\n"),
    "a number without end": lambda path: path.write_text("9" * 5000 + "\n"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link in a circle": lambda path: (path.unlink(), path.symlink_to(path.name)),
}
AS_IF_NOT_THERE = {"finished/metrics.jsonl", "finished/environment.json"}  # of a report, where it is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are a matter of Unix")
@pytest.mark.parametrize("damage", CONTENTS)
@pytest.mark.parametrize("name", FILES)
def test_file_of_a_run_that_is_something_else(runs, name, damage):
    """Told by the file's name, by every reader; a pipe would be waited for without end."""
    run, _, file = name.partition("/")
    shutil.copytree(runs / run, "run")
    CONTENTS[damage](Path("run", file))
    for read in FILES[name]:
        if read is write_report and name in AS_IF_NOT_THERE and not Path("run", file).is_file():
            continue
        if read is write_report and damage == "cut" and name == "finished/metrics.jsonl":
            continue  # a line that is being written is left out
        if name == "finished/rule.safetensors" and damage in ("a folder", "a pipe", "a link in a circle"):
            continue  # then the run has not ended, and the checkpoint counts
        refused(read, Path("run"), words=["run"])


LEAVES = [
    None,
    -1,
    0,
    3,
    10**9,
    2**63,
    10**400,
    1e400,
    float("nan"),
    1.5,
    True,
    "",
    "x" * 5000,
    "\0",
    "\ud800",
    [],
    [[]],
    {},
]
STATE = "checkpoint/state.json"


def places(value, above=()):
    """The path of every value in JSON; of lists the first and the last."""
    yield above
    keys = value if isinstance(value, dict) else {0, len(value) - 1} if isinstance(value, list) and value else ()
    for key in keys:
        yield from places(value[key], (*above, key))


def changed(value, place, new):
    """A copy with another value there, or without that key."""
    copy = json.loads(json.dumps(value))
    at = copy
    for key in place[:-1]:
        at = at[key]
    if new is ...:
        del at[place[-1]]
    else:
        at[place[-1]] = new
    return copy


@pytest.mark.parametrize(
    ("name", "read", "share"),
    [(f"half/{STATE}", resume_run, 0.06), (f"adam/{STATE}", resume_run, 0.06), ("finished/data.json", load, 0.5),
    ("half/data.json", resume_run, 0.2),
     ("finished/metrics.jsonl", resume_run, 0.15)],
)  # fmt: skip
def test_values_of_another_type_are_refused_or_do_no_harm(runs, name, read, share):
    """Every place of the file gets everything; whatever is taken trains or loads to the end."""
    run, _, file = name.partition("/")
    rng = random.Random(0)
    lines = (runs / name).read_text().splitlines()
    value = json.loads("".join(lines) if file.endswith(".json") else lines[-1])
    shutil.copytree(runs / run, "run")
    outcomes = []
    for place in [place for place in places(value) if place]:
        for new in [new for new in [*LEAVES, ...] if rng.random() < share]:
            text = json.dumps(changed(value, place, new))
            Path("run", file).write_text(text if file.endswith(".json") else "\n".join([*lines[:-1], text, ""]))
            message = told(read, Path("run"))
            outcomes.append(message is not None)
            if message is None and read is resume_run:  # it went on, and has changed more than that file
                shutil.rmtree("run")
                shutil.copytree(runs / run, "run")
    assert outcomes.count(True) > len(outcomes) / 2 and len(outcomes) > 15


STATES = {
    "negative epoch": {"epoch": -1},
    "epoch beyond the recipe": {"epoch": 9},
    "epoch beyond the recipe with its rows": {"epoch": 9, "batch": 0, "rows": "nine"},
    "epoch without its row": {"rows": []},
    "two epochs without their rows": {"epoch": 2, "batch": 0, "rows": []},
    "epoch as a fraction": {"epoch": 1.0},
    "step of a switch": {"step": True},
    "batch beyond the epoch": {"batch": 99},
    "seconds that are not finite": {"seconds": float("nan")},
    "loss beyond float": {"loss_sum": 10**400},
    "path in the name of the tensors": {"tensors": "../000000006.safetensors"},
    "rows of words": {"rows": ["one"]},
    "optimizers of words": {"optimizers": ["sgd"]},
    "settings of no optimizer": {"optimizers": [{"plain": {}, "param_groups": []}]},
    "parameter of no optimizer": {"plain": {"99": {"step": 3}}},
    "words in an optimizer": {"plain": {"0": {"momentum": "x"}}},
    "another rate": {"initial_lr": 0.5},
    "a rate above its own": {"lr": 9.0},
    "a rate of words": {"lr": "x"},
    "another momentum": {"momentum": 0.1},
}


@pytest.mark.parametrize("case", STATES)
def test_state_that_the_recipe_does_not_have(runs, case):
    """Sums and rates that nobody has computed would be told as this run's."""
    shutil.copytree(runs / "half", "run")
    state = json.loads(Path("run", STATE).read_text())
    change = dict(STATES[case])
    if change.get("rows") == "nine":
        change["rows"] = [{**state["rows"][0], "epoch": epoch} for epoch in range(1, 10)]
    optimizer = state["optimizers"][0]
    if "plain" in change:
        optimizer["plain"] = change.pop("plain")
    settings = change.keys() & {"initial_lr", "lr", "momentum"}
    optimizer["param_groups"][0].update({key: change.pop(key) for key in settings})
    Path("run", STATE).write_text(json.dumps({**state, **change}))
    before = content("run")
    refused(resume_run, Path("run"), words=["run"])
    assert content("run") == before


TENSORS = {
    "whole numbers": lambda tensor: tensor.to(torch.int64),
    "double": lambda tensor: tensor.double(),
    "another shape": lambda tensor: torch.zeros(2, 2),
    "nothing in it": lambda tensor: torch.zeros(0),
    "not a number": lambda tensor: torch.full_like(tensor, torch.nan),
    "gone": lambda tensor: None,
}


@pytest.mark.parametrize("change", TENSORS)
@pytest.mark.parametrize("key", ["net.0.weight", "net.2.bias", "feedback.0"])
def test_tensors_that_do_not_fit_the_rule(runs, change, key):
    """torch casts double and whole numbers in silence; NaN would be every prediction."""
    shutil.copytree(runs / "finished", "run")
    state = safetensors.torch.load_file("run/rule.safetensors")
    new = TENSORS[change](state.pop(key))
    safetensors.torch.save_file(state if new is None else {**state, key: new}, "run/rule.safetensors")
    refused(load, "run", words=["does not fit", key])
    refused(resume_run, "run", words=["does not fit", key])


@pytest.mark.parametrize("change", TENSORS)
@pytest.mark.parametrize("run", ["half", "adam"])
def test_tensors_that_do_not_fit_the_optimizer(runs, run, change):
    """Under a checksum that fits them; they would end in the first step, or add another number to every weight."""
    for index, key in enumerate(
        ["optimizer.0.0." + ("momentum_buffer" if run == "half" else "exp_avg"), "random.order"]
    ):
        folder = Path(f"run{index}")
        shutil.copytree(runs / run, folder)
        state = json.loads((folder / STATE).read_text())
        path = folder / "checkpoint" / state["tensors"]
        tensors = safetensors.torch.load_file(path)
        old = tensors.pop(key)
        new = TENSORS[change](old.clone() if index == 0 else torch.zeros(5))
        safetensors.torch.save_file(tensors if new is None else {**tensors, key: new}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / STATE).write_text(json.dumps({**state, "sha256": sha256}))
        if change == "gone" and index == 0 and run == "half":
            continue  # an optimizer that has not stepped this parameter yet
        refused(resume_run, folder, words=["does not fit its recipe"])


RECIPES = {
    "no rate": ("lr = ", "# lr = ", ["lr is missing"]),
    "no loss": ("loss = ", "# loss = ", ["loss is missing"]),
    "epochs that are true": ("epochs = 2", "epochs = true", ["epochs = True"]),
    "a net beyond memory": ('"6-5-3"', '"6-999999999-999999999-3"', ["memory"]),
    "a seed that is negative": ("seed = 0", "seed = -1", ["seed = -1"]),
    "a date": ("momentum = 0.9", "momentum = 1979-05-27", ["momentum = datetime.date"]),
}


@pytest.mark.parametrize("case", RECIPES)
def test_recipe_of_a_run_that_somebody_has_changed(runs, case):
    """A default in the place of what is missing is another run."""
    old, new, words = RECIPES[case]
    shutil.copytree(runs / "finished", "run")
    text = Path("run/recipe.toml").read_text()
    assert old in text
    Path("run/recipe.toml").write_text(text.replace(old, new, 1))
    for read in (load, resume_run):
        refused(read, "run", words=words)


DESCRIPTIONS = {
    "a spread of zero": {"scaling": [[0.0] * 6, [0.0] * 6]},
    "a scaling of words": {"scaling": ["a", "b"]},
    "a scaling of another length": {"scaling": [[0.0] * 5, [1.0] * 5]},
    "a scaling that is not finite": {"scaling": [[float("nan")] * 6, [1.0] * 6]},
    "three scalings": {"scaling": [[0.0] * 6, [1.0] * 6, [1.0] * 6]},
    "samples beyond memory": {"shape": [10**9, 10**9]},
    "samples of nothing": {"shape": [0]},
    "classes of one name": {"classes": ["a", "a", "b"]},
    "classes of numbers": {"classes": [0, 1, 2]},
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_description_of_data_that_somebody_has_changed(runs, case):
    """Every prediction would be of inputs that were scaled by nothing."""
    shutil.copytree(runs / "finished", "run")
    description = json.loads(Path("run/data.json").read_text())
    Path("run/data.json").write_text(json.dumps({**description, "scaling": [[0.0] * 6, [1.0] * 6]}))
    assert load("run").rule.classes == 3
    Path("run/data.json").write_text(json.dumps({**description, **DESCRIPTIONS[case]}))
    refused(load, "run", words=["run/data.json", "unreadable"])


MEASURES = {
    "pictures that do not fill their shape": {"receptive_fields": {"shape": [5, 3, 2], "values": [1.0]}},
    "pictures of no shape": {"receptive_fields": {"shape": [], "values": []}},
    "points of three coordinates": {"activity": {"points": [[1, 2, 3]], "labels": [0]}},
    "points without labels": {"activity": {"points": [[1, 2]], "labels": []}},
    "no winners": {"winners": {"0": {"share": [], "dead": 0}}},
    "negative winners": {"winners": {"0": {"share": [-1], "dead": 0}}},
    "strengths of words": {"robustness": {"fgsm": {"weak": 0.5}}},
    "readouts that differ": {"depth": {"input": {"ridge": 0.5}, "0": {"nearest": 0.5}}},
    "readouts of no layer": {"depth": {}},
    "weights without a fit": {"weights": {"0": {"normal": {"aic": 1}}}},
    "quantiles of words": {"weights": {"0": {"normal": {"aic": 1, "quantiles": [["a", 1]]}}}},
    "kinds that are missing": {"units": {"units": 3, "shares": {}}},
    "a plateau of words": {"curve": {"slowness": "slow"}},
    "a list": {"activity": [1]},
}


@pytest.mark.parametrize("case", MEASURES)
def test_measures_that_cannot_be_drawn(runs, case):
    shutil.copytree(runs / "finished", "run")
    Path("run/measures.json").write_text(json.dumps(MEASURES[case]))
    refused(write_report, "run", words=["measures.json", next(iter(MEASURES[case])), "expected"])


COMPARISONS = {
    "rows of words": {"rows": ["bp"]},
    "a rule that is a number": {"rows": [{"rule": 3}]},
    "an accuracy of words": {"rows": [{"test_accuracy_mean": "high"}]},
    "a count that is negative": {"rows": [{"n": -1}]},
    "claims of words": {"rows": [{"claims": "none"}]},
    "seeds of words": {"rows": [], "seeds": ["one"]},
    "a net that is a list": {"rows": [], "net": ["6-5-3"]},
}


@pytest.mark.parametrize("case", COMPARISONS)
def test_comparison_that_cannot_be_drawn(case):
    Path("all").mkdir()
    Path("all/comparison.json").write_text(json.dumps(COMPARISONS[case]))
    refused(write_report, "all", words=["comparison.json", "expected"])


RESULTS = {
    "seed": -1,
    "seconds": float("nan"),
    "classes": 0,
    "test_accuracy": [None],
    "test_loss": "low",
    "feedback_angle": {"0": []},
    "recipe_hash": 3,
}


@pytest.mark.parametrize("key", RESULTS)
def test_result_that_somebody_has_changed(tmp_path, capsys, key):
    """A verdict would be told of it."""
    row = next(row for row in published_rows(["pepita"]) if row.quantity == "accuracy" and row.recipe)
    result = {"recipe_hash": row.hash, "seed": 0, "seconds": 1.0, "classes": 10, "test_accuracy": [0.5]}
    path = row.result_path(0, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    assert row.results(tmp_path)[0]["seed"] == 0
    path.write_text(json.dumps({**result, key: RESULTS[key]}))
    assert_refused(run_cli(capsys, "reproduce", row.id, "--status", "--results", tmp_path), path, "remove it")


# what a kill leaves, and where nothing can be written


@pytest.mark.parametrize("folder", ["", "checkpoint"])
def test_what_a_kill_in_mid_write_has_left_goes_at_resume(runs, folder):
    """The scratch file of another process; files of the user that begin with a dot stay."""
    shutil.copytree(runs / "half", "run")
    for name in (".metrics.jsonl.4321", ".report.html.77.tmp", ".state.json.1"):
        Path("run", folder, name).write_text("{")
    Path("run", folder, ".notes.txt").write_text("mine")
    Path("run/checkpoint/000000001.safetensors").write_bytes(b"never named")
    resume_run("run")
    assert [path.name for path in Path("run", folder).glob(".*")] == [".notes.txt"]
    assert len(list(Path("run/checkpoint").glob("*.safetensors"))) == 1


def test_a_sweep_for_one_file_leaves_those_of_others():
    """Processes that write other seeds beside it."""
    for name in (".seed0.json.12", ".seed1.json.13", ".seed0.json.old"):
        Path(name).write_text("{")
    sweep(Path(), "seed0.json")
    assert sorted(path.name for path in Path().glob(".*")) == [".seed0.json.old", ".seed1.json.13"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are a matter of Unix")
def test_no_device_and_no_pipe_is_replaced():
    """The administrator could: /dev/null would be a file from then on, for every program of the machine."""
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("circle").symlink_to("circle")
    for name, word in (("pipe", "a device or a pipe"), ("folder", "is a folder"),
                       ("circle", "cannot write circle"), ("a\0b", "cannot write a\\x00b"), ("x" * 300,
                       "cannot write xxx"),
                       ("none/file", "cannot write none/file")):  # fmt: skip
        refused(write_atomically, Path(name), "text", words=[word])
    assert Path("pipe").is_fifo()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are a matter of Unix")
def test_a_pipe_as_recipe_is_not_waited_for(capsys):
    os.mkfifo("pipe")
    assert_refused(run_cli(capsys, "train", "--config", "pipe"), "pipe", "expected a recipe")


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb", "数据"])
def test_a_run_directory_may_have_any_name(name):
    """Of bytes that are no UTF-8, too: nothing of it stands in the run."""
    result = fit("bp", "6-5-3", toy_tensors(), epochs=1, out=name)
    assert load(name, None).rule.classes == 3 and result.test_accuracy is not None
    assert write_report(Path(name)).is_file()


def test_predictions_hold_the_bytes_that_names_of_classes_have(runs, capsys):
    """Folders of images may be called by bytes that are no UTF-8."""
    shutil.copytree(runs / "finished", "run")
    description = json.loads(Path("run/data.json").read_text())
    Path("run/data.json").write_text(json.dumps({**description, "classes": ["caf\udce9", "b", "c"]}))
    np.savez("x.npz", x=toy()[0])
    assert run_cli(capsys, "predict", "run", "x.npz", "--out", "y.csv").status == 0
    assert b"p_caf\xe9" in Path("y.csv").read_bytes()


def test_errors_of_all_parts_are_short():
    """Each part raises its own; all of them shorten."""
    for error in (Refused, NetError, RunError, altprop.Refused):
        assert len(str(error("x" * 9999))) == 290 and issubclass(error, ValueError)
