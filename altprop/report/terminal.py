"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDE, PROSE = 140, 36  # characters: where there is no terminal, and of a column that may go on in the next line
STANDARD = ("majority", "one_class")  # what an accuracy is held against, said beside it


def percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def size(value: float | None) -> str:
    """Bytes in kB or MB, 1 kB = 1000 B."""
    if value is None:
        return "-"
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


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


UNITS = {"accuracy": "accuracy %", "slowness": "slowness, epochs", "angle": "angle, degrees", "loss": "loss"}


def measured(value: float | None, deviation: float | None, digits: int = 2) -> str:
    """mean ± deviation, in the unit they come in."""
    if value is None:
        return "-"
    digits = digits if abs(value) >= 10 else digits + 1
    return f"{value:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def signed(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A difference and its interval."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" + ("" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]")


def _number(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _rates(lr: float | list[float] | None) -> str:
    """One for all layers, or one each."""
    if lr is None:
        return "-"
    return ", ".join(f"{rate:g}" for rate in (lr if isinstance(lr, list) else [lr]))


Column = tuple[str, Callable[[dict[str, Any]], str]]

COMPARISON: list[Column] = [
    ("rule", lambda r: r["rule"]),
    ("act", lambda r: r["activation"]),
    ("lr", lambda r: _rates(r["lr"])),
    ("accuracy % (n)", lambda r: _accuracy(r)),
    ("to bp [95 %]", lambda r: _difference(r)),
    ("s/epoch", lambda r: _number(r["seconds_per_epoch"], ".3g")),
    ("step/bp", lambda r: _number(r["step_ratio_to_bp"], ".2f")),
    ("activity", lambda r: size(r["peak_activation_bytes"])),
    ("transport", lambda r: r["claims"]["weight_transport"]),
    ("locking", lambda r: r["claims"]["locking"]),
    ("signal", lambda r: r["claims"]["signal"]),
    ("labels", lambda r: "yes" if r["claims"]["labels"] else "readout" if r.get("readout") else "no"),
]

WORDS: list[Column] = [
    ("rule", lambda r: r["name"]),
    ("family", lambda r: r["family"]),
    ("what it is", lambda r: r["about"]),
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


def comparison(console: Console, result: dict[str, Any]) -> None:
    seeds = ", ".join(map(str, result["seeds"]))
    scale = f", scale {result['scale']}" if result["scale"] != "none" else ""
    title = f"{result['data']}{scale}, {result['net']}, {result['epochs']} epochs, seeds {seeds}"
    _table(console, COMPARISON, result["rows"], title)
    for line in notes(result):
        console.print(line, soft_wrap=True)
    console.print(f"report: {result['report']}", soft_wrap=True)


def reproduction(console: Console, result: dict[str, Any]) -> None:
    if "plan" in result:
        console.print(result["plan"])
        _table(console, RUNS, result["runs"], None)
    else:
        _table(console, REPRODUCTION, result["rows"], None)


def rules(console: Console, result: dict[str, Any]) -> None:
    _table(console, WORDS, result["rules"], None)
    _table(console, RULES, result["rules"], None)


def data_sets(console: Console, result: dict[str, Any]) -> None:
    _table(console, DATA, result["data"], None)


def _table(console: Console, columns: list[Column], rows: list[dict[str, Any]], title: str | None) -> None:
    """One table, or on a narrow terminal several, the first column in each, so that no word is broken."""
    cells = {name: [name, *(cell(row) or "" for row in rows)] for name, cell in columns}
    words = {name: max(map(len, " ".join(each).split())) for name, each in cells.items()}
    whole = {name: max(map(len, each)) for name, each in cells.items()}
    need = {name: max(words[name], min(PROSE, whole[name])) + 2 for name in words}
    for part in [columns] if console.width >= WIDE else _parts(console.width - 2, columns, need):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        title = None
        for name, _ in part:
            table.add_column(name, overflow="fold", min_width=words[name])
        for row in rows:
            table.add_row(*(cell(row) for _, cell in part))
        console.print(table)


def _parts(width: int, columns: list[Column], need: dict[str, int]) -> list[list[Column]]:
    """The columns as tables that are no wider, each with the first one."""
    first, *others = columns
    parts = [[first]]
    for column in others:
        if len(parts[-1]) > 1 and sum(need[name] for name, _ in [*parts[-1], column]) > width:
            parts.append([first])
        parts[-1].append(column)
    return parts


def notes(result: dict[str, Any]) -> list[str]:
    """What stands below the table: which runs did not end, where and why, and what an accuracy is not worth."""
    rows, majority = result["rows"], result.get("majority")
    lines = [
        f"{row['rule']}{'' if run['seed'] is None else ', seed ' + str(run['seed'])}: {run['reason']}"
        for row in rows
        for run in row.get("failed", [])
    ]
    if majority is not None and any(row.get("one_class") for row in rows):
        what = f"* the share of one class, as of a net that always answers alike (majority {percent(majority)} %)"
        lines.append(what)
    return lines


def _accuracy(row: dict[str, Any]) -> str:
    failed = row.get("failed", [])
    if not row["n"]:
        return failed[0]["reason"].partition(":")[0].partition(" (")[0]
    count = f" ({row['n']}, {len(failed)} failed)" if failed else f" ({row['n']})"
    if row["test_accuracy_mean"] is None:
        r2 = "" if row.get("test_r2_mean") is None else f"R2 {row['test_r2_mean']:.3f}, "
        return f"{r2}loss {row['test_loss_mean']:.4g}{count}"
    deviation = "" if row["test_accuracy_std"] is None else f" ± {percent(row['test_accuracy_std'])}"
    balanced = row.get("test_balanced_accuracy_mean")
    beside = "" if balanced is None else f", balanced {percent(balanced)}"
    return f"{percent(row['test_accuracy_mean'])}{'*' if row.get('one_class') else ''}{deviation}{count}{beside}"


def _difference(row: dict[str, Any]) -> str:
    keys = ("difference_to_bp", "difference_low", "difference_high")
    value, low, high = (None if row[key] is None else 100 * row[key] for key in keys)
    if row.get("coincide") and value is not None:
        return f"{signed(value, None, None)} ({'runs coincide' if not row['test_accuracy_std'] else 'in every seed'})"
    return signed(value, low, high)
