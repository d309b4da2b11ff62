"""Table of what scrubs leave of a payload, and what they cost the model."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    grey_levels,
    named,
    points,
    remarks,
    shared,
)
from whatelse.figures.settings import ScrubTable
from whatelse.figures.sketch import (
    LINE,
    RIGHT,
    TEXT,
    Sketch,
    row_height,
    wrap,
    wrap_parts,
)

GONE, UNHARMED = 0.05, 0.95
_GONE_COLOUR, _UNHARMED_COLOUR = "#cfe8f7", "#f0a875"
_PER_BLOCK = 4  # attacks side by side
_LABEL_CHARACTERS = 28
_LABEL = 1.84  # inches from the left edge to the first column
_HEAD = 0.77  # inches of a block's head, with names of one line
_HEAD_LINE = 0.14
_FIDELITY = (
    ("token_recall", "tokens", "found, %"),
    ("bit_error_rate", "bit", "err., %"),
    ("mape", "MAPE", "0–255"),
    ("ssim", "SSIM", ""),
)


@style.context()
def draw(
    settings: ScrubTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every scrub and three columns for every result.

    Parameters
    ----------
    settings : ScrubTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the columns.

    Returns
    -------
    Figure
        The table, as means over seeds. Colours show where the payload is gone or
        unharmed.
    DataFrame
        The means unrounded, as shares of 1: a row for every result and scrub.
    """
    tables = [_table(result) for result in results]
    scrubs = _scrubs(tables)
    rows = [wrap(scrub, _LABEL_CHARACTERS) for scrub in scrubs]
    width = min((RIGHT - _LABEL) / min(len(results), _PER_BLOCK), 1.9)
    names = [wrap_parts(name, int(width / 0.074)) for name in named(results)]
    head = _HEAD + _HEAD_LINE * (max(map(len, names)) - 1)
    blocks = [
        range(start, min(start + _PER_BLOCK, len(results)))
        for start in range(0, len(results), _PER_BLOCK)
    ]
    block_height = head + sum(map(row_height, rows)) + 0.10
    height = block_height * len(blocks) + 0.22
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(results, tables), *remarks(results)],
        height=height,
    )
    sketch = Sketch(part, height)
    for number, block in enumerate(blocks):
        _block(
            sketch,
            block_height * number,
            rows,
            scrubs,
            [(names[index], tables[index]) for index in block],
            (head, width),
        )
    _legend(sketch, height - 0.06)
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), "seeds": result.num_seeds, **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _table(result: AttackResult) -> pd.DataFrame:
    """Return the mean over seeds of every column, a row a scrub."""
    curves = result.curves.drop(columns="replicate")
    return (
        curves.groupby(["order", "scrub"], as_index=False)
        .mean()
        .sort_values("order", ignore_index=True)
    )


