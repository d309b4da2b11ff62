"""Table of target accuracy and attack success (P1 Table II form)."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from whatelse.figures import style
from whatelse.figures.results import AttackResult, labels, remarks, shared
from whatelse.figures.settings import Table

_COLUMNS = {
    "train_accuracy": ("target", "train acc."),
    "test_accuracy": ("target", "test acc."),
    "accuracy": ("attack", "accuracy"),
    "precision": ("attack", "precision"),
    "recall": ("attack", "recall"),
    "auc": ("attack", "AUC"),
}
_LABEL_CHARACTERS = 29
_LINE = 0.175  # inches
_NARROW = 1.84  # inches from the left edge to the first column
_WIDE = 0.80  # inches of a column
_SEEDS = style.WIDTH - 0.14  # right edge of the last column


@style.context()
def draw(
    settings: Table, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : Table
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds.
    DataFrame
        The same numbers unrounded, with the 95% interval of each mean.
    """
    names = [
        [line.removesuffix(" ·") for line in textwrap.wrap(label, _LABEL_CHARACTERS)]
        for label in labels(results)
    ]
    height = 0.62 + sum(_row_height(lines) for lines in names)
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(results), *remarks(results)],
        height=height,
    )
    sketch = _Sketch(part, height)
    sketch.rule(0.04, heavy=True)
    for group, first, last in (("target model", 0, 1), ("attack", 2, 5)):
        start = _right_edge(first) - _WIDE + 0.10
        sketch.text((start + _right_edge(last)) / 2, 0.20, group, ha="center")
        sketch.rule(0.26, start=start, stop=_right_edge(last))
    for index, (_, name) in enumerate(_COLUMNS.values()):
        sketch.text(_right_edge(index), 0.43, name, ha="right", fontweight="bold")
    sketch.text(_SEEDS, 0.43, "seeds", ha="right", fontweight="bold")
    sketch.rule(0.52)
    y = 0.55
    for number, (result, lines) in enumerate(zip(results, names, strict=True)):
        if number % 2:
            sketch.shade(y, _row_height(lines))
        for index, line in enumerate(lines):
            sketch.text(0.14, y + _LINE * (index + 0.85), line)
        for index, metric in enumerate(_COLUMNS):
            sketch.text(
                _right_edge(index), y + _LINE * 0.85, _cell(result, metric), ha="right"
            )
        sketch.text(_SEEDS, y + _LINE * 0.85, str(result.num_seeds), ha="right")
        y += _row_height(lines)
    sketch.rule(y + 0.01, heavy=True)
    return figure, pd.DataFrame([_row(result) for result in results])


class _Sketch:
    """Text and rules at inches from the upper left corner of the table."""

    def __init__(self, part: Any, height: float) -> None:
        self._part = part
        self._height = height

    def text(self, x: float, y: float, words: str, **look: Any) -> None:
        self._part.text(
            x / style.WIDTH,
            1 - y / self._height,
            words,
            va="baseline",
            fontsize=7.4,
            parse_math=False,
            **look,
        )

    def rule(
        self,
        y: float,
        *,
        heavy: bool = False,
        start: float = 0.10,
        stop: float = style.WIDTH - 0.10,
    ) -> None:
        self._part.add_artist(
            Line2D(
                [start / style.WIDTH, stop / style.WIDTH],
                [1 - y / self._height] * 2,
                color="black",
                linewidth=1.1 if heavy else 0.5,
                transform=self._part.transSubfigure,
            )
        )

    def shade(self, y: float, height: float) -> None:
        self._part.add_artist(
            Rectangle(
                (0.10 / style.WIDTH, 1 - (y + height) / self._height),
                1 - 0.20 / style.WIDTH,
                height / self._height,
                facecolor="#f2f2f2",
                edgecolor="none",
                zorder=0,
                transform=self._part.transSubfigure,
            )
        )


def _right_edge(index: int) -> float:
    """Return the right edge of a column of numbers, in inches."""
    return _NARROW + _WIDE * (index + 1) - 0.06


def _row_height(lines: Sequence[str]) -> float:
    return _LINE * len(lines) + 0.05


def _cell(result: AttackResult, metric: str) -> str:
    spread = result.summary.get(metric) or {}
    if spread.get("mean") is None:
        return "–"
    if spread["std"] is None:
        return f"{spread['mean']:.3f}"
    return f"{spread['mean']:.3f} ± {spread['std']:.3f}"


def _row(result: AttackResult) -> dict[str, Any]:
    row = {**result.identity(), "seeds": result.num_seeds}
    for metric in _COLUMNS:
        spread = result.summary.get(metric) or {}
        name = f"attack_{metric}" if _COLUMNS[metric][0] == "attack" else metric
        for part in ("mean", "std", "low", "high"):
            row[f"{name}_{part}"] = spread.get(part)
    return row


def _notes(results: Sequence[AttackResult]) -> list[str]:
    notes = []
    counts = {result.num_seeds for result in results}
    if counts != {1}:
        notes.append("Mean ± standard deviation over seeds.")
    if 1 in counts:
        notes.append("A row of a single seed has no spread over seeds.")
    cells = [_cell(result, metric) for result in results for metric in _COLUMNS]
    if "–" in cells:
        notes.append("–: not known, or not defined.")
    return notes
