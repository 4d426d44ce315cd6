"""Tables and figures of the docs, from the measured runs in results/ and from nothing else.

python docs/generate.py                     write them anew
python docs/generate.py --check             fail if one of them is stale
python docs/generate.py --record RUNS       first take the comparison in RUNS over into results/demo
python docs/generate.py --precision F B     first take two comparisons, by float32 and by bf16, into results/precision
python docs/generate.py --record RUNS --to tuned/mnist              a tuned one, and
python docs/generate.py --record RUNS --to tuned/mnist-untuned      the one that it stands beside

README.md holds the comparison in results/demo, and those of results/tuned that are there beside their untuned ones;
docs/results.md what altprop reproduce has left in results/, and docs/precision.md what every rule loses to bfloat16.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

from altprop.panels.style import to_picture
from altprop.reports import tables as comparisons
from altprop.reports.charts import dots
from altprop.reports.comparison import entries_of, reference_of, score_of
from altprop.reports.curves import learning_curves
from altprop.reports.numbers import fixed, measured, percent, signed
from altprop.reports.page import read_run
from altprop.rules import RULES
from altprop.run.values import read_recipe
from altprop.statistics import paired_difference
from altprop.study.papers import RECIPES, rows, status, tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
DEMO = RESULTS / "demo" / "comparison.json"
BY_DEPTH = "softhebb/cifar10"  # the table whose rows differ in the number of hidden layers
MARKS = re.compile(r"(<!-- table: results/([\w/-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


HEAD = """# Published numbers and ours

Written by `python docs/generate.py` from the finished runs in `results/` and from nothing else; the published numbers
stand in the recipes. Accuracies are in percent, a slowness is in epochs. Of searches there are evaluations until a task
is solved (of a seed that does not solve it all that it was given), the percentage of seeds that solve it, and the
fitness of the champion when it is asked anew. *Ours* is mean ± standard deviation (number of seeds), the difference is
ours - published with its 95 % interval: Student's t over our seeds, and the published mean's own error. A single seed
has no interval: it can show that the published number is near, or that this one run is far from it, but neither that
the means agree nor that they differ, since the scatter of our runs is not known then.

The tolerance is two published standard deviations, or 0.25 points where that is more (of a slowness and of evaluations:
a quarter; of a share of seeds: 5 points; of a fitness: a twentieth).

- **reproduced**: the whole interval lies within the tolerance. Only several seeds can show this.
- **consistent**: a part of the interval does, so that more seeds would tell; or a single seed does.
- **above**, **below**: nothing of it does, and ours is the larger, the smaller number.
- **run**: there is no published number to hold it against. **not run**: no finished run of this recipe yet.

{recipes} rows have a recipe, {run} of them a run. `altprop reproduce PAPER/TABLE` makes what is missing.
"""
PRECISION_HEAD = """# bfloat16 beside float32

Written by `python docs/generate.py` from `results/precision/` and from nothing else. Each rule learned twice from the
same weights, samples and random numbers: once by float32, once by `--precision bf16`, whose products have bfloat16
operands, sums in float32 and bfloat16 results; all else is float32. The net is judged in float32 in either case. Test
accuracies are in percent, mean ± standard deviation over the seeds, and a difference, bf16 - float32, is in points with
its 95 % interval over the pairs of seeds. A dash: the run diverged.
"""
METRICS = "metrics.jsonl"
LARGE = 0.5  # points, from which on a difference is named above its table
PUBLISHED = [
    ("row", lambda r: r["id"].split("/")[2]),
    ("rule", lambda r: r["rule"]),
    ("published", lambda r: measured(r["published"], r["published_std"])),
    ("ours (n)", lambda r: f"{measured(r['mean'], r['std'])} ({r['n']})" if r["n"] else "-"),
    ("difference [95 %]", lambda r: difference(r)),
    ("verdict", lambda r: r["verdict"] if r["n"] or r["needs"] == "cpu" else f"{r['verdict']} (wants a {r['needs']})"),
]


PRECISION = [
    ("rule", lambda r: r["rule"]),
    ("float32", lambda r: percents(r, "float32")),
    ("bf16", lambda r: percents(r, "bf16")),
    ("difference [95 %]", lambda r: signed(*r["points"])),
]


def record(folder, to=DEMO):
    """The comparison, its runs' environment and their curves of test accuracy, as one small file."""
    comparison = json.loads((folder / "comparison.json").read_text())
    del comparison["report"]
    runs = {
        row["rule"]: [read_run(path) for path in paths if path.exists()]  # one that diverged at once has left none
        for row in comparison["rows"]
        if row.get("role") != "baseline"  # which no run stands behind
        for paths in [[folder / f"{row['rule']}-seed{seed}" for seed in comparison["seeds"]]]
    }
    comparison["environment"] = dict(next(iter(runs.values()))[0].environment)
    comparison["test_accuracy"] = {
        rule: [[round(value, 4) for value in run.curve("test_accuracy").values()] for run in each]
        for rule, each in runs.items()
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(comparison, indent=1) + "\n")


