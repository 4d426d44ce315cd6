"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from operator import itemgetter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from altprop.reports.numbers import NONE, fixed, measured, percent, signed, significant, size
from altprop.reports.tables import Column, budget, columns

BORDER, GAP = 3, 2  # characters that a table costs, and each column beside its own
WIDE, PROSE = 140, 36  # characters: where there is no terminal, and of a column that may go on in the next line
STANDARD = ("majority", "one_class")  # what an accuracy is held against, said beside it


def summary(console: Console, result: dict[str, Any]) -> None:
    """One result, a line for each thing known."""
    lines: list[tuple[str, str]] = []
    alike, majority = result.get("one_class"), result.get("majority")
    for key, value in result.items():
        if value is not None and key not in STANDARD:
            lines.append((key.replace("_", " "), _plain(key, value)))
        if key == "test_accuracy" and (alike or result.get("test_balanced_accuracy") is not None):
            worth = "the share of one class, as of a net that always answers alike; " if alike else ""
            lines.append(("", f"{worth}majority {percent(majority)} %"))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:  # as long as they are: a terminal breaks a path so that it can still be copied whole
        console.print(f"{key:{width}}  {value}", soft_wrap=True)


def _plain(key: str, value: Any) -> str:
    if "accuracy" in key:
        return f"{percent(value)} %"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


UNITS = {
    "accuracy": "accuracy %",
    "slowness": "slowness, epochs",
    "angle": "angle, degrees",
    "loss": "loss",
    "evaluations": "evaluations",
    "solved": "solved %",
    "fitness": "fitness",
}


WORDS: list[Column] = [
    ("rule", lambda r: r["name"]),
    ("family", lambda r: r["family"]),
    ("what it is", lambda r: r["about"]),
]

SEARCHES: list[Column] = [
    ("search", lambda r: r["name"]),
    ("of", lambda r: r["genome"]),
    ("what it is", lambda r: r["about"]),
]

TASKS: list[Column] = [
    ("task", lambda r: r["name"]),
    ("what it is", lambda r: r["about"]),
    ("arguments", lambda r: ", ".join(f"{key}={value}" for key, value in r["arguments"].items())),
]

RULES: list[Column] = [
    ("rule", lambda r: r["name"]),
    ("lr", lambda r: f"{r['lr']:g}"),
    ("act", lambda r: r["activation"]),
    ("transport", lambda r: r["claims"]["weight_transport"]),
    ("locking", lambda r: r["claims"]["locking"]),
    ("signal", lambda r: r["claims"]["signal"]),
    ("labels", lambda r: "yes" if r["claims"]["labels"] else "no"),
    ("passes", lambda r: str(r["claims"]["passes"])),
    ("trains", lambda r: ", ".join(r["claims"]["trains"])),
    ("reference", lambda r: r["reference"]),
]

DATA: list[Column] = [
    ("data", lambda r: r["name"]),
    ("what", lambda r: r["about"]),
    ("sample", lambda r: "x".join(map(str, r["shape"]))),
    ("outputs", lambda r: str(r["outputs"])),
    ("train", lambda r: str(r["n_train"])),
    ("test", lambda r: str(r["n_test"])),
    ("net", lambda r: r["net"]),
    ("task", lambda r: r["task"]),
]


REPRODUCTION: list[Column] = [
    ("row", lambda r: r["id"]),
    ("quantity", lambda r: UNITS[r["quantity"]]),
    ("published", lambda r: measured(r["published"], r["published_std"])),
    ("ours", lambda r: measured(r["mean"], r["std"])),
    ("n", lambda r: str(r["n"])),
    ("difference [95 %]", lambda r: signed(r["difference"], r["difference_low"], r["difference_high"])),
    ("verdict", lambda r: r["verdict"] if r["n"] or r["needs"] == "cpu" else f"{r['verdict']} (wants a {r['needs']})"),
]

RUNS: list[Column] = [
    ("run", lambda r: r["id"]),
    ("seed", lambda r: str(r["seed"])),
    ("minutes", lambda r: f"{r['minutes']:.0f}"),
]

