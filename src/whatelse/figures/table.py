"""Table of target accuracy and attack success (P1 Table II form)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import AttackResult, labels, remarks, shared
from whatelse.figures.settings import Table
from whatelse.figures.sketch import LINE, TEXT, Sketch, row_height, wrap

_COLUMNS = {
    "train_accuracy": ("target", "train acc."),
    "test_accuracy": ("target", "test acc."),
    "accuracy": ("attack", "accuracy"),
    "precision": ("attack", "precision"),
    "recall": ("attack", "recall"),
    "auc": ("attack", "AUC"),
}
_LABEL_CHARACTERS = 29
_NARROW = 1.84  # inches from the left edge to the first column
_WIDE = 0.80  # inches of a column
_SEEDS = style.WIDTH - TEXT  # right edge of the last column


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
    names = [wrap(label, _LABEL_CHARACTERS) for label in labels(results)]
    height = 0.62 + sum(row_height(lines) for lines in names)
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(results), *remarks(results)],
        height=height,
    )
    sketch = Sketch(part, height)
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
            sketch.shade(y, row_height(lines))
        for index, line in enumerate(lines):
            sketch.text(TEXT, y + LINE * (index + 0.85), line)
        for index, metric in enumerate(_COLUMNS):
            sketch.text(
                _right_edge(index), y + LINE * 0.85, _cell(result, metric), ha="right"
            )
        sketch.text(_SEEDS, y + LINE * 0.85, str(result.num_seeds), ha="right")
        y += row_height(lines)
    sketch.rule(y + 0.01, heavy=True)
    return figure, pd.DataFrame([_row(result) for result in results])


def _right_edge(index: int) -> float:
    """Return the right edge of a column of numbers, in inches."""
    return _NARROW + _WIDE * (index + 1) - 0.06


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
