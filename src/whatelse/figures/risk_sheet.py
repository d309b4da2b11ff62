"""The most and the least exposed records, as they are."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, remarks
from whatelse.figures.risk import only, told
from whatelse.figures.settings import RiskSheet
from whatelse.figures.sketch import LINE, TEXT, Sketch

_ROW = 0.98  # inches of a row of pictures with two lines below
_HEAD = 0.26
_WORDS = 6.4  # points
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
    names = [group["name"] for group in result.replicates[0]["per_class"]]
    of_class = dict(
        zip(
            [group["class"] for group in result.replicates[0]["per_class"]],
            names, strict=True,
        )
    )  # fmt: skip
    table = pd.concat(
        [rows.assign(end=end) for end, rows in ends.items()], ignore_index=True
    )
    table["class_name"] = table["label"].map(of_class)
    notes = [
        settings.caption,
        "Below each record its class and its risk: the chance that a model trained on "
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
    down = -(-(len(table) // 2) // settings.columns)
    part: SubFigure
    figure, part = style.sheet(
        settings.title, told(result), notes, height=2 * (_ROW * down + _HEAD)
    )
    sheets: Any = part.subfigures(2, 1)
    for sheet, (end, rows) in zip(
        sheets, table.groupby("end", sort=False), strict=True
    ):
        sheet.suptitle(f"{end}", fontsize=8.5, fontweight="bold", x=0.014, ha="left")
        panels = sheet.subplots(down, settings.columns, squeeze=False).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, (_, row) in zip(panels, rows.iterrows(), strict=False):
            _picture(panel, row)
    return figure


def _picture(panel: Axes, row: "pd.Series[Any]") -> None:
    panel.imshow(_pixels(row), cmap="gray_r", interpolation="nearest")
    for line, words in enumerate(_said(row)):
        panel.text(
            0.5, -0.06 - 0.2 * line, words, transform=panel.transAxes, ha="center",
            va="top", fontsize=_WORDS, parse_math=False,
        )  # fmt: skip


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