def _scrubs(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return every scrub once, in the order of the first attack that has it."""
    return list(dict.fromkeys(scrub for table in tables for scrub in table["scrub"]))


def _fidelity(table: pd.DataFrame) -> tuple[str, str, str]:
    """Return the measure that a group shows, and its head."""
    for found in _FIDELITY:
        if found[0] in table and table[found[0]].notna().any():
            return found
    return ("", "", "")


def _block(
    sketch: Sketch,
    top: float,
    rows: Sequence[Sequence[str]],
    scrubs: Sequence[str],
    groups: Sequence[tuple[list[str], pd.DataFrame]],
    size: tuple[float, float],
) -> None:
    head, width = size
    sketch.rule(top + 0.04, heavy=True)
    sketch.text(TEXT, top + head - 0.12, "scrub", fontweight="bold")
    for number, (name, table) in enumerate(groups):
        start = _LABEL + width * number + 0.05
        _group_head(
            sketch, (top, top + head), name, table, (start, start + width - 0.1)
        )
    sketch.rule(top + head - 0.04)
    y = top + head
    for number, (scrub, lines) in enumerate(zip(scrubs, rows, strict=True)):
        tall = row_height(lines)
        if number % 2:
            sketch.shade(y, tall)
        for index, line in enumerate(lines):
            sketch.text(TEXT, y + LINE * (index + 0.85), line)
        for index, (_, table) in enumerate(groups):
            start = _LABEL + width * index + 0.05
            _cells(sketch, (y, tall), table, scrub, (start, start + width - 0.1))
        y += tall
    sketch.rule(y + 0.01, heavy=True)


def _group_head(
    sketch: Sketch,
    rows: tuple[float, float],
    name: Sequence[str],
    table: pd.DataFrame,
    ends: tuple[float, float],
) -> None:
    top, bottom = rows
    for index, line in enumerate(name):
        y = top + 0.21 + _HEAD_LINE * index
        sketch.text(sum(ends) / 2, y, line, ha="center", fontweight="bold")
    sketch.rule(bottom - 0.50, start=ends[0], stop=ends[1])
    _, fidelity, unit = _fidelity(table)
    heads = (("payload", "left, %"), (fidelity, unit), ("acc.", "points"))
    for edge, lines in zip(_edges(ends), heads, strict=True):
        for index, line in enumerate(lines):
            sketch.text(
                edge,
                bottom - 0.27 + 0.15 * index,
                line,
                ha="right",
                fontsize=6.8,
                color=style.GREY if index else "black",
            )


def _cells(
    sketch: Sketch,
    row: tuple[float, float],
    table: pd.DataFrame,
    scrub: str,
    ends: tuple[float, float],
) -> None:
    y, tall = row
    edges = _edges(ends)
    own = table[table["scrub"] == scrub]
    words = ["–", "–", "–"]
    if len(own):
        words = _words(own.iloc[0], _fidelity(table)[0])
        colour = _colour(own["payload_left"].iloc[0])
        if colour:
            sketch.shade(
                y + 0.015, tall - 0.03, start=ends[0] - 0.03, stop=edges[0] + 0.04,
                color=colour,
            )  # fmt: skip
    for edge, text in zip(edges, words, strict=True):
        sketch.text(edge, y + LINE * 0.85, text, ha="right")


def _edges(ends: tuple[float, float]) -> list[float]:
    """Return the right edges of the columns of a group, in inches."""
    start, stop = ends
    return [start + (stop - start) * part for part in (0.32, 0.66, 1.0)]


def _words(row: Any, fidelity: str) -> list[str]:
    value = row[fidelity] if fidelity else None
    if value is None or pd.isna(value):
        quality = "–"
    elif fidelity in ("bit_error_rate", "token_recall"):
        quality = f"{100 * value:.1f}" if value >= 5e-4 or not value else "<0.1"
    else:
        quality = grey_levels(value) if fidelity == "mape" else f"{value:.3f}"
    left, change = row["payload_left"], row["accuracy_change"]
    return [
        "–" if pd.isna(left) else f"{100 * left:.0f}",
        quality,
        "–" if pd.isna(change) else points(change),
    ]


def _colour(left: float) -> str | None:
    if left < GONE:
        return _GONE_COLOUR
    return _UNHARMED_COLOUR if left > UNHARMED else None


def _legend(sketch: Sketch, y: float) -> None:
    x = TEXT
    for colour, words in (
        (_GONE_COLOUR, f"payload gone: less than {100 * GONE:g}% left"),
        (_UNHARMED_COLOUR, f"payload unharmed: more than {100 * UNHARMED:g}% left"),
    ):
        sketch.shade(y - 0.10, 0.12, start=x, stop=x + 0.26, color=colour)
        sketch.text(x + 0.32, y, words)
        x += 2.6


def _notes(
    results: Sequence[AttackResult], tables: Sequence[pd.DataFrame]
) -> list[str]:
    shown = {_fidelity(table)[0] for table in tables}
    several = any(result.num_seeds > 1 for result in results)
    notes = ["Means over seeds."] if several else []
    notes.append("Acc.: change of test accuracy against the model before scrubbing.")
    if "bit_error_rate" in shown:
        notes.append("Bit errors of a payload that is gone: 50%.")
    if "mape" in shown:
        notes.append("MAPE: mean absolute error of a pixel in grey levels.")
    if len({tuple(table["scrub"]) for table in tables}) > 1:
        notes.append("–: not tried.")
    return notes
