"""Backdoor images, and what the model says of each before and after (P4 Fig. 2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, data_words, named, remarks
from whatelse.figures.settings import BackdoorSheet

_ROW = 1.02  # inches of a row of pictures with two lines below
_HEAD = 0.28
_WORDS = 6.2  # points


@style.context()
def draw(
    settings: BackdoorSheet, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw rows of held-out backdoor images for every result.

    Parameters
    ----------
    settings : BackdoorSheet
        What is asked for.
    results : sequence of AttackResult
        At least one.

    Returns
    -------
    Figure
        The images of one seed in the order of their numbers, none selected.
    DataFrame
        A row for every image shown.

    Raises
    ------
    UserError
        If the records are no images.
    """
    tables = [_first(settings, result) for result in results]
    columns = _columns(settings, tables)
    downs = [-(-len(table) // columns) for table in tables]
    figure, part = style.sheet(
        settings.title,
        f"{data_words(results)} · replicate {settings.replicate} alone",
        [
            settings.caption,
            _about(tables, results),
            "In the order of their numbers, none selected; what the joint model says "
            "before the attack and right after, bold where it is what attackers want.",
            *remarks(results),
        ],
        height=_ROW * sum(downs) + _HEAD * len(results),
    )  # fmt: skip
    sheets = part.subfigures(
        len(results), 1, squeeze=False,
        height_ratios=[_ROW * down + _HEAD for down in downs],
    ).ravel()  # fmt: skip
    for sheet, result, table, down, name in zip(
        sheets, results, tables, downs, named(results), strict=True
    ):
        if len(results) > 1:
            sheet.suptitle(name, fontsize=8, parse_math=False)
        panels = sheet.subplots(down, columns, squeeze=False).ravel()
        wanted = result.replicates[settings.replicate]["backdoor"]["target"]
        for panel in panels:
            panel.set_axis_off()
        for panel, (_, row) in zip(panels, table.iterrows(), strict=False):
            _picture(panel, row, wanted)
    return figure, pd.concat(
        [
            pd.DataFrame(
                {**result.identity(), **table.drop(columns=["picture", "shape"])}
            )
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _columns(settings: BackdoorSheet, tables: Sequence[pd.DataFrame]) -> int:
    """Return as many columns as are asked for, or as the words below leave room for."""
    longest = max(
        len(str(said))
        for table in tables
        for said in (*table["before"], *table["after"])
    )
    inches = (len("before:  ") + longest) * _WORDS * 0.6 / 72
    return max(1, min(settings.columns, int(style.WIDTH / inches)))


def _about(tables: Sequence[pd.DataFrame], results: Sequence[AttackResult]) -> str:
    """Say which images these are, and what the attackers want of them."""
    true = sorted({str(name) for table in tables for name in table["true"]})
    wanted = sorted({str(r.replicates[0]["backdoor"]["target"]) for r in results})
    own = f"of class {true[0]}" if len(true) == 1 else "of several classes"
    return f"Held-out images {own}, which attackers want to be {' or '.join(wanted)}."


def _first(settings: BackdoorSheet, result: AttackResult) -> pd.DataFrame:
    rows = result.scores
    if "picture" not in rows:
        raise UserError(
            f"attacks: {result.name!r} has no images; allowed: attacks on images"
        )
    if settings.replicate >= result.num_seeds:
        raise UserError(
            f"replicate: {settings.replicate}; allowed: 0..{result.num_seeds - 1}"
        )
    own = rows[rows["replicate"] == settings.replicate]
    return own.sort_values("record").head(settings.rows * settings.columns)


def _picture(panel: Axes, row: "pd.Series[Any]", wanted: str) -> None:
    panel.imshow(_pixels(row), cmap="gray_r", interpolation="nearest")
    for line, when in enumerate(("before", "after")):
        said = str(row[when])
        panel.text(
            0.5, -0.05 - 0.19 * line, f"{when}: {said}", transform=panel.transAxes,
            ha="center", va="top", fontsize=_WORDS, parse_math=False,
            fontweight="bold" if said == wanted else "normal",
        )  # fmt: skip


def _pixels(row: "pd.Series[Any]") -> NDArray[np.uint8]:
    shape = tuple(int(side) for side in str(row["shape"]).split(","))
    image = np.frombuffer(bytes(row["picture"]), np.uint8).reshape(shape)
    return image.transpose(1, 2, 0) if shape[0] == 3 else image[0]
