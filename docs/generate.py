"""Tables and figures of the docs, from the measured runs in results/ and from nothing else.

python docs/generate.py                     write them anew
python docs/generate.py --check             fail if one of them is stale
python docs/generate.py --record RUNS       first take the comparison in RUNS over into results/demo
"""

import argparse
import json
import re
import sys
from pathlib import Path

from altprop.run.plots import learning_curves, to_svg
from altprop.run.report import read_run
from altprop.run.show import COMPARISON

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "results" / "demo" / "comparison.json"
MARKS = re.compile(r"(<!-- table: results/demo -->\n).*?(<!-- end -->)", re.DOTALL)


def record(folder):
    """The comparison, its runs' environment and their curves of test accuracy, as one small file."""
    comparison = json.loads((folder / "comparison.json").read_text())
    del comparison["report"]
    runs = {
        row["rule"]: [read_run(folder / f"{row['rule']}-seed{seed}") for seed in comparison["seeds"]]
        for row in comparison["rows"]
    }
    comparison["environment"] = dict(runs["bp"][0].environment)
    comparison["test_accuracy"] = {
        rule: [[round(value, 4) for value in run.curve("test_accuracy").values()] for run in each]
        for rule, each in runs.items()
    }
    DEMO.write_text(json.dumps(comparison, indent=1) + "\n")


def table(comparison):
    rows = [[name for name, _ in COMPARISON], ["---"] * len(COMPARISON)]
    rows += [[cell(row) for _, cell in COMPARISON] for row in comparison["rows"]]
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    environment, seeds = comparison["environment"], ", ".join(map(str, comparison["seeds"]))
    return (
        f"{text}\nData: {comparison['data']}, net {comparison['net']}, {comparison['epochs']} epochs, seeds {seeds}; "
        f"{environment['cpu']}, {environment['threads']} thread, torch {environment['torch']}.\n"
    )


def files():
    """Every generated file and its content."""
    comparison = json.loads(DEMO.read_text())
    readme = (ROOT / "README.md").read_text()
    curves = {
        rule: [[100 * value for value in curve] for curve in each] for rule, each in comparison["test_accuracy"].items()
    }
    figure = learning_curves(curves, quantity="test accuracy (%)", reference="bp")
    figure.set_facecolor("white")
    return {
        ROOT / "README.md": MARKS.sub(lambda match: match[1] + table(comparison) + match[2], readme),
        ROOT / "docs" / "demo.svg": to_svg(figure),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record)
    generated = files()
    if arguments.check:
        stale = [path.name for path, content in generated.items() if path.read_text() != content]
        sys.exit(f"stale: {', '.join(stale)}; run python docs/generate.py" if stale else 0)
    for path, content in generated.items():
        path.write_text(content)


if __name__ == "__main__":
    main()
