"""A run's model as a file for others: torch's own formats and ONNX, each read back and checked before it is there."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altprop.core import Feedback, Rule
from altprop.evolution.loading import load
from altprop.graph import restore
from altprop.limits import nearest
from altprop.run.directory.files import write_atomically
from altprop.run.isolated import isolated
from altprop.run.machine import within_memory
from altprop.run.model import Model
from altprop.run.recipe import RunError

NAMES = "altprop.json"  # in files that hold others: feature_names and classes
CHECKED = (1, 2, 100)  # samples a batch on which a file must say what the model says
TOLERANCE = 1e-4  # of the largest output
OTHERWISE = "use another format, such as --to state_dict"

Run = Callable[[Tensor], Tensor]


class Format(NamedTuple):
    """A kind of file: how it is written from a model and a batch of its samples, and read back as a function."""

    suffix: str
    write: Callable[[Model, Tensor, Path], None]
    read: Callable[[Model, Path], Run]


@within_memory()
@isolated()
def export(run: str | Path, to: str, out: str | Path | None = None) -> Path:
    """Write the model of a run, raw samples to outputs, as one of ``FORMATS``, by default to RUN/model.<suffix>.

    The batch may have any size.  The file is read back, and must say what the model says of random samples up to 1e-4
    of the largest output.  Raises ``RunError`` for another format, a model that cannot be traced and a file that does
    not agree; nothing is written then."""
    if to not in FORMATS:
        raise RunError(f"unknown format '{to}'{nearest(to, FORMATS)}")
    form, model = FORMATS[to], portable(load(run).model)
    path = Path(run) / f"model.{form.suffix}" if out is None else Path(out)
    with TemporaryDirectory() as folder:
        scratch = Path(folder) / f"model.{form.suffix}"
        try:
            with _quiet(), torch.no_grad():
                form.write(model, samples(model, 2), scratch)
                read = form.read(model, scratch)
                asked = [samples(model, n, seed=n) for n in CHECKED]
                apart = max(_apart(model, read, x) for x in (*asked, torch.zeros_like(asked[0])))
        except (OSError, RunError):
            raise
        except Exception as error:  # torch's compilers, through which the whole model goes, raise anything
            what = " ".join(str(error).partition("!")[0].split())[:80] or type(error).__name__
            raise RunError(f"{_named(model)} cannot be written as {to} ({what}): {OTHERWISE}") from error
        if apart > TOLERANCE:
            raise RunError(f"{_named(model)} as {to} differs by {apart:.2g} of its largest output: {OTHERWISE}")
        write_atomically(path, scratch.read_bytes())
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and onnx warn of and log on their way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def portable(model: Model) -> Model:
    """A copy on the CPU, at rest, without gradients, and with torch's own backward inside."""
    copied = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    if isinstance(copied.core, Rule):
        copied.core.feedback = Feedback()  # of no use to who only infers
    else:
        restore(copied.core)
    return copied


def samples(model: Model, n: int, seed: int = 0) -> Tensor:
    """(n, *shape) random samples between the lowest and the highest number that training saw."""
    generator, raw = torch.Generator().manual_seed(seed), model.raw
    shape = (n, *raw.shape)
    if raw.dtype in ("uint8", "int64"):
        dtype = getattr(torch, raw.dtype)
        return torch.randint(int(raw.low), int(raw.high) + 1, shape, generator=generator, dtype=dtype)
    if model.inputs.scales:
        return model.inputs.offset + model.inputs.spread * torch.randn(shape, generator=generator)
    return torch.rand(shape, generator=generator) * (raw.high - raw.low) + raw.low


def _apart(model: Model, read: Run, x: Tensor) -> float:
    """The largest difference to what the model says, as a share of its largest output."""
    expected, came = model(x), read(x)
    if came.shape != expected.shape:
        raise RuntimeError(f"{tuple(came.shape)} came for {tuple(expected.shape)}")
    share = (came - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float(share.nan_to_num(nan=torch.inf))


def _named(model: Model) -> str:
    own = isinstance(model.core, Rule)
    return f"what rule '{type(model.core).__name__}' infers by" if own else "the net"


def _names(model: Model) -> str:
    return json.dumps({"feature_names": model.feature_names, "classes": model.classes})


def _write_state_dict(model: Model, x: Tensor, path: Path) -> None:
    torch.save({key: tensor.clone() for key, tensor in model.state_dict().items()}, path)


def _read_state_dict(model: Model, path: Path) -> Run:
    other = copy.deepcopy(model)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(path, weights_only=True))
    return other


def _write_torchscript(model: Model, x: Tensor, path: Path) -> None:
    torch.jit.save(torch.jit.trace(model, x, check_trace=False), path, _extra_files={NAMES: _names(model)})


def _exported(model: Model, x: Tensor) -> Any:
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_pt2(model: Model, x: Tensor, path: Path) -> None:
    torch.export.save(_exported(model, x), path, extra_files={NAMES: _names(model)})


def _write_onnx(model: Model, x: Tensor, path: Path) -> None:
    onnx = _onnx()
    program = torch.onnx.export(  # whose optimiser leaves out additions of 1e-8, which keep divisors from zero
        _exported(model, x), input_names=["x"], output_names=["outputs"], dynamo=True, verbose=False, optimize=False
    )
    assert program is not None
    content = program.model_proto
    onnx.helper.set_model_props(content, {"feature_names": json.dumps(model.feature_names),
                                          "classes": json.dumps(model.classes)})  # fmt: skip
    onnx.save(content, os.fspath(path))


def _read_onnx(model: Model, path: Path) -> Run:
    onnx = _onnx()
    onnx.checker.check_model(os.fspath(path))
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        session: Any = ReferenceEvaluator(os.fspath(path))
    else:
        session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def _onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RunError("--to onnx needs packages that are missing: pip install 'altprop[onnx]'") from error
    return onnx


FORMATS: dict[str, Format] = {
    "pt2": Format("pt2", _write_pt2, lambda model, path: torch.export.load(path).module()),
    "onnx": Format("onnx", _write_onnx, _read_onnx),
    "torchscript": Format("ts", _write_torchscript, lambda model, path: torch.jit.load(path)),
    "state_dict": Format("pt", _write_state_dict, _read_state_dict),
}
