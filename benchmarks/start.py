"""How long one waits before anything happens: commands and imports, beside ``import torch``.

    python benchmarks/start.py [--rounds 7]

Round-robin in fresh processes, so that a busy machine slows all alike; medians, and ratios to the median of torch, of
the time that passes and of that of the processor, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

WAITS = {
    "import torch": ["-c", "import torch"],
    "import altprop": ["-c", "import altprop"],
    "from altprop import fit": ["-c", "from altprop import fit"],
    "altprop --version": ["-m", "altprop.cli", "--version"],
    "altprop --help": ["-m", "altprop.cli", "--help"],
    "altprop train --help": ["-m", "altprop.cli", "train", "--help"],
    "altprop list": ["-m", "altprop.cli", "list"],
    "altprop explain drtp": ["-m", "altprop.cli", "explain", "drtp"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """(that pass, of the processor)."""
    compiled = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}  # as installed
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=compiled)
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begin, busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for arguments in WAITS.values():  # once unseen, so that every file has been compiled and read from the disk
        seconds(arguments)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAITS}
    for _ in range(rounds):
        for name, arguments in WAITS.items():
            times[name].append(seconds(arguments))
    medians = {name: [median(part) for part in zip(*each, strict=True)] for name, each in times.items()}
    wall, cpu = medians["import torch"]
    print(f"{'':24}  seconds  x torch  of the processor  x torch")
    for name, (passed, busy) in medians.items():
        print(f"{name:24}  {passed:7.2f}  {passed / wall:7.2f}  {busy:16.2f}  {busy / cpu:7.2f}")


if __name__ == "__main__":
    main()
