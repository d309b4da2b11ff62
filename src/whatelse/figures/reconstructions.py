"""Pictures that were hidden in models, above what came out (P2 Sec. 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    grey_levels,
    named,
    points,
    remarks,
    shared,
)
from whatelse.figures.settings import Reconstructions
from whatelse.figures.sketch import LINE, RIGHT, TEXT, Sketch, wrap_parts

_LABEL_CHARACTERS = 21
_ROWS = 1.78  # inches from the left edge to the pictures
_GAP = 0.035  # inches between pictures
_PAIR_GAP = 0.13  # inches between attacks
_TALLEST = 0.62  # inches of a picture


@dataclass(frozen=True)
class _Shown:
    """The rows of one attack: what was hidden and what came out."""

    rows: pd.DataFrame
    truth: NDArray[np.uint8]
    decoded: NDArray[np.uint8]
    records: int
    change: float | None
    mape: float
    decoder: str


@style.context()
def draw(
    settings: Reconstructions, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a pair of rows for every result: hidden pictures above decoded ones.

    Parameters
    ----------
    settings : Reconstructions
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The first pictures of one seed, in the order in which they were hidden.
    DataFrame
        A row for every picture shown, with the means over all records of its seed.

    Raises
    ------
    UserError
        If an attack hid text, or has no such replicate.
    """
    shown = [_read(settings, result) for result in results]
    names = [wrap_parts(name, _LABEL_CHARACTERS) for name in named(results)]
    sizes = [_size(own, settings.columns) for own in shown]
    heights = [
        max(2 * size[1] + _GAP, LINE * (len(lines) + 3))
        for size, lines in zip(sizes, names, strict=True)
    ]
    height = 0.04 + sum(heights) + _PAIR_GAP * (len(shown) - 1) + 0.06
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(settings, results, shown), *remarks(results)],
        height=height,
    )
    sketch = Sketch(part, height)
    top = 0.04
    for own, lines, size, room in zip(shown, names, sizes, heights, strict=True):
        said = [
            *((line, {"fontweight": "bold"}) for line in lines),
            *((line, {"color": style.GREY}) for line in _words(own)),
        ]
        for index, (line, look) in enumerate(said):
            sketch.text(TEXT, top + LINE * (index + 0.75), line, **look)
        width, tall = size
        for row, (name, pictures) in enumerate(
            (("hidden", own.truth), ("decoded", own.decoded))
        ):
            above = top + row * (tall + _GAP)
            sketch.text(
                _ROWS - 0.06,
                above + tall / 2 + 0.03,
                name,
                ha="right",
                fontsize=6.6,
                color=style.GREY,
            )
            _strip(part, pictures, (_ROWS, above, width, tall), height)
        top += room + _PAIR_GAP
    return figure, pd.concat(
        [
            _table(result, own, settings.replicate)
            for result, own in zip(results, shown, strict=True)
        ],
        ignore_index=True,
    )


def _read(settings: Reconstructions, result: AttackResult) -> _Shown:
    """Return the first records of the main decoder, which is first in the file."""
    seeds = [replicate["replicate"] for replicate in result.replicates]
    if settings.replicate not in seeds:
        raise UserError(
            f"replicate: attack {result.name!r} has no replicate "
            f"{settings.replicate}; allowed: {', '.join(map(str, seeds))}"
        )
    scores = result.scores
    if len(scores) and "," not in scores["shape"].iloc[0]:
        raise UserError(
            f"attacks: {result.name!r} hid text; allowed: attacks that hid pictures"
        )
    scores = scores[scores["replicate"] == settings.replicate]
    scores = scores[scores["decoder"] == scores["decoder"].iloc[0]]
    rows = scores.head(settings.columns)
    changes = result.summary.get("accuracy_change") or {}
    return _Shown(
        rows,
        _pictures(rows, "truth"),
        _pictures(rows, "decoded"),
        len(scores),
        changes["values"][seeds.index(settings.replicate)] if changes else None,
        float(scores["mape"].mean()),
        str(rows["decoder"].iloc[0]),
    )


def _pictures(rows: pd.DataFrame, column: str) -> NDArray[np.uint8]:
    """Return pictures, shape (rows, height, width)."""
    height, width = map(int, rows["shape"].iloc[0].split(","))
    levels = np.frombuffer(b"".join(rows[column]), np.uint8)
    return levels.reshape(len(rows), height, width)


def _size(own: _Shown, columns: int) -> tuple[float, float]:
    """Return width and height of a picture in inches.

    A whole number of the page's pixels for each of the picture's, where it has so
    many: else some of its rows would be drawn thicker than others.
    """
    _, height, width = own.truth.shape
    most = (RIGHT - _ROWS + _GAP) / columns - _GAP
    scale = min(most / width, _TALLEST / height)
    whole = int(scale * style.DPI)
    if whole:
        scale = whole / style.DPI
    return scale * width, scale * height


def _strip(
    part: Any,
    pictures: NDArray[np.uint8],
    place: tuple[float, float, float, float],
    page: float,
) -> None:
    """Draw pictures side by side, the first `place` = (left, top, width, height)."""
    left, top, width, height = place
    reach = (width + _GAP) * len(pictures) - _GAP
    axes = part.add_axes(
        (
            left / style.WIDTH,
            1 - (top + height) / page,
            reach / style.WIDTH,
            height / page,
        )
    )
    axes.set_axis_off()
    for index, picture in enumerate(pictures):
        start = index * (width + _GAP)
        axes.imshow(
            picture,
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest",
            extent=(start, start + width, 0, height),
            aspect="auto",
        )
    axes.set_xlim(0, reach)
    axes.set_ylim(0, height)


def _words(own: _Shown) -> list[str]:
    change = "not known" if own.change is None else f"{points(own.change)} points"
    return [f"accuracy {change}", f"MAPE {grey_levels(own.mape)}"]


def _notes(
    settings: Reconstructions,
    results: Sequence[AttackResult],
    shown: Sequence[_Shown],
) -> list[str]:
    counts = list(dict.fromkeys(f"{own.records:,}" for own in shown))
    first = max(len(own.rows) for own in shown)
    if len(counts) > 1:
        each = zip(named(results), shown, strict=True)
        counts = [f"{label}: of {own.records:,}" for label, own in each]
        which = f"the first {first} records hidden ({', '.join(counts)})"
    else:
        which = f"the first {first} of {counts[0]} records hidden"
    seed = f"replicate {settings.replicate}"
    others = dict.fromkeys(
        f"Decoder of {result.name}: {own.decoder}."
        for result, own in zip(results, shown, strict=True)
        if own.decoder not in ("bits", "published")
    )
    return [
        f"Shown: {which}, in the order of hiding, none selected; {seed}.",
        "Accuracy: test accuracy against a model without a secret. MAPE: mean absolute "
        "error of a pixel in grey levels (0–255; 0: exact), over all records hidden.",
        *others,
    ]


def _table(result: AttackResult, own: _Shown, replicate: int) -> pd.DataFrame:
    kept = [name for name in ("decoder", "record", "mape", "ssim") if name in own.rows]
    return pd.DataFrame(
        [
            {
                **result.identity(),
                "replicate": replicate,
                "column": column,
                **row,
                "records": own.records,
                "mape_of_all": own.mape,
                "accuracy_change": own.change,
            }
            for column, row in enumerate(own.rows[kept].to_dict("records"))
        ]
    )
