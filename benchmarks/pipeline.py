"""What a pipeline of layers gains: 16 layers of 1024 units by DRTP, batches of 512, on one process and on two.

    python benchmarks/pipeline.py [--batches 20] [--layers 16] [--width 1024] [--batch 512]

Every process computes on one thread, so that two idle cores are needed.  The model: a batch leaves the pipeline as
often as the slowest process is done with one, that is with its layers and with what it takes and hands on,

    speed-up = sum t_l / (max over processes of their t_l + messages),

with the time t_l of each layer and that of a message as measured here.  Beside it backpropagation in a pipeline that
keeps only what enters its parts and computes the rest again: with M micro-batches it waits at both ends of each batch,
and takes four products where three would do, so that its speed-up is P * 3/4 * M / (M + P - 1).
"""

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from altprop.data import from_torch
from altprop.parallel.meeting import meeting
from altprop.parallel.pipeline import parted
from altprop.run.build import prepare
from altprop.run.team import ALONE
from altprop.run.values import make_recipe

WARM = 3  # batches before any is timed
MICRO = 32  # M


def learner_of(given):
    x, y = torch.rand(given.batch, given.width), torch.arange(given.batch) % 10
    net = "-".join([str(given.width)] * given.layers + ["10"])
    recipe = make_recipe(rule="drtp", net=net, data="custom", batch=given.batch, threads=1, measure=False)
    learner = prepare(recipe, from_torch((x, y), (x[:64], y[:64])))
    learner.enter(0)
    return learner, x, y


def seconds_a_batch(team, learner, x, y, batches):
    for _ in range(WARM):
        team.step(learner, x, y)
    start = time.perf_counter()
    for _ in range(batches):
        team.step(learner, x, y)
    return (time.perf_counter() - start) / batches


def seconds_a_layer(learner, x, y, batches):
    """Of each layer the median of its stage, and of a step in proportion to its weights."""
    rule, times = learner.rule, []
    t = rule.targets(y, len(x))
    for _ in range(batches):
        h, each = x, []
        for index, layer in enumerate(rule.layers):
            start = time.perf_counter()
            h, _ = rule.stage(index, h, t)
            stage = time.perf_counter() - start
            each.append((stage, sum(parameter.numel() for parameter in layer.parameters())))
        start = time.perf_counter()
        learner.descend()
        step = (time.perf_counter() - start) / sum(size for _, size in each)
        learner.zero_grad()
        times.append([stage + step * size for stage, size in each])
    return torch.tensor(times).median(0).values.tolist()


def seconds_a_message(given, rounds=9):
    """The best time of an activity through a socket of this machine."""
    content, times = bytes(4 * given.batch * given.width), []
    for _ in range(rounds):
        here, there = socket.socketpair()
        sender = threading.Thread(target=here.sendall, args=[content])
        start, left = time.perf_counter(), len(content)
        sender.start()
        while left:
            left -= len(there.recv(min(left, 1 << 20)))
        times.append(time.perf_counter() - start)
        sender.join()
    return min(times)


def by_two():
    """Seconds a batch at the top of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    home = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    start = [sys.executable, *sys.argv]
    below, top = (
        subprocess.Popen(start, env={**os.environ, **home, "RANK": rank}, stdout=subprocess.PIPE) for rank in "01"
    )
    told = float(top.communicate()[0])
    below.wait()
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"batches": 20, "layers": 16, "width": 1024, "batch": 512}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.manual_seed(0)
    learner, x, y = learner_of(given)
    if "RANK" in os.environ:
        with meeting(Path("unwritten"), pipeline=2) as team:
            team.join(learner)
            seconds = seconds_a_batch(team, learner, x, y, given.batches)
            team.peers.gather(None)
        print(seconds)
        return
    one = seconds_a_batch(ALONE, learner, x, y, given.batches)
    layers, message, two = seconds_a_layer(learner, x, y, given.batches), seconds_a_message(given), by_two()
    print(f"one process {1e3 * one:.1f} ms a batch, two {1e3 * two:.1f} ms: {one / two:.2f} x")
    print(f"a layer {1e3 * layers[1]:.2f} ms, a message {1e3 * message:.2f} ms")
    print("model:  processes  layers  pipeline  backpropagation, recomputed")
    for processes in (2, 4, 8, 16, 32, 64):
        times = layers if processes <= given.layers else [layers[1]] * processes  # a net as deep as there are processes
        slowest = max(sum(times[index] for index in own) for own in parted(times, processes))
        recomputed = processes * 0.75 * MICRO / (MICRO + processes - 1)
        gain = sum(times) / (slowest + 2 * message)
        print(f"        {processes:9}  {len(times):6}  {gain:6.2f} x  {recomputed:6.2f} x")


if __name__ == "__main__":
    main()