def markdown(columns, rows):
    lines = [[name for name, _ in columns], ["---"] * len(columns)]
    lines += [[cell(row) for _, cell in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table(comparison):
    text = comparisons.markdown(comparison)
    environment, seeds = comparison["environment"], ", ".join(map(str, comparison["seeds"]))
    return (
        f"{text}\nData: {comparison['data']}, net {comparison['net']}, {comparison['epochs']} epochs, seeds {seeds}; "
        f"{environment['cpu']}, {environment['threads']} thread, torch {environment['torch']}.\n"
    )


def beside(tuned, untuned):
    """Each rule before and after its tuning: rate and accuracy of both, and the gain over the same seeds."""
    before = {row["rule"]: row for row in untuned["rows"]}
    rows = [row for row in tuned["rows"] if row["rule"] in before and row.get("tuned_trials")]
    last = {
        name: {rule: [run[-1] for run in runs] for rule, runs in one["test_accuracy"].items() if all(runs)}
        for name, one in (("tuned", tuned), ("untuned", untuned))
    }

    def gain(row):
        own, other = (last[name].get(row["rule"], []) for name in ("tuned", "untuned"))
        whole = len(own) == len(other) == len(tuned["seeds"]) and tuned["seeds"] == untuned["seeds"]
        interval = paired_difference(own, other) if whole else (None, None, None)
        return signed(*(value if value is None else 100 * value for value in interval))

    def cell(content, name):
        return dict(comparisons.columns(content))[name]

    columns = [
        ("rule", cell(tuned, "rule")),
        ("lr", lambda r: cell(untuned, "lr")(before[r["rule"]])),
        ("accuracy % (n)", lambda r: cell(untuned, "accuracy % (n)")(before[r["rule"]])),
        ("tuned lr", cell(tuned, "lr")),
        ("tuned % (n)", cell(tuned, "accuracy % (n)")),
        ("gain [95 %]", gain),
    ]
    environment, seeds = tuned["environment"], ", ".join(map(str, tuned["seeds"]))
    return (
        f"{markdown(columns, rows)}\nData: {tuned['data']}, net {tuned['net']}, {tuned['epochs']} epochs, seeds "
        f"{seeds}; {comparisons.budget(tuned)}; {environment['cpu']}, {environment['threads']} thread, "
        f"torch {environment['torch']}.\n"
    )


def readme_table(match):
    """What stands between two marks: of what has not been run yet, nothing."""
    found = {name: RESULTS / f"{match[2]}{name}.json" for name in ("", "-untuned")}
    if match[2] == "demo":
        text = table(json.loads(DEMO.read_text()))
    elif all(path.exists() for path in found.values()):
        text = beside(*(json.loads(path.read_text()) for path in found.values()))
    else:
        text = ""
    return match[1] + text + match[3]


def difference(row):
    """With the digits of the means beside it."""
    digits = 2 if row["mean"] is None or abs(row["mean"]) >= 10 else 3
    return signed(row["difference"], row["difference_low"], row["difference_high"], digits)


def published(recipes=RECIPES, results=RESULTS):
    """docs/results.md: every row, by table, and where its runs were made."""
    everything = [(row, status(row, results)) for row in rows((), recipes)]
    run = sum(reached["n"] > 0 for _, reached in everything)
    parts = [HEAD.format(recipes=sum(row.recipe is not None for row, _ in everything), run=run)]
    for name, title in tables(recipes).items():
        mine = [(row, reached) for row, reached in everything if f"{row.paper}/{row.table}" == name]
        paper = name.split("/")[0]
        parts.append(f"## {name}\n\n{title}. Settings and deviations: [{paper}](../recipes/{paper}/README.md).\n")
        parts.append(markdown(PUBLISHED, [reached for _, reached in mine]))
        if name == BY_DEPTH and depth_curves(recipes, results):
            parts.append("![Test accuracy by the number of hidden layers](depth.svg)\n")
        lines = [
            *grouped((reached["note"], reached["id"].split("/")[2]) for _, reached in mine),
            *machines(mine, results),
        ]
        parts.append("".join(f"- {line}\n" for line in lines))
    return "\n".join(part for part in parts if part)


def record_precision(folders, results=RESULTS):
    """What each rule reached in two comparisons that differ in precision alone, as one small file."""
    compared = [json.loads((folder / "comparison.json").read_text()) for folder in folders]
    float32, bf16 = ({row["rule"]: row for row in each["rows"] if row["rule"] in RULES} for each in compared)
    first = compared[0]
    runs = [folder / f"{first['reference']}-seed{first['seeds'][0]}" for folder in folders]
    recipes = [read_recipe(run / "recipe.toml") for run in runs]
    if recipes[1].precision != "bf16" or recipes[0] != recipes[1].with_(precision="float32"):
        sys.exit(f"{folders[0]} and {folders[1]} are no comparisons by float32 and by bf16 of the same recipe")
    rows = [
        {"rule": rule}
        | {
            f"{name}{end}": own[rule].get(f"test_accuracy_{value}")
            for name, own in (("float32", float32), ("bf16", bf16))
            for end, value in (("", "mean"), ("_std", "std"))
        }
        | {"by_seed": [reached(folder, rule, first["seeds"]) for folder in folders]}
        for rule in float32
        if rule in bf16
    ]
    told = {key: first[key] for key in ("data", "net", "epochs", "seeds")}
    told |= {"val": recipes[0].val, "environment": json.loads((runs[1] / "environment.json").read_text()), "rows": rows}
    path = results / "precision" / f"{Path(first['data']).stem}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")


def reached(folder, rule, seeds):
    """What each seed reached in the end; nothing of a run that left nothing."""
    paths = [folder / f"{rule}-seed{seed}" for seed in seeds]
    return [list(read_run(path).curve("test_accuracy").values())[-1] for path in paths if (path / METRICS).exists()]


def percents(row, name):
    return measured(*(value and 100 * value for value in (row[name], row.get(f"{name}_std"))))


def points(row):
    """bf16 - float32 and its 95 % interval over the seeds; None where one of them did not end, or has a single seed."""
    if None in (row["float32"], row["bf16"]):
        return None, None, None
    float32, bf16 = row["by_seed"]
    _, *ends = paired_difference(bf16, float32) if len(bf16) > 1 else (None, None, None)
    return 100 * (row["bf16"] - row["float32"]), *(end if end is None else 100 * end for end in ends)


def is_apart(difference, low, high):
    """Whether two precisions differ by more than ``LARGE``, and than the scatter of seeds, where it is known."""
    return abs(difference) > LARGE and (low is None or low > 0 or high < 0)


def precision(results=RESULTS):
    """docs/precision.md: a table for each data set."""
    parts = [PRECISION_HEAD]
    for path in sorted((results / "precision").glob("*.json")):
        told = json.loads(path.read_text())
        rows = [{**row, "points": points(row)} for row in told["rows"]]
        ended = [row for row in rows if row["points"][0] is not None]
        apart = [f"{row['rule']} {fixed(row['points'][0], plus=True)}" for row in ended if is_apart(*row["points"])]
        near = f"{len(ended) - len(apart)} of {len(ended)} rules lie within {LARGE} points of their float32, or within"
        near += " the scatter of their seeds"
        seeds, where = ", ".join(map(str, told["seeds"])), told["environment"]
        made = f"Epochs {told['epochs']} of {percent(1 - told['val'], 0)} % of the training part, seeds {seeds}"
        parts += [
            f"## {told['data']}, {told['net']}\n",
            f"{near}; beyond: {', '.join(apart) or 'none'}.\n",
            markdown(PRECISION, rows),
            f"{made}; {where['cpu']}, {where['threads']} thread, torch {where['torch']}.\n",
        ]
    return "\n".join(parts)


def depth_curves(recipes=RECIPES, results=RESULTS):
    """Method -> for each seed, number of hidden layers -> accuracy, of the rows <method>-<hidden layers>."""
    curves = {}
    for row in rows((BY_DEPTH,), recipes):
        method, _, depth = row.id.rpartition("/")[2].rpartition("-")
        for seed, run in row.results(results).items():
            curves.setdefault(method, {}).setdefault(seed, {})[int(depth)] = 100 * run["test_accuracy"][-1]
    return {method: list(runs.values()) for method, runs in curves.items()}


def grouped(pairs):
    """Each note once, behind the rows that it speaks of."""
    notes = {}
    for note, row in pairs:
        notes.setdefault(note, []).append(row)
    return [f"{', '.join(each)}: {note}" for note, each in notes.items() if note]


def machines(mine, results):
    """Each machine and version that the runs come from, and how many."""
    runs = {(row.runs_of, seed): run for row, _ in mine for seed, run in row.results(results).items()}
    count = Counter(
        f"{e['cpu']}, {e['threads']} thread{'s' * (e['threads'] > 1)}, "
        f"{e['device']}; torch {e['torch']}, Python {e['python']}, altprop {e['altprop']}"
        for e in (run["environment"] for run in runs.values())
    )
    return [f"{n} run{'s' * (n > 1)}: {where}" for where, n in sorted(count.items())]


def demo(comparison):
    """What every rule reached, by family, with its interval."""
    rows, score = (
        [{**row, "family": RULES[row["rule"]].family} for row in comparison["rows"] if row["rule"] in RULES],
        score_of(comparison["rows"]),
    )
    entries = [*entries_of(rows, (), score)]
    return to_picture(dots(entries, score.quantity, reference_of(comparison), percent=True, width=4.8))


def files():
    """Every generated file and its content."""
    comparison = json.loads(DEMO.read_text())
    readme = (ROOT / "README.md").read_text()
    depth = depth_curves()
    by_depth = learning_curves(depth, quantity="test accuracy (%)", reference="bp", over="hidden layers")
    return {
        ROOT / "README.md": MARKS.sub(readme_table, readme),
        ROOT / "docs" / "demo.svg": demo(comparison),
        **({ROOT / "docs" / "depth.svg": to_picture(by_depth)} if depth else {}),
        ROOT / "docs" / "results.md": published(),
        ROOT / "docs" / "precision.md": precision(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--to", default="demo/comparison")
    parser.add_argument("--precision", type=Path, nargs=2, metavar=("FLOAT32", "BF16"))
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record, RESULTS / f"{arguments.to}.json")
    if arguments.precision:
        record_precision(arguments.precision)
    generated = files()
    if arguments.check:
        stale = [path.name for path, content in generated.items() if not path.exists() or path.read_text() != content]
        sys.exit(f"stale: {', '.join(stale)}; run python docs/generate.py" if stale else 0)
    for path, content in generated.items():
        path.write_text(content)


if __name__ == "__main__":
    main()
