"""A run's model on new samples with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from altprop.data import read_labelled
from altprop.measure import regression_scores
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import load
from altprop.run.isolated import isolated
from altprop.run.machine import find_device, within_memory


@within_memory()
@isolated()
def evaluate_new(
    path: str | Path, source: str | Path, *, label: str | None = None, device: str = "cpu", net: nn.Module | None = None
) -> dict[str, Any]:
    """Loss and accuracy, or a regression's errors in its own units, of a run's model on new samples.

    source: an .npz, a .csv, a folder of images by class, or the name of a published set; its test part where it has
    one ("part" says which), else every sample.  label: of a .csv, by default that of training.  Classes and columns are
    found by their names; the samples are raw, and scaled as those of training were.
    Raises ``RunError`` and ``DataError``."""
    directory = RunDirectory.open(Path(path))
    recipe, loaded = directory.recipe(), load(path, net)
    model = loaded.model.to(find_device(device))
    new = read_labelled(
        source, model.raw.shape, label=label or recipe.label, classes=model.classes, table=directory.table(),
        fallback=recipe.encoding, data_dir=recipe.data_dir,
    )  # fmt: skip
    outputs = model.outputs(new.x)
    return {
        "run": str(path), "rule": recipe.rule, "data": str(source), "part": new.part, "net": recipe.net,
        "samples": len(new.x), **(_of_classes if model.classes else _of_targets)(loaded.rule, outputs, new.y),
    }  # fmt: skip


def _of_classes(rule: Any, z: Tensor, y: Tensor) -> dict[str, Any]:
    loss, _ = rule.output_error(z, rule.targets(y, len(z)).cpu())
    return {"test_loss": float(loss), "test_accuracy": float((z.argmax(1) == y).double().mean())}


def _of_targets(rule: Any, y_hat: Tensor, y: Tensor) -> dict[str, Any]:
    loss = (y_hat.double() - y.double()).square().sum() / (2 * len(y))
    scores = {f"test_{key}": value for key, value in regression_scores(y_hat, y).items()}
    return {"test_loss": float(loss), "test_accuracy": None, **scores}
