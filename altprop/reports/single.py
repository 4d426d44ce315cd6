"""What the page of one run shows: the headline, then pictures, then how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from altprop.limits import shorten
from altprop.panels import PANELS
from altprop.panels.panel import called
from altprop.panels.style import depth_colour, to_html
from altprop.reports.curves import Curve, learning_curves
from altprop.reports.typeset import fixed, significant, text
from altprop.run.directory.records import LAYERWISE, RunRecord, has_numbers, numbers

FIRST = ("confusion", "regression")  # panels that stand before the curves,
THEN = ("examples",)  # and right after them
FAR = 30  # losses that many times apart are drawn on a logarithmic axis
BY_LAYER = {  # of `LAYERWISE`, what their figures say, in the order of the page
    "angle_to_bp": "The angle, layer by layer, between the update that the rule makes and the one that backpropagation "
    "would make in the same net. At 0° they agree, below 90° a small step still lowers the loss, and at 90°, marked "
    "“chance”, the two have nothing in common.",
    "feedback_angle": "The angle between each feedback matrix and the weights in whose place it stands: the layer’s "
    "own, or the product of all above. At 90°, marked “chance”, it knows nothing of them.",
    "weight_norm": "The length of each layer’s weights, taken as one vector.",
    "unit_norm": "The length of a unit’s weights, the mean over the units of each layer. Rules that normalise lead it "
    "to 1.",
}


class Shown(NamedTuple):
    """A figure of the page, or the reason why there is none, and words."""

    name: str
    figure: Markup | None
    caption: str
    notice: str = ""


class Headline(NamedTuple):
    """The number that says how good a run is, and what it is held against."""

    value: str
    what: str
    beside: str


def run_context(run: RunRecord) -> dict[str, Any]:
    panels = {name: _panel(name, run) for name in PANELS if run.measures.get(name)}
    shown = {name: one for name, one in panels.items() if one is not None}
    return {
        "title": run.rule,
        "run": run,
        "runs": [run],
        "headline": headline(run),
        "first": [shown[name] for name in FIRST if name in shown],
        "curves": _curves(run),
        "then": [shown[name] for name in THEN if name in shown],
        "examples": _in_words(run),
        "layers": [*_by_layer(run), *_watched(run)],
        "rest": [one for name, one in shown.items() if name not in FIRST + THEN],
        "missing": {
            name.replace("_", " "): measured["refused"]
            for name, measured in run.measures.items()
            if isinstance(measured, dict) and "refused" in measured
        },
        "settings": _settings(run.recipe),
        "last": [*_last(run)],
        "environment": {key: text(value) for key, value in run.environment.items()},
    }


def headline(run: RunRecord) -> Headline | None:
    """Of the last row of metrics; of a regression what its panel has measured, or else the loss."""
    reached, scores = run.last.get("test_accuracy"), run.measures.get("regression") or {}
    if isinstance(reached, int | float):
        balanced = run.last.get("test_balanced_accuracy")
        mean = f"; the mean over classes is {fixed(balanced, 2, 100)} %" if isinstance(balanced, int | float) else ""
        return Headline(f"{fixed(reached, 2, 100)} %", "test accuracy", _majority(run, reached) + mean)
    if "mae" in scores:
        r2 = scores.get("r2")
        errors = f"mean absolute error {significant(scores['mae'])}, RMSE {significant(scores['rmse'])}"
        return Headline(
            "–" if r2 is None else fixed(r2, 3), "R² on the test part", f"{errors}, in the target’s own units"
        )
    loss = run.last.get("test_loss")
    return Headline(significant(loss), "test loss", "") if isinstance(loss, int | float) else None


def _majority(run: RunRecord, reached: float) -> str:
    """What a net that always names the largest class would reach, and whether this one is no better."""
    counts = (run.measures.get("confusion") or {}).get("counts")
    if not counts or not sum(map(sum, counts)):
        return ""
    rows, total = [sum(row) for row in counts], sum(map(sum, counts))
    alike = " This is the share of one class, as of a net that always answers alike." if _one_class(counts) else ""
    return f"of {total} unseen samples; always the largest class would be {fixed(max(rows) / total, 2, 100)} %.{alike}"


def _one_class(counts: list[list[int]]) -> bool:
    return sum(any(column) for column in zip(*counts, strict=True)) == 1


def _curves(run: RunRecord) -> list[Shown]:
    """Accuracy and loss over epochs, of every part there is."""
    parts = (("train", "train_", ""), ("validation", "val_", "val_"), ("test", "test_", "test_"))
    accuracy = {name: [run.curve(f"{prefix}accuracy", 100)] for name, prefix, _ in parts}
    loss = {name: [run.curve(f"{prefix}loss")] for name, _, prefix in parts}
    told = (
        ("accuracy", accuracy, "accuracy (%)", "Samples classified right after each epoch. Of the training part as "
         "many samples are asked as the test part has."),
        ("loss", loss, "loss", "The loss, which training makes smaller. Losses that lie far apart are on a logarithmic "
         "axis."),
    )  # fmt: skip
    shown = []
    for key, named, quantity, caption in told:
        curves = {name: runs for name, runs in named.items() if has_numbers(runs)}
        if curves:
            figure = learning_curves(curves, quantity=quantity, log=key == "loss" and far_apart(curves))
            shown.append(Shown(key, _inline(figure, key, f"Line chart: {quantity} over epochs", curves), caption))
    return shown


def far_apart(curves: Mapping[str, Any]) -> bool:
    values = [value for runs in curves.values() for run in runs for value in numbers(run)]
    return min(values) > 0 and max(values) > FAR * min(values)


def _by_layer(run: RunRecord) -> list[Shown]:
    """What was measured of every layer after each epoch, a colour a depth."""
    shown, depths = [], run.depths
    for key, caption in BY_LAYER.items():
        curves: dict[str, list[Curve]] = {}
        colours = {}
        for layer, curve in run.layerwise(key).items():
            curves[called(layer, depths)] = [curve]
            colours[called(layer, depths)] = depth_colour(layer, depths)
        if curves:
            what, unit = LAYERWISE[key]
            figure = learning_curves(curves, quantity=what, colours=colours, degrees=unit == " (°)")
            label = f"Line chart: {what}{unit} over epochs, by layer"
            caption += _faint(run) if key == "angle_to_bp" else ""
            shown.append(Shown(key, _inline(figure, key.replace("_", "-"), label, curves), caption))
    return shown


def _faint(run: RunRecord) -> str:
    if not run.vanished:
        return ""
    names = ", ".join(called(layer, run.depths) for layer in run.vanished)
    what = f" Backpropagation’s own gradient has vanished in {names}"
    return f"{what}: an angle to it would mean nothing, and none is drawn."


def _watched(run: RunRecord) -> list[Shown]:
    """What the rule told of itself after each epoch."""
    shown: list[Shown] = []
    for name, layers in run.watched.items():
        what = name.replace("_", " ")
        names = {layer: called(layer, run.depths) if layer else what for layer in layers}
        curves = {names[layer]: [curve] for layer, curve in layers.items() if has_numbers([curve])}
        if curves:
            colours = {names[layer]: depth_colour(layer, run.depths) for layer in layers if layer}
            figure = learning_curves(curves, quantity=what, colours=colours)
            label = f"Line chart: {what} over epochs"
            caption = f"What the rule tells of itself after each epoch, on samples of the training part: {text(what)}."
            shown.append(Shown(name, _inline(figure, f"watch-{len(shown)}", label, curves), caption))
    return shown


def _panel(name: str, run: RunRecord) -> Shown | None:
    """One panel as it was measured; one that cannot be drawn says why, and the page goes on."""
    panel, measured = PANELS[name], run.measures[name]
    if "refused" in measured:
        return None
    try:
        figure = None if panel.draw is None else panel.draw(measured, run.depths)
        drawn = None if figure is None else _inline(figure, name.replace("_", "-"), panel.label, [run.rule])
        return Shown(name, drawn, panel.caption(measured))
    except Exception as error:  # whatever is wrong with one picture, the others and the numbers are sound
        why = shorten(f"{type(error).__name__}: {error}", 200)
        return Shown(name, None, "", f"{panel.label} cannot be drawn: {why}")


def _in_words(run: RunRecord) -> Mapping[str, Any] | None:
    """Examples of inputs that have no pictures."""
    examples = run.measures.get("examples")
    return examples if examples and "refused" not in examples and "pictures" not in examples else None


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    arguments, told = recipe.get("arguments"), recipe.get("readout")
    settings |= arguments if isinstance(arguments, dict) else {}
    return settings | ({f"readout {key}": value for key, value in told.items()} if isinstance(told, dict) else {})


def _last(run: RunRecord) -> Any:
    """(name, value) of everything in the last row of metrics, accuracies in percent."""
    for key, value in run.last.items():
        if key in LAYERWISE or key in ("watch", "vanished_gradient"):
            continue
        name = key.replace("_", " ")
        if key.endswith("accuracy"):
            yield f"{name} (%)", fixed(value, 2, 100)
        else:
            yield name, text(value) if key in ("epoch", "step", "lr") else significant(value)
    for key, (name, unit) in LAYERWISE.items():
        for layer, value in (run.last.get(key) or {}).items():
            told = fixed(value, 1)
            if key == "angle_to_bp" and layer in run.vanished:
                told = f"none: the gradient has vanished ({significant(run.vanished[layer])} of the largest)"
            yield f"{name}, {called(layer, run.depths)}{unit}", told
    for key, layers in run.watched.items():
        for layer, curve in layers.items():
            where = f", {called(layer, run.depths)}" if layer else ""
            yield f"{key.replace('_', ' ')}{where}", significant(curve.get(run.done))


def _inline(figure: Figure, name: str, label: str, shown: Any) -> Markup:
    # The text in the figure was escaped by matplotlib, its label is by `to_html`.
    return Markup(to_html(figure, name, f"{label}; shown: {', '.join(shown)}"))
