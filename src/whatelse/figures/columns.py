"""Tables of attacks: a row for every result, columns of means and deviations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    named,
    percent,
    remarks,
    shared,
    source_words,
)
from whatelse.figures.sketch import LINE, TEXT, Sketch, row_height, wrap_parts
from whatelse.measures.rough import is_rough

_LABEL_CHARACTERS = 29
_CHARACTER = 0.064  # inches
_WIDEST = 0.80  # inches of a column
_SEEDS = 0.42  # inches of the last column
_SMALL: dict[str, Any] = {"color": style.GREY, "fontsize": 6.8}
_HEAD = 0.85  # inches of the table's head
_FULL, _ROOMY = 7.4, 0.6  # size of a head, inches that take "precision" so


@dataclass(frozen=True)
class Column:
    """A metric: where it stands, what it is called, how it is written.

    Attributes
    ----------
    group : str
        What stands over several columns; empty for none.
    head, unit : str
        Its name, and what it is measured in.
    mean, std : callable
        From a number to text; no deviation is shown if `std` is None.
    """

    group: str
    head: str
    unit: str
    mean: Callable[[float], str]
    std: Callable[[float], str] | None


def share(group: str, head: str) -> Column:
    """Return a column of shares in percent."""
    return Column(group, head, "%", percent, percent)


def rough_marks(
    results: Sequence[AttackResult], metrics: Iterable[str]
) -> dict[tuple[int, str], str]:
    """Return the marks of rates that few false positives set, as `draw_table` does."""
    return {
        (index, name): "*"
        for index, result in enumerate(results)
        for name in metrics
        if result.mean(name) is not None and is_rough(name, result.replicates)
    }


def draw_table(
    title: str, caption: str, results: Sequence[AttackResult],
    columns: Mapping[str, Column], notes: Mapping[str, str],
    marks: Mapping[tuple[int, str], str] = MappingProxyType({}),
    missing: str = "does not apply",
    more: Sequence[str] = (),
) -> tuple[Figure, pd.DataFrame]:  # fmt: skip
    """Draw a row for every result.

    Parameters
    ----------
    title, caption : str
        Of the figure.
    results : sequence of AttackResult
        At least one, in the order of the rows.
    columns : mapping of str to Column
        By metric; those that no row has are left out.
    notes : mapping of str to str
        What is said at the foot where a metric is shown.
    marks : mapping of (int, str) to str, optional
        What follows a mean, by the result's place and the metric.
    missing : str, optional
        What a dash means.
    more : sequence of str, optional
        What else is said at the foot.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds.
    DataFrame
        The same numbers as shares of 1, unrounded, with the 95% interval of each mean.
    """
    shown = {
        name: column
        for name, column in columns.items()
        if any(result.mean(name) is not None for result in results)
    }
    names = [wrap_parts(name, _LABEL_CHARACTERS) for name in named(results, data=False)]
    sources = [source_words(result.dataset) for result in results]
    # of one source the subtitle tells
    data = [
        wrap_parts(source, _LABEL_CHARACTERS) if len({*sources}) > 1 else []
        for source in sources
    ]
    labels = [[*own, *source] for own, source in zip(names, data, strict=True)]
    # a mean stands above its deviation
    heights = [max(row_height(lines), row_height(["", ""])) for lines in labels]
    height = _HEAD + sum(heights) + 0.03
    figure, part = style.sheet(
        title,
        shared(results),
        [caption, *_notes(results, shown, notes, missing), *more, *remarks(results)],
        height=height,
    )
    sketch = Sketch(part, height)
    edges = _edges(labels, len(shown))
    _head(sketch, shown, edges)
    y = _HEAD
    for number, (result, lines) in enumerate(zip(results, labels, strict=True)):
        if number % 2:
            sketch.shade(y, heights[number])
        for index, line in enumerate(lines):
            color = "black" if index < len(names[number]) else style.GREY
            sketch.text(TEXT, y + LINE * (index + 0.85), line, color=color)
        for (name, column), edge in zip(shown.items(), edges, strict=True):
            for index, words in enumerate(_cell(result, name, column)):
                look = _SMALL if index else {}
                sketch.text(edge, y + LINE * (index + 0.85), words, ha="right", **look)
            # beyond the edge, so that numbers stay in line
            mark = marks.get((number, name), "")
            sketch.text(edge + 0.01, y + LINE * 0.85, mark)
        sketch.text(
            style.WIDTH - TEXT, y + LINE * 0.85, str(result.num_seeds), ha="right"
        )
        y += heights[number]
    sketch.rule(y + 0.01, heavy=True)
    return figure, pd.DataFrame([_row(result, shown) for result in results])


def _edges(names: Sequence[Sequence[str]], count: int) -> list[float]:
    """Return the right edge of every column, in inches; labels take what they need."""
    longest = max(len(line) for lines in names for line in lines)
    right = style.WIDTH - TEXT - _SEEDS
    left = TEXT + max(_CHARACTER * longest, 0.9)
    width = min((right - left) / count, _WIDEST)
    return [right - width * left_over for left_over in range(count - 1, -1, -1)]


def _head(
    sketch: Sketch, columns: Mapping[str, Column], edges: Sequence[float]
) -> None:
    sketch.rule(0.04, heavy=True)
    width = edges[1] - edges[0] if len(edges) > 1 else _WIDEST
    for group in dict.fromkeys(column.group for column in columns.values()):
        own = [
            edge
            for column, edge in zip(columns.values(), edges, strict=True)
            if column.group == group
        ]
        if group:
            start = own[0] - width + 0.10
            sketch.text((start + own[-1]) / 2, 0.20, group, ha="center")
            sketch.rule(0.26, start=start, stop=own[-1])
    size = _FULL * min(1.0, width / _ROOMY)
    for column, edge in zip(columns.values(), edges, strict=True):
        lines = [*column.head.split(" ")]
        for index, line in enumerate(lines):
            sketch.text(
                edge,
                0.56 - 0.13 * (len(lines) - 1 - index),
                line,
                ha="right",
                fontweight="bold",
                fontsize=size,
            )
        sketch.text(edge, 0.71, column.unit, ha="right", **_SMALL)
    seeds: dict[str, Any] = {"fontweight": "bold", "fontsize": size}
    sketch.text(style.WIDTH - TEXT, 0.56, "seeds", ha="right", **seeds)
    sketch.rule(0.79)


def _cell(result: AttackResult, name: str, column: Column) -> list[str]:
    """Return the mean and, on a second line, its deviation."""
    spread = result.summary.get(name) or {}
    if spread.get("mean") is None:
        return ["–"]
    if spread["std"] is None or column.std is None:
        return [column.mean(spread["mean"])]
    return [column.mean(spread["mean"]), f"± {column.std(spread['std'])}"]


def _row(result: AttackResult, columns: Mapping[str, Column]) -> dict[str, Any]:
    row = {**result.identity(), "seeds": result.num_seeds}
    for name in columns:
        spread = result.summary.get(name) or {}
        for part in ("mean", "std", "low", "high"):
            row[f"{name}_{part}"] = spread.get(part)
    return row


def _notes(
    results: Sequence[AttackResult], columns: Mapping[str, Column],
    notes: Mapping[str, str], missing: str,
) -> list[str]:  # fmt: skip
    found = []
    counts = {result.num_seeds for result in results}
    if counts != {1}:
        found.append("Mean, and below it ± standard deviation over seeds.")
    if 1 in counts:
        found.append("A row of a single seed has no spread over seeds.")
    found += [words for name, words in notes.items() if name in columns]
    cells = [
        _cell(r, name, column) for r in results for name, column in columns.items()
    ]
    if ["–"] in cells:
        found.append(f"–: {missing}.")
    return found
