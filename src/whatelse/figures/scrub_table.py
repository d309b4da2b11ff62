"""Table of what scrubs leave of a payload, and what they cost the model."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    labels,
    percent,
    points,
    remarks,
    shared,
)
from whatelse.figures.settings import ScrubTable
from whatelse.figures.sketch import LINE, RIGHT, TEXT, Sketch, row_height, wrap

GONE, UNHARMED = 0.05, 0.95
_GONE_COLOUR, _UNHARMED_COLOUR = "#cfe8f7", "#f0a875"
_PER_BLOCK = 4  # attacks side by side
_LABEL_CHARACTERS = 24
_LABEL = 1.66  # inches from the left edge to the first column
_HEAD = 0.84  # inches of a block's head
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
    names = labels(results) if len(results) > 1 else [results[0].name]
    blocks = [
        range(start, min(start + _PER_BLOCK, len(results)))
        for start in range(0, len(results), _PER_BLOCK)
    ]
    block_height = _HEAD + sum(map(row_height, rows)) + 0.10
    height = block_height * len(blocks) + 0.22
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(tables), *remarks(results)],
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
    groups: Sequence[tuple[str, pd.DataFrame]],
) -> None:
    bottom = top + _HEAD + sum(map(row_height, rows))
    width = min((RIGHT - _LABEL) / len(groups), 1.9)
    sketch.rule(top + 0.04, heavy=True)
    sketch.text(TEXT, top + 0.72, "scrub", fontweight="bold")
    for number, (name, table) in enumerate(groups):
        start = _LABEL + width * number + 0.05
        stop = _LABEL + width * (number + 1) - 0.05
        edges = [start + (stop - start) * part for part in (0.32, 0.66, 1.0)]
        _group_head(sketch, top, name, table, (start, stop), edges)
    sketch.rule(top + 0.80)
    y = top + _HEAD
    for number, (scrub, lines) in enumerate(zip(scrubs, rows, strict=True)):
        tall = row_height(lines)
        if number % 2:
            sketch.shade(y, tall)
        for index, line in enumerate(lines):
            sketch.text(TEXT, y + LINE * (index + 0.85), line)
        for index, (_, table) in enumerate(groups):
            start = _LABEL + width * index + 0.05
            stop = _LABEL + width * (index + 1) - 0.05
            _cells(sketch, y, tall, table, scrub, start, stop)
        y += tall
    sketch.rule(bottom + 0.01, heavy=True)


def _group_head(
    sketch: Sketch,
    top: float,
    name: str,
    table: pd.DataFrame,
    ends: tuple[float, float],
    edges: Sequence[float],
) -> None:
    start, stop = ends
    fits = int((stop - start) / 0.068)
    words = name if len(name) <= fits else name[: fits - 1] + "…"
    sketch.text((start + stop) / 2, top + 0.21, words, ha="center", fontweight="bold")
    sketch.rule(top + 0.29, start=start, stop=stop)
    _, fidelity, unit = _fidelity(table)
    heads = (("payload", "left, %"), (fidelity, unit), ("acc.", "points"))
    for edge, lines in zip(edges, heads, strict=True):
        for index, line in enumerate(lines):
            sketch.text(
                edge,
                top + 0.56 + 0.15 * index,
                line,
                ha="right",
                fontsize=6.8,
                color=style.GREY if index else "black",
            )


def _cells(
    sketch: Sketch,
    y: float,
    tall: float,
    table: pd.DataFrame,
    scrub: str,
    start: float,
    stop: float,
) -> None:
    edges = [start + (stop - start) * part for part in (0.32, 0.66, 1.0)]
    own = table[table["scrub"] == scrub]
    words = ["–", "–", "–"]
    if len(own):
        row = own.iloc[0]
        words = _words(row, _fidelity(table)[0])
        colour = _colour(row["payload_left"])
        if colour:
            sketch.shade(
                y + 0.015, tall - 0.03, start=start - 0.03, stop=edges[0] + 0.04,
                color=colour,
            )  # fmt: skip
    for edge, text in zip(edges, words, strict=True):
        sketch.text(edge, y + LINE * 0.85, text, ha="right")


def _words(row: Any, fidelity: str) -> list[str]:
    value = row[fidelity] if fidelity else None
    if value is None or pd.isna(value):
        quality = "–"
    elif fidelity in ("bit_error_rate", "token_recall"):
        quality = f"{100 * value:.1f}" if value >= 5e-4 or not value else "<0.1"
    else:
        quality = f"{value:.1f}" if fidelity == "mape" else f"{value:.3f}"
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
        (_GONE_COLOUR, f"payload gone: less than {percent(GONE)[:-3]}% left"),
        (_UNHARMED_COLOUR, f"payload unharmed: more than {percent(UNHARMED)[:-3]}%"),
    ):
        sketch.shade(y - 0.10, 0.12, start=x, stop=x + 0.26, color=colour)
        sketch.text(x + 0.32, y, words)
        x += 2.6


def _notes(tables: Sequence[pd.DataFrame]) -> list[str]:
    shown = {_fidelity(table)[0] for table in tables}
    notes = ["Means over seeds."]
    notes.append("Acc.: change of test accuracy to the model that was not scrubbed.")
    if "bit_error_rate" in shown:
        notes.append("Bit errors of a payload that is gone: 50%.")
    if "mape" in shown:
        notes.append("MAPE: mean absolute error of a pixel in grey levels.")
    if len({tuple(table["scrub"]) for table in tables}) > 1:
        notes.append("–: not tried.")
    return notes
