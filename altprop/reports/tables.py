"""The table of a comparison: its columns, and how it is written for a terminal, a spreadsheet, a paper or a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from altprop.reports.numbers import NONE, fixed, percent, signed, significant, size, spread, text

Column = tuple[str, Callable[[dict[str, Any]], str]]
RATE = "lr"  # of what is tuned the one with a column of its own


def reference_of(content: Mapping[str, Any]) -> str:
    """The rule that the others are held against; comparisons of former versions name it in their keys alone."""
    told = (key.removeprefix("difference_to_") for row in content["rows"] for key in row if key.startswith("diff"))
    return content.get("reference") or next(told, "")


def columns(content: Mapping[str, Any]) -> list[Column]:
    """What is known of the rows at hand, which may be of a former version."""
    rows = content["rows"]
    to = reference_of(content)
    learned = _regression(to) if any(map(is_regression, rows)) else _classes(to)
    return [
        ("rule", _rule),
        ("act", lambda r: r.get("activation") or NONE),
        ("lr", _rate),
        *((("tuned", _others),) if any(_others(row) != NONE for row in rows) else ()),
        *(column for column, key in learned if not key or _known(rows, key)),
        ("s/epoch", lambda r: significant(r.get("seconds_per_epoch"))),
        (f"step/{to}", lambda r: fixed(r.get("step_ratio_to_bp"))),
        *(column for column, key in COSTS if key == "peak_activation_bytes" or _known(rows, key)),
        *NEEDS,
        *(column for column, key in CLAIMED if any(_claims(row).get(key, "none") != "none" for row in rows)),
    ]


def is_regression(row: Mapping[str, Any]) -> bool:
    return row.get("test_accuracy_mean") is None and row.get("test_loss_mean") is not None


def _known(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row.get(key) is not None for row in rows)


def _claims(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("claims") or {}


def _classes(to: str) -> list[tuple[Column, str]]:
    """Each with the key without which it is left out."""
    return [
        (("accuracy % (n)", _accuracy), ""),
        (("tuned val %", lambda r: percent(r.get("tuned_val"))), "tuned_val"),
        (("val %", lambda r: _spread(r, "val_accuracy", percent, 2)), "val_accuracy_mean"),
        ((f"to {to} [95 %]", _difference), ""),
        (("over frozen [95 %]", _margin), "margin_over_frozen"),
    ]


def _regression(to: str) -> list[tuple[Column, str]]:
    return [
        (("R2 (n)", _r2), ""),
        (("tuned val R2", lambda r: fixed(r.get("tuned_val"), 3)), "tuned_val"),
        (("val R2", lambda r: _spread(r, "val_r2", fixed, 3)), "val_r2_mean"),
        ((f"R2 to {to} [95 %]", _r2_difference), ""),
        (("R2 over frozen [95 %]", _r2_margin), "r2_margin_over_frozen"),
        (("MAE", lambda r: _spread(r, "test_mae", significant, 4)), "test_mae_mean"),
        (("RMSE", lambda r: _spread(r, "test_rmse", significant, 4)), "test_rmse_mean"),
    ]


def _spread(row: Mapping[str, Any], key: str, write: Callable[..., str], digits: int) -> str:
    return spread(row.get(f"{key}_mean"), row.get(f"{key}_std"), write, digits)


COSTS: list[tuple[Column, str]] = [
    (("mult-adds", lambda r: size(r.get("multiply_adds"), "")), "multiply_adds"),
    (("weights", lambda r: size(r.get("parameter_bytes"))), "parameter_bytes"),
    (("feedback", lambda r: size(r.get("feedback_bytes"))), "feedback_bytes"),
    (("optimizer", lambda r: size(r.get("optimizer_bytes"))), "optimizer_bytes"),
    (("activity", lambda r: size(r.get("peak_activation_bytes"))), "peak_activation_bytes"),
]
NEEDS: list[Column] = [
    ("transport", lambda r: _claims(r).get("weight_transport", NONE)),
    ("locking", lambda r: _claims(r).get("locking", NONE)),
    ("signal", lambda r: _claims(r).get("signal", NONE)),
    ("labels", lambda r: _labels(r)),
]
CLAIMED: list[tuple[Column, str]] = [
    (("inside", lambda r: _claims(r).get("inside", NONE)), "inside"),
]


def _rule(row: dict[str, Any]) -> str:
    role = row.get("role")
    return f"{row['rule']} ({role})" if role in ("control", "baseline") else row["rule"]


def _rate(row: dict[str, Any]) -> str:
    """As it was given, and one that was tuned to three digits."""
    found = (row.get("tuned") or {}).get(RATE)
    return text(row.get("lr")) if found is None else significant(found) + _edge(row, RATE)


def _others(row: dict[str, Any]) -> str:
    """What was tuned beside the learning rate."""
    found = {key: value for key, value in (row.get("tuned") or {}).items() if key != RATE}
    return ", ".join(f"{key}={_short(value)}{_edge(row, key)}" for key, value in found.items()) or NONE


def _short(value: Any) -> str:
    return significant(value) if isinstance(value, float) else text(value)


def _edge(row: dict[str, Any], key: str) -> str:
    return " (edge)" if key in (row.get("tuned_edge") or ()) else ""


def _labels(row: dict[str, Any]) -> str:
    if not row.get("claims"):
        return NONE
    return "yes" if row["claims"]["labels"] else "readout" if row.get("readout") else "no"


def _accuracy(row: dict[str, Any]) -> str:
    if not row["n"]:
        return _failure(row)
    balanced = row.get("test_balanced_accuracy_mean")
    beside = "" if balanced is None else f", balanced {percent(balanced)}"
    mean, mark, deviation = _spread(row, "test_accuracy", percent, 2).partition(" ± ")
    return f"{mean}{'*' if row.get('one_class') else ''}{mark}{deviation}{_count(row)}{beside}"


def _r2(row: dict[str, Any]) -> str:
    if not row["n"]:
        return _failure(row)
    if row.get("test_r2_mean") is None:
        loss = row.get("test_loss_mean")
        return f"{NONE if loss is None else f'loss {loss:.4g}'}{_count(row)}"
    return f"{_spread(row, 'test_r2', fixed, 3)}{_count(row)}"


def _failure(row: dict[str, Any]) -> str:
    failed = row.get("failed") or [{"reason": NONE}]
    return failed[0]["reason"].partition(":")[0].partition(" (")[0]


def _count(row: dict[str, Any]) -> str:
    failed = row.get("failed", [])
    return f" ({row['n']}, {len(failed)} failed)" if failed else f" ({row['n']})"


def _difference(row: dict[str, Any]) -> str:
    keys = ("difference_to_bp", "difference_low", "difference_high")
    value, low, high = (None if row.get(key) is None else 100 * row[key] for key in keys)
    if row.get("coincide") and value is not None:
        return f"{signed(value, None, None)} ({'runs coincide' if not row['test_accuracy_std'] else 'in every seed'})"
    return signed(value, low, high)


def _r2_difference(row: dict[str, Any]) -> str:
    value, low, high = (row.get(f"r2_difference_{part}") for part in ("to_bp", "low", "high"))
    return signed(value, None if row.get("coincide") else low, high, 3)


def _margin(row: dict[str, Any]) -> str:
    value, low, high = (None if each is None else 100 * each for each in _interval(row, "margin"))
    return signed(value, low, high)


def _r2_margin(row: dict[str, Any]) -> str:
    return signed(*_interval(row, "r2_margin"), 3)


def _interval(row: dict[str, Any], name: str) -> tuple[float | None, float | None, float | None]:
    return row.get(f"{name}_over_frozen"), row.get(f"{name}_low"), row.get(f"{name}_high")


def _cells(content: Mapping[str, Any]) -> list[list[str]]:
    """The header, and a line a row."""
    shown = columns(content)
    return [[name for name, _ in shown], *([cell(row) for _, cell in shown] for row in content["rows"])]


def markdown(content: Mapping[str, Any]) -> str:
    header, *rows = ([cell.replace("|", "\\|") for cell in line] for line in _cells(content))
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *rows))


SPECIAL = {"\\": r"\textbackslash{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"}, "~": r"\textasciitilde{}",
           "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$"}  # fmt: skip


def latex(content: Mapping[str, Any]) -> str:
    """A ``tabular`` that needs no package."""
    header, *rows = (" & ".join(map(_escaped, line)) + r" \\" for line in _cells(content))
    width = len(columns(content))
    lines = [rf"\begin{{tabular}}{{{'l' * width}}}", r"\hline", header, r"\hline", *rows, r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    # A bracket at the beginning of a line would be read as the option of the line break before it.
    cell = "".join(SPECIAL.get(letter, letter) for letter in text)
    return f"{{{cell}}}" if cell.startswith("[") else cell


def comma_separated(content: Mapping[str, Any]) -> str:
    """Every number of comparison.json in full, a column a key, those of the claims as ``claims.<key>``."""
    flat = [dict(_flat(row)) for row in content["rows"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", _plain(each)) for name, each in value.items())
        elif key == "failed":
            yield key, "; ".join(f"seed {run['seed']}: {run['reason']}" for run in value)
        else:
            yield key, _plain(value)


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def budget(content: Mapping[str, Any]) -> str:
    """What every rule of a tuned comparison was given, in a line; nothing of one that was not tuned."""
    told = content.get("tuning")
    if not told:
        return ""
    what = f"tuned: {told['trials']} trials for every rule, {told['epochs']} epochs each on {told['samples']} samples"
    return f"{what}, judged by {told['val_samples']} others, seed {told['seed']}; (edge): near an end of its range"


FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "csv": comma_separated, "latex": latex, "markdown": markdown,
}  # fmt: skip
