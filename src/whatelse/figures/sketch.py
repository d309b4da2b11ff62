"""What tables are drawn with: text, rules and shades at inches from a corner."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from whatelse.figures import style

LINE = 0.175
"""Height of a line of text, in inches."""

LEFT, RIGHT = 0.10, style.WIDTH - 0.10
"""Ends of a rule across the table, in inches."""

TEXT = 0.14
"""Where a row's text begins, and how far from the right edge it ends, in inches."""

STRIPE = "#f2f2f2"


class Sketch:
    """Text and rules at inches from the upper left corner of the table."""

    def __init__(self, part: Any, height: float) -> None:
        self._part = part
        self._height = height

    def text(self, x: float, y: float, words: str, **look: Any) -> None:
        """Write a line whose baseline is at `y`."""
        self._part.text(
            x / style.WIDTH,
            1 - y / self._height,
            words,
            va="baseline",
            parse_math=False,
            **{"fontsize": 7.4, **look},
        )

    def rule(
        self, y: float, *, heavy: bool = False, start: float = LEFT, stop: float = RIGHT
    ) -> None:
        """Draw a horizontal line."""
        self._part.add_artist(
            Line2D(
                [start / style.WIDTH, stop / style.WIDTH],
                [1 - y / self._height] * 2,
                color="black",
                linewidth=1.1 if heavy else 0.5,
                transform=self._part.transSubfigure,
            )
        )

    def shade(
        self,
        y: float,
        height: float,
        *,
        start: float = LEFT,
        stop: float = RIGHT,
        color: str = STRIPE,
    ) -> None:
        """Fill a rectangle that begins `y` below the top."""
        self._part.add_artist(
            Rectangle(
                (start / style.WIDTH, 1 - (y + height) / self._height),
                (stop - start) / style.WIDTH,
                height / self._height,
                facecolor=color,
                edgecolor="none",
                zorder=0 if color == STRIPE else 0.5,
                transform=self._part.transSubfigure,
            )
        )


def wrap(label: str, characters: int) -> list[str]:
    """Return the lines of a row's label."""
    lines = textwrap.wrap(label, characters)
    return [line.removesuffix(" ·") for line in lines]


def wrap_parts(label: str, characters: int) -> list[str]:
    """Return the lines of a label whose parts, between dots, stay whole if they fit."""
    lines: list[str] = []
    for part in label.split(" · "):
        if lines and len(lines[-1]) + len(part) + 3 <= characters:
            lines[-1] += f" · {part}"
        else:
            lines += textwrap.wrap(part, characters)
    return lines


def row_height(lines: Sequence[str]) -> float:
    """Return the height of a row with so many lines, in inches."""
    return LINE * len(lines) + 0.05
