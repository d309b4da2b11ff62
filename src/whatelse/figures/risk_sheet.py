"""The most and the least exposed records, as they are."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, remarks
from whatelse.figures.risk import only, told
from whatelse.figures.settings import RiskSheet
from whatelse.figures.sketch import LEFT, LINE, RIGHT, TEXT, Sketch

_HEAD = 0.26  # inches
_GAP = 0.10  # between pictures
_TALLEST = 0.80
_LINE = 0.115  # of the words below a picture
_WORDS = 6.2  # points
_CLASS, _RISK, _WHAT = 0.14, 1.62, 3.0  # inches from the left edge
_CHARACTERS = 76


@style.context()
def draw(
    settings: RiskSheet, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw the records with the highest risks above those with the lowest.

    Parameters
    ----------
    settings : RiskSheet
        What is asked for.
    results : sequence of AttackResult
        One.

    Returns
    -------
    Figure
        Pictures, or lines of what a record holds.
    DataFrame
        A row for every record shown.

    Raises
    ------
    UserError
        If there are several results, or the attack has kept fewer records.
    """
    result = only(results)
    number = settings.columns * settings.rows
    scores = result.scores.sort_values("place")
    number = min(number, len(scores) // 2)
    what = "picture" if "picture" in scores else "words"
    ends = {"most exposed": scores.head(number), "least exposed": scores.tail(number)}
    kept = int(scores[what].notna().sum()) // 2
    if any(rows[what].isna().any() for rows in ends.values()):
        raise UserError(
            f"columns: {settings.columns} x rows {settings.rows} are {number} records "
            f"of either end, and attack {result.name!r} has kept {kept}; allowed: "
            "fewer, or a larger `shown` of the attack"
        )
    of_class = {
        group["class"]: group["name"] for group in result.replicates[0]["per_class"]
    }
    table = pd.concat(
        [rows.assign(end=end) for end, rows in ends.items()], ignore_index=True
    )
    table["class_name"] = table["label"].map(of_class)
    notes = [
        settings.caption,
        "Each record with its class and its risk: the chance that a model trained on "
        "it is surer of it than one that was not, with the 95% interval over models. "
        "They are the ends of a ranking: the lowest are below .5 by chance.",
        *remarks(results),
    ]
    draws = _pictures if what == "picture" else _lines
    return (
        draws(settings, result, table, notes),
        pd.DataFrame(result.identity(), index=table.index).join(
            table.drop(columns=["picture", "shape", "replicate"], errors="ignore")
        ),
    )


def _pictures(
    settings: RiskSheet, result: AttackResult, table: pd.DataFrame, notes: list[str]
) -> Figure:
    cell = (RIGHT - LEFT) / settings.columns
    side = min(cell - _GAP, _TALLEST)
    row = side + 2 * _LINE + 0.12
    down = -(-(len(table) // 2) // settings.columns)
    height = 2 * (_HEAD + row * down)
    figure, part = style.sheet(settings.title, told(result), notes, height=height)
    sketch, top = Sketch(part, height), 0.0
    for end, rows in table.groupby("end", sort=False):
        sketch.text(TEXT, top + 0.18, str(end), fontsize=8.5, fontweight="bold")
        for number, (_, own) in enumerate(rows.iterrows()):
            line, column = divmod(number, settings.columns)
            above = top + _HEAD + line * row
            middle = LEFT + (column + 0.5) * cell
            _picture(part, own, (middle - side / 2, above, side), height)
            for place, words in enumerate(_said(own)):
                sketch.text(
                    middle, above + side + _LINE * (place + 1), words, ha="center",
                    fontsize=_WORDS, color=style.GREY if place else "black",
                )  # fmt: skip
        top += _HEAD + row * down
    return figure


def _picture(
    part: Any, row: "pd.Series[Any]", place: tuple[float, float, float], page: float
) -> None:
    """Draw a picture into a square, `place` = (left, top, side) in inches."""
    left, top, side = place
    axes = part.add_axes(
        (left / style.WIDTH, 1 - (top + side) / page, side / style.WIDTH, side / page)
    )
    axes.set_axis_off()
    axes.imshow(_pixels(row), cmap="gray_r", interpolation="nearest")


def _pixels(row: "pd.Series[Any]") -> NDArray[np.uint8]:
    shape = tuple(int(side) for side in str(row["shape"]).split(","))
    image = np.frombuffer(bytes(row["picture"]), np.uint8).reshape(shape)
    return image.transpose(1, 2, 0) if shape[0] == 3 else image[0]


def _said(row: "pd.Series[Any]") -> tuple[str, str]:
    interval = f"{row['risk']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    return str(row["class_name"])[:18], interval


def _lines(
    settings: RiskSheet, result: AttackResult, table: pd.DataFrame, notes: list[str]
) -> Figure:
    height = 0.24 + 2 * 0.30 + LINE * len(table) + 0.1
    figure, part = style.sheet(
        settings.title, told(result),
        [*notes, "What a record holds: the features by which it differs most from the "
         "mean of all, or its first words."],
        height=height,
    )  # fmt: skip
    sketch = Sketch(part, height)
    sketch.rule(0.04, heavy=True)
    heads = ((_CLASS, "class"), (_RISK, "risk, 95% interval"), (_WHAT, "what it holds"))
    for x, head in heads:
        sketch.text(x, 0.18, head, fontweight="bold")
    sketch.rule(0.24)
    y = 0.24
    for end, rows in table.groupby("end", sort=False):
        sketch.text(TEXT, y + 0.2, str(end), color=style.GREY)
        y += 0.26
        for number, (_, row) in enumerate(rows.iterrows()):
            if number % 2 == 0:
                sketch.shade(y, LINE)
            name, interval = _said(row)
            for x, words in ((_CLASS, name), (_RISK, interval), (_WHAT, row["words"])):
                words = textwrap.shorten(str(words), _CHARACTERS, placeholder=" ...")
                sketch.text(x, y + LINE * 0.8, words)
            y += LINE
        y += 0.04
    sketch.rule(y, heavy=True)
    return figure
