"""The one style of all figures, and how they are written.

Figures are objects without pyplot's global state. Curves differ in line style and
marker as well as colour, so that they can be told apart in grey and by colour-blind
readers. Files carry no dates: the same data give the same bytes.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from whatelse.records import atomic, write_with

WIDTH = 7.2
"""Width of a figure in inches: a page's text width."""

DPI = 160
"""Pixels to an inch of a figure."""

GREY = "#555555"
_FAINT = "#dddddd"

GUESSING: dict[str, Any] = {
    "color": GREY,
    "linewidth": 0.9,
    "linestyle": (0, (4, 3)),
    "zorder": 1,
}
"""The dashed line of an attack that only guesses."""

MOST_FOR_SEEDS = 4
"""With more curves than this, the seeds' own lines only clutter."""

# Okabe and Ito's colours without yellow, which is too light on white.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#000000",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (7, 1.5, 1.2, 1.5)),
    (0, (3.5, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")

_PARAMETERS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    color: Any
    linestyle: Any
    marker: str


@contextmanager
def context() -> Iterator[None]:
    """Put the style in force: a context or a decorator.

    It starts from matplotlib's own defaults: a user's ``matplotlibrc`` has no say.
    """
    defaults: Any = mpl.rcParamsDefault
    kept = {k: v for k, v in defaults.items() if not k.startswith("backend")}
    with mpl.rc_context({**kept, **_PARAMETERS}):
        yield


def looks(count: int, *, ordered: bool = False) -> list[Look]:
    """Return distinct looks for `count` curves.

    Parameters
    ----------
    count : int
        How many curves.
    ordered : bool, optional
        Whether the curves have an order, e.g. by training-set size: colours then
        go from dark to light.
    """
    if ordered and count > 1:
        palette = mpl.colormaps["viridis"]
        colours: list[Any] = [
            palette(0.76 * index / (count - 1)) for index in range(count)
        ]
    else:
        colours = [_COLOURS[index % len(_COLOURS)] for index in range(count)]
    return [
        Look(
            colours[index],
            _DASHES[index % len(_DASHES)],
            _MARKERS[index % len(_MARKERS)],
        )
        for index in range(count)
    ]


def sheet(
    title: str, subtitle: str, notes: Sequence[str], *, height: float
) -> tuple[Figure, SubFigure]:
    """Return a new figure with its texts, and the part to draw in.

    Parameters
    ----------
    title : str
        First line, bold.
    subtitle : str
        Data, settings and seeds, below the title.
    notes : sequence of str
        Sentences at the foot; empty ones are left out.
    height : float
        Height of the part to draw in, in inches.
    """
    head = textwrap.wrap(title, 80)
    below = textwrap.wrap(subtitle, 118)
    foot = textwrap.wrap(" ".join(note.strip() for note in notes if note), 132)
    top = 0.14 + 0.19 * len(head) + 0.155 * len(below) + 0.08
    bottom = 0.10 + 0.135 * len(foot) if foot else 0.02
    total = top + height + bottom
    figure = Figure(figsize=(WIDTH, total), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(
        3, 1, height_ratios=[top, height, bottom], hspace=0, wspace=0
    )
    texts: tuple[tuple[float, list[str], dict[str, Any]], ...] = (
        (total - 0.10, head, {"fontsize": 10.5, "fontweight": "bold"}),
        (total - 0.14 - 0.19 * len(head), below, {"fontsize": 8, "color": GREY}),
        (bottom - 0.04, foot, {"fontsize": 7.2, "color": GREY}),
    )
    for inches, lines, look in texts:
        figure.text(
            0.10 / WIDTH,
            inches / total,
            "\n".join(lines),
            va="top",
            linespacing=1.25,
            parse_math=False,
            **look,
        )
    return figure, parts.ravel()[1]


def parts_of(figure: Figure | SubFigure) -> Iterator[SubFigure]:
    """Yield the parts of a figure, and theirs."""
    for part in figure.subfigs:
        yield part
        yield from parts_of(part)


def handles(labels: Sequence[str], looks: Sequence[Look]) -> list[Line2D]:
    """Return the samples of a legend."""
    return [
        Line2D(
            [],
            [],
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            label=label,
        )
        for label, look in zip(labels, looks, strict=True)
    ]


def legend(part: SubFigure, labels: Sequence[str], looks: Sequence[Look]) -> None:
    """Put a legend outside the axes: to the right for many short labels, else below."""
    columns = _legend_columns(labels)
    box = part.legend(
        handles=handles([textwrap.fill(label, 100) for label in labels], looks),
        loc="outside lower center" if columns else "outside right upper",
        ncols=max(columns, 1),
    )
    for text in box.get_texts():
        text.set_parse_math(False)


def legend_height(labels: Sequence[str], *, beside: float) -> float:
    """Return the height in inches of axes that are `beside` high and their legend."""
    columns = _legend_columns(labels)
    if columns:
        return beside + 0.30 + 0.17 * -(-len(labels) // columns)
    return max(beside, 0.45 + 0.17 * len(labels))


def _legend_columns(labels: Sequence[str]) -> int:
    """Return the columns of a legend below the axes; 0 for one on the right."""
    longest = max(len(label) for label in labels)
    if len(labels) > 4 and longest <= 20:
        return 0
    return max(1, min(len(labels), 112 // (longest + 9)))


def baseline(axes: Axes, y: float) -> None:
    """Draw the dashed line of an attack that only guesses."""
    axes.axhline(y, **GUESSING)


def save(figure: Figure, data: pd.DataFrame, folder: Path) -> list[str]:
    """Write ``data.csv``, ``figure.pdf`` and ``figure.png`` (160 dpi); name them."""
    with atomic(folder / "data.csv") as file:
        data.to_csv(file, index=False, lineterminator="\n")
    with context():
        _settle(figure)
        write_with(
            folder / "figure.pdf",
            lambda path: figure.savefig(
                path,
                format="pdf",
                metadata={"CreationDate": None, "Creator": "whatelse"},
            ),
        )
        write_with(
            folder / "figure.png",
            lambda path: figure.savefig(
                path, format="png", dpi=DPI, metadata={"Software": None}
            ),
        )
    return ["data.csv", "figure.pdf", "figure.png"]


def _settle(figure: Figure) -> None:
    """Fix the layout: its solver's last bits differ from run to run, so round them."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in parts_of(figure):
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(6))
        for axes in part.axes:
            box = axes.get_position(original=True)
            axes.set_position(Bbox(box.get_points().round(6)))