BENCHMARK: list[Column] = [
    ("rule", lambda r: r["rule"]),
    ("ms", lambda r: _quartiles(r, "ms", significant)),
    ("x autograd", lambda r: _quartiles(r, "to_autograd", fixed)),
    ("floor, ms", lambda r: significant(r["floor_ms"]["median"]) if "ms" in r else NONE),
    ("x floor", lambda r: _quartiles(r, "to_floor", fixed)),
    ("x products", lambda r: _quartiles(r, "to_products", fixed)),
    ("products by", lambda r: ", ".join(f"{count} {way}" for way, count in r.get("ways", {}).items())),
]


MEMORY: list[Column] = [
    ("memory of", lambda r: r["of"]),
    ("parameters", lambda r: size(r["parameters"])),
    ("feedback", lambda r: size(r["feedback"])),
    ("gradients", lambda r: size(r["gradients"])),
    ("optimizer", lambda r: size(r["optimizer"])),
    ("activations", lambda r: size(r["activations"])),
    ("by hand", lambda r: size(r["activations_ledger"])),
    ("total", lambda r: size(r["total"])),
]

LAYERS: list[Column] = [
    ("layer", lambda r: r["layer"]),
    ("multiply-adds a sample", lambda r: size(r["multiply_adds"], "")),
    ("multiply-adds, by hand", lambda r: size(r["multiply_adds_ledger"], "")),
    ("moved a batch", lambda r: size(r["bytes_moved"])),
    ("moved, by hand", lambda r: size(r["bytes_moved_ledger"])),
]


def profile(console: Console, result: Mapping[str, Any]) -> None:
    _table(console, MEMORY, result["memory"], f"{result['rule']}, {result['net']}, batch {result['batch']}")
    _table(console, LAYERS, result["layers"], None)
    by_depth = result.get("by_depth", [])
    if by_depth:
        names = [row["of"] for row in by_depth[0]["memory"]]
        rows = [{"layers": str(d["depth"]), **{r["of"]: size(r["activations"]) for r in d["memory"]}} for d in by_depth]
        table: list[Column] = [(name, itemgetter(name)) for name in ("layers", *names)]
        _table(console, table, rows, "activations over depth")


def benchmark(console: Console, result: Mapping[str, Any]) -> None:
    for case in result["cases"]:
        title = f"{case['net']}, batch {case['batch']}, autograd {_quartiles(case, 'autograd_ms', significant)} ms"
        _table(console, BENCHMARK, case["rows"], title)
        for row in case["rows"]:
            if "refused" in row:
                console.print(f"{row['rule']}: {row['refused']}", soft_wrap=True)
    if "choice" in result:
        for product, way in result["choice"]["products"].items():
            console.print(f"{product}: {way}", soft_wrap=True)
        console.print(f"{len(result['choice']['products'])} choices in {result['choice']['file']}", soft_wrap=True)
    console.print(f"{result['machine']['processor']}, one thread, {result['rounds']} rounds", soft_wrap=True)


def _quartiles(row: Mapping[str, Any], key: str, write: Callable[[float], str]) -> str:
    """The median, and the quartiles in brackets."""
    if key not in row:
        return NONE
    spread = row[key]
    return f"{write(spread['median'])} [{write(spread['low'])}, {write(spread['high'])}]"


def comparison(console: Console, result: Mapping[str, Any]) -> None:
    seeds = ", ".join(map(str, result["seeds"]))
    scale = f", scale {result['scale']}" if result["scale"] != "none" else ""
    title = f"{result['data']}{scale}, {result['net']}, {result['epochs']} epochs, seeds {seeds}"
    _table(console, columns(result), result["rows"], title)
    for line in notes(result):
        console.print(line, soft_wrap=True)
    if result.get("report"):
        console.print(f"report: {result['report']}", soft_wrap=True)


def comparison_text(result: Mapping[str, Any], width: int = WIDE) -> str:
    """What ``comparison`` prints."""
    return _printed(comparison, result, width)


def sweep_text(result: Mapping[str, Any], width: int = WIDE) -> str:
    """What ``sweep`` prints."""
    return _printed(sweep, result, width)


def _printed(table: Callable[[Console, Mapping[str, Any]], None], result: Mapping[str, Any], width: int) -> str:
    text = StringIO()
    table(Console(file=text, width=width, markup=False, highlight=False), result)
    return text.getvalue()


TRIALS: list[Column] = [
    ("trial", lambda r: str(r["number"])),
    ("validation", lambda r: NONE if r["value"] is None else f"{r['value']:.4f}"),
    ("state", lambda r: r["told"] or r["state"]),
    ("epochs", lambda r: str(r["epochs"])),
    ("values", lambda r: ", ".join(f"{key}={_plain(key, value)}" for key, value in r["values"].items())),
]


def sweep(console: Console, result: Mapping[str, Any]) -> None:
    """The best trials, and how to go on from them."""
    said = ", ".join(f"{count} {state}" for state, count in result["counts"].items() if count)
    title = f"{result['rule']} on {result['data']}, net {result['net']}: {result['trials']} trials asked, {said}"
    _table(console, TRIALS, result["best_trials"], title)
    for line in result["notes"]:
        console.print(line, soft_wrap=True)


def reproduction(console: Console, result: dict[str, Any]) -> None:
    if "plan" in result:
        console.print(result["plan"])
        _table(console, RUNS, result["runs"], None)
    else:
        _table(console, REPRODUCTION, result["rows"], None)


def rules(console: Console, result: dict[str, Any]) -> None:
    _table(console, WORDS, result["rules"], None)
    _table(console, RULES, result["rules"], None)
    _table(console, SEARCHES, result["searches"], None)
    _table(console, TASKS, result["tasks"], None)


def data_sets(console: Console, result: dict[str, Any]) -> None:
    _table(console, DATA, result["data"], None)


def _table(console: Console, columns: list[Column], rows: list[dict[str, Any]], title: str | None) -> None:
    """One table, or where it is too wide several, the first column in each; only prose goes on in the next line."""
    cells = {name: [cell(row) or "" for row in rows] for name, cell in columns}
    words = {name: max(map(len, " ".join([name, *texts]).split())) for name, texts in cells.items()}
    whole = {name: max(map(len, [name, *texts])) for name, texts in cells.items()}
    for part in _fitting({name: max(words[name], min(PROSE, whole[name])) for name in cells}, console.width):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        title = None
        for name in part:
            table.add_column(name, overflow="fold", min_width=words[name])
        for line in zip(*(cells[name] for name in part), strict=True):
            table.add_row(*line)
        console.print(table)


def _fitting(widths: dict[str, int], room: int) -> list[list[str]]:
    """The columns in as many tables as it takes, so that nothing is folded that fits into one."""
    first, *others = widths
    tables, left = [[first]], room - widths[first] - BORDER
    for name in others:
        if left < widths[name] + GAP and len(tables[-1]) > 1:
            tables.append([first])
            left = room - widths[first] - BORDER
        tables[-1].append(name)
        left -= widths[name] + GAP
    return tables


def notes(result: Mapping[str, Any]) -> list[str]:
    """What stands below the table: which runs did not end, where and why, what an accuracy is not worth, and in which
    limit a rule is backpropagation."""
    rows, majority = result["rows"], result.get("majority")
    lines = [budget(result)] * bool(result.get("tuning"))
    lines += [
        f"{row['rule']}{'' if run['seed'] is None else ', seed ' + str(run['seed'])}: {run['reason']}"
        for row in rows
        for run in row.get("failed", [])
    ]
    if majority is not None and any(row.get("one_class") for row in rows):
        what = f"* the share of one class, as of a net that always answers alike (majority {percent(majority)} %)"
        lines.append(what)
    limits = {row["rule"]: (row.get("claims") or {}).get("is_backprop_when") for row in rows}
    return lines + [f"{rule} is backpropagation when {limit}" for rule, limit in limits.items() if limit]
