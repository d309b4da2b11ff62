"""Table of a model's accuracy and of how well its secret was read (P2's tables)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    grey_levels,
    named,
    percent,
    points,
    remarks,
    shared,
    source_words,
)
from whatelse.figures.settings import MemoryTable
from whatelse.figures.sketch import LINE, TEXT, Sketch, row_height, wrap_parts

_MODEL, _READ, _HIDDEN = "model", "what was read out of it", ""


@dataclass(frozen=True)
class _Column:
    """A metric: where it stands, what it is called, how it is written."""

    group: str
    head: str
    unit: str
    mean: Callable[[float], str]
    std: Callable[[float], str]


def _share(group: str, head: str) -> _Column:
    return _Column(group, head, "%", percent, percent)


def _levels(head: str, unit: str) -> _Column:
    return _Column(_READ, head, unit, grey_levels, grey_levels)


_COLUMNS = {
    "test_accuracy": _share(_MODEL, "test acc."),
    "accuracy_change": _Column(_MODEL, "change", "points", points, percent),
    "bit_error_rate": _share(_READ, "bit errors"),
    "mape": _levels("MAPE", "0–255"),
    "mape_published": _levels("MAPE", "min–max"),
    "mape_floor": _levels("MAPE", "floor"),
    "ssim": _Column(_READ, "SSIM", "", "{:.3f}".format, "{:.3f}".format),
    "token_precision": _share(_READ, "tokens right"),
    "token_recall": _share(_READ, "tokens found"),
    "records": _Column(
        _HIDDEN, "records hidden", "", "{:,.0f}".format, "{:,.0f}".format
    ),
}
_NO_SPREAD = ("records",)
_LABEL_CHARACTERS = 29
_CHARACTER = 0.064  # inches
_WIDEST = 0.80  # inches of a column
_SEEDS = 0.42  # inches of the last column
_SMALL: dict[str, Any] = {"color": style.GREY, "fontsize": 6.8}
_HEAD = 0.85  # inches of the table's head


@style.context()
def draw(
    settings: MemoryTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : MemoryTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds, with the columns that
        any row has.
    DataFrame
        The same numbers as shares of 1, unrounded, with the 95% interval of each mean.
    """
    columns = [
        name
        for name in _COLUMNS
        if any(result.mean(name) is not None for result in results)
    ]
    names = [
        [
            *wrap_parts(name, _LABEL_CHARACTERS),
            *wrap_parts(source_words(result.dataset), _LABEL_CHARACTERS),
        ]
        for name, result in zip(named(results, data=False), results, strict=True)
    ]
    heights = [row_height(lines) for lines in names]
    height = _HEAD + sum(heights) + 0.03
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(results, columns), *remarks(results)],
        height=height,
    )
    sketch = Sketch(part, height)
    edges = _edges(names, columns)
    _head(sketch, columns, edges)
    y = _HEAD
    for number, (result, lines) in enumerate(zip(results, names, strict=True)):
        if number % 2:
            sketch.shade(y, heights[number])
        for index, line in enumerate(lines):
            color = style.GREY if index == len(lines) - 1 else "black"
            sketch.text(TEXT, y + LINE * (index + 0.85), line, color=color)
        for name, edge in zip(columns, edges, strict=True):
            for index, words in enumerate(_cell(result, name)):
                look = _SMALL if index else {}
                sketch.text(edge, y + LINE * (index + 0.85), words, ha="right", **look)
        sketch.text(
            style.WIDTH - TEXT, y + LINE * 0.85, str(result.num_seeds), ha="right"
        )
        y += heights[number]
    sketch.rule(y + 0.01, heavy=True)
    return figure, pd.DataFrame([_row(result, columns) for result in results])


def _edges(names: Sequence[Sequence[str]], columns: Sequence[str]) -> list[float]:
    """Return the right edge of every column, in inches; labels take what they need."""
    longest = max(len(line) for lines in names for line in lines)
    right = style.WIDTH - TEXT - _SEEDS
    left = TEXT + max(_CHARACTER * longest, 0.9)
    width = min((right - left) / len(columns), _WIDEST)
    return [right - width * count for count in range(len(columns) - 1, -1, -1)]


def _head(sketch: Sketch, columns: Sequence[str], edges: Sequence[float]) -> None:
    sketch.rule(0.04, heavy=True)
    width = edges[1] - edges[0] if len(edges) > 1 else _WIDEST
    for group in (_MODEL, _READ):
        own = [
            edge
            for name, edge in zip(columns, edges, strict=True)
            if _COLUMNS[name].group == group
        ]
        if own:
            start = own[0] - width + 0.10
            sketch.text((start + own[-1]) / 2, 0.20, group, ha="center")
            sketch.rule(0.26, start=start, stop=own[-1])
    for name, edge in zip(columns, edges, strict=True):
        column = _COLUMNS[name]
        lines = [*column.head.split(" ")]
        for index, line in enumerate(lines):
            sketch.text(
                edge,
                0.56 - 0.13 * (len(lines) - 1 - index),
                line,
                ha="right",
                fontweight="bold",
            )
        sketch.text(edge, 0.71, column.unit, ha="right", **_SMALL)
    sketch.text(style.WIDTH - TEXT, 0.56, "seeds", ha="right", fontweight="bold")
    sketch.rule(0.79)


def _cell(result: AttackResult, name: str) -> list[str]:
    """Return the mean and, on a second line, its deviation."""
    column, spread = _COLUMNS[name], result.summary.get(name) or {}
    if spread.get("mean") is None:
        return ["–"]
    if spread["std"] is None or name in _NO_SPREAD:
        return [column.mean(spread["mean"])]
    return [column.mean(spread["mean"]), f"± {column.std(spread['std'])}"]


def _row(result: AttackResult, columns: Sequence[str]) -> dict[str, Any]:
    row = {**result.identity(), "seeds": result.num_seeds}
    for name in columns:
        spread = result.summary.get(name) or {}
        for part in ("mean", "std", "low", "high"):
            row[f"{name}_{part}"] = spread.get(part)
    return row


def _notes(results: Sequence[AttackResult], columns: Sequence[str]) -> list[str]:
    notes = []
    counts = {result.num_seeds for result in results}
    if counts != {1}:
        notes.append("Mean, and below it ± standard deviation over seeds.")
    if 1 in counts:
        notes.append("A row of a single seed has no spread over seeds.")
    if "accuracy_change" in columns:
        notes.append("Change: test accuracy minus that of a model without a secret.")
    if "mape" in columns:
        notes.append("MAPE: mean absolute error of a pixel in grey levels, 0 is exact.")
    if "mape_published" in columns:
        notes.append("Min–max: with the published decoder in place of the robust one.")
    if "mape_floor" in columns:
        notes.append("Floor: what cutting pixels to fewer bits costs by itself.")
    if "token_recall" in columns:
        notes.append("Tokens right: of those decoded; found: of those hidden.")
    cells = [_cell(result, name) for result in results for name in columns]
    if ["–"] in cells:
        notes.append("–: does not apply.")
    return notes
