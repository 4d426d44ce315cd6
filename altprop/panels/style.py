"""One look of all pictures, on paper and on a page, light or dark.  No global state of matplotlib is left changed."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2430", "#5b6475", "#d8dce4"
#: Okabe and Ito's palette for all kinds of colour vision, without its yellow, which fades on white.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
#: Dark to bright and so in order for every kind of colour vision: from the first layer to the last ("plasma").
DEPTH = ("#2c0594", "#5601a4", "#7e03a8", "#a21d9a", "#bf3984", "#d7566c", "#ea7457", "#f79044")
WIDTH, TEXT = 3.75, 9.75  # of every figure in inches, 360 pixels of a page, and of all letters in points, 13 pixels
_THEME = {INK: "ink", MUTED: "muted", GRID: "grid", PALETTE[0]: "blue"}
_THEME |= {colour: f"depth{place}" for place, colour in enumerate(DEPTH)}
#: What these colours are on a light and on a dark page.
LIGHT = {name: colour for colour, name in _THEME.items()}
DARK = {
    "ink": "#e8eaee", "muted": "#a3abb9", "grid": "#363c47", "blue": "#3d97e0", "depth0": "#8f6cf0",
    "depth1": "#a765e8", "depth2": "#c063d2", "depth3": "#d868b4", "depth4": "#ea7894", "depth5": "#f58f74",
    "depth6": "#fbad5c", "depth7": "#f5d34f",
}  # fmt: skip
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "altprop", "font.size": TEXT, "axes.titlesize": TEXT,
    "xtick.labelsize": TEXT, "ytick.labelsize": TEXT, "legend.fontsize": TEXT, "axes.labelsize": TEXT,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "text.color": INK, "axes.titlecolor": INK,
    "axes.labelcolor": MUTED, "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED, "axes.edgecolor": GRID, "grid.color": GRID, "axes.grid": True, "grid.linewidth": 0.6,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "figure.facecolor": "none", "savefig.facecolor": "none", "lines.linewidth": 1.8, "text.parse_math": False,
}  # fmt: skip


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document, its text kept as text, the same for the same figure at any time."""
    with style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return buffer.getvalue()


def to_html(figure: Figure, name: str, label: str, told: Mapping[int, str] | None = None) -> str:
    """The figure as an element to put into an HTML page, at its own size or less; it fetches nothing.

    name: an identifier that no other figure on the page has.  label: what the figure shows, for those who hear it.
    told: what a pointer is told of artists whose gid begins with "of" and this number, by which scripts find them.
    Ink, lines and layers take the page's colours --ink, --muted, --grid, --blue, --depth0 to --depth7, if it has them.
    """
    svg = themed(to_svg(figure))
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="of(\d+)-[\w-]+">', lambda match: _marked(match, told or {}), svg)
    svg = re.sub(r'(\bid="|\bxlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, rest = re.split(r' width="[^"]*" height="[^"]*"', svg, maxsplit=1)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return f'{head} width="{width}" height="{height}" role="img" aria-label="{html.escape(label)}"{rest}'


def _marked(match: re.Match[str], told: Mapping[int, str]) -> str:
    title = html.escape(told.get(int(match[1]), ""))
    return f'{match[0][:-1]} data-of="{match[1]}"><title>{title}</title>'


def to_picture(figure: Figure) -> str:
    """The figure as an SVG file for a README: light or dark as its reader's page is, by styles of its own."""
    svg = themed(to_svg(figure))
    dark = ";".join(f"--{name}:{colour}" for name, colour in DARK.items())
    styles = f"<style>@media (prefers-color-scheme: dark){{svg{{{dark}}}}}</style>"
    at = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:at]}\n {styles}{svg[at:]}"


def themed(svg: str) -> str:
    """An SVG whose colours follow the page's, where it has them."""
    return re.sub(r"((?:fill|stroke): )(#[0-9a-f]{6})\b", _variable, svg)


def _variable(match: re.Match[str]) -> str:
    return f"{match[1]}var(--{_THEME[match[2]]}, {match[2]})" if match[2] in _THEME else match[0]


def depth_colour(layer: str, layers: Iterable[str]) -> str:
    """One colour for each layer of a net, the same in every figure: dark for the first, bright for the last."""
    names = list(layers)
    place = names.index(layer) if layer in names else 0
    return DEPTH[round(place * (len(DEPTH) - 1) / max(len(names) - 1, 1))]


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure as what the suffix of `path` says, .svg, .png (200 dots an inch) or .pdf; returns the path."""
    path = Path(path)
    if path.suffix == ".svg":
        path.write_text(to_svg(figure), encoding="utf-8")
    else:
        with style():
            figure.savefig(path, dpi=200, facecolor="white")
    return path


@contextmanager
def style() -> Iterator[None]:
    """The user's own settings (dark styles, TeX) would make figures that the report cannot show: begin from none."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield
