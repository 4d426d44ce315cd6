"""Which library multiplies large float32 matrices on the CPU, MKL or oneDNN: by processor, and by shape where measured.

Torch ships both and takes MKL.  Both are exact, but their last bits differ, so that a choice that is timed anew in each
process would part runs of one seed.  It is a function of the processor therefore, and of a file that only
``altprop bench --choose`` writes: the products whose other library was faster here, each by its shape and layout.

By processor, on one core: Zen 5 has units of 512 bits, which MKL leaves unused on AMD; oneDNN takes .45 of its time.
Zen 3 and Zen 4 have units of 256 bits, which MKL fills: oneDNN takes 1.0 to 1.3 times as long on Zen 3 (batches of 16
to 512, 256 to 3072 wide, all layouts), and 1.0 times forward but 1.6 times for gradients at the weight on Zen 4.
"""

from __future__ import annotations

import json
import os
import platform
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altprop.limits import Notice, shorten

WORTHWHILE = 1 << 21  # multiplications, below which a call of oneDNN costs more than it saves
HAS_ONEDNN: bool = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
BACKENDS = ("mkl", "onednn")
NARROW = ("AuthenticAMD", 25)  # vendor, and the last family whose units have 256 bits


def onednn_is_faster(x: Tensor, weight: Tensor) -> bool:
    """For x (..., n) W^T (n, m): as it was measured here, or as most products on this processor are."""
    chosen = choices().get(product_name(x, weight))
    return prefers_onednn(*processor()) if chosen is None else chosen == "onednn"


def product_name(x: Tensor, weight: Tensor) -> str:
    """Rows, inner dimension and columns of x (..., n) W^T (n, m), and how each lies: n as it is, t transposed."""
    layout = "".join("n" if operand.stride(-1) == 1 else "t" for operand in (x, weight))
    return f"{x.numel() // x.shape[-1]}x{x.shape[-1]}x{len(weight)} {layout}"


@cache
def prefers_onednn(vendor: str, family: int, capability: str) -> bool:
    """Whether most products are faster by oneDNN on such a processor; it stays where nothing is known of MKL."""
    narrow = capability == "AVX2" or (vendor == NARROW[0] and family <= NARROW[1])
    return not (narrow and torch.backends.mkl.is_available())


@cache
def processor() -> tuple[str, int, str]:
    """(vendor, family, the widest instructions that torch uses); "" and 0 where the system does not tell."""
    text = _cpuinfo() or platform.processor()
    vendor = re.search(r"AuthenticAMD|GenuineIntel", text)
    family = re.search(r"(?:cpu family\s*:|Family)\s*(\d+)", text)
    return vendor[0] if vendor else "", int(family[1]) if family else 0, torch.backends.cpu.get_cpu_capability()


@cache
def machine() -> str:
    """What a measured choice holds for: the processor's name, family, model and instructions, and torch's version."""
    text = _cpuinfo()
    known = {key: value.strip() for key, value in re.findall(r"^(model name|cpu family|model)\s*:(.*)$", text, re.M)}
    name = known.pop("model name", "") or platform.processor() or platform.machine()
    numbers = "".join(f", {key} {value}" for key, value in known.items())
    return f"{name}{numbers}, {processor()[2]}, torch {torch.__version__}"


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return ""


def path() -> Path:
    """Where choices are kept: altprop/products.json in XDG_CONFIG_HOME, or in ~/.config."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(folder) / "altprop" / "products.json"


@cache
def choices() -> Mapping[str, str]:
    """The library of each product that was measured here; a file that cannot be read is told and left out."""
    try:
        return read(path()).get(machine(), {})
    except (OSError, ValueError) as error:
        what = f"{shorten(path(), 100)} cannot be read ({shorten(error, 80)})"
        warnings.warn(f"{what}: delete it, or write it anew by altprop bench --choose", Notice, stacklevel=2)
        return {}


def read(file: Path) -> dict[str, dict[str, str]]:
    """The choices of each machine, none where there is no file.  Raises ``OSError``, and ``ValueError`` for others."""
    if not file.exists():
        return {}
    content: Any = json.loads(file.read_text(encoding="utf-8"))
    tables = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(table, dict) and all(way in BACKENDS for way in table.values()) for table in tables):
        raise ValueError(f"expected tables of {' and '.join(BACKENDS)}")
    return content
