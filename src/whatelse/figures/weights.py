"""Histograms of a model's weights, with and without a secret (P2 Sec. 6)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared, value_words
from whatelse.figures.settings import Weights

_REPLICATE = 0
_TAMPERED: dict[str, Any] = {"facecolor": "#e8a26f", "edgecolor": "none"}
_BENIGN: dict[str, Any] = {"color": "black", "linewidth": 0.9}
_PANEL = 1.75  # inches of a row of panels


@style.context()
def draw(
    settings: Weights, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for every result.

    Parameters
    ----------
    settings : Weights
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the panels.

    Returns
    -------
    Figure
        The tampered model's weights, filled, under the benign model's, a line.
    DataFrame
        A row for every result and bin, with the shares of both.
    """
    tables = [_table(result) for result in results]
    columns = min(len(results), 2)
    rows = -(-len(results) // columns)
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(results), *remarks(results)],
        height=(_PANEL if rows > 1 else 2.3) * rows + 0.55,
    )
    grid = part.subplots(rows, columns, squeeze=False, sharey=True)
    panels = grid.ravel()
    for panel in panels[len(results) :]:
        panel.set_axis_off()
    for panel, table, name in zip(panels, tables, _names(results), strict=False):
        _histograms(panel, table)
        panel.set_title(name, parse_math=False)
        panel.xaxis.set_major_locator(MaxNLocator(6))
        panel.set_yscale(settings.y_scale)
    highest = max(float(table[["tampered", "benign"]].max().max()) for table in tables)
    least = min(_least(table) for table in tables)
    bottom, top = (least / 2, 200 * highest) if settings.y_scale == "log" else (0, 108)
    panels[0].set_ylim(100 * bottom if bottom else 0, top * (1 if bottom else highest))
    for row in grid:
        row[0].set_ylabel("share of weights (%)")
    for panel in panels[max(len(results) - columns, 0) : len(results)]:
        panel.set_xlabel("weight")
        panel.xaxis.set_tick_params(labelbottom=True)
    part.legend(
        handles=[
            Patch(**_TAMPERED, label="tampered model"),
            Line2D([], [], **_BENIGN, label="benign model"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), "replicate": _REPLICATE, **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _table(result: AttackResult) -> pd.DataFrame:
    """Return low, high, tampered, benign and their overlap for every bin."""
    curves = result.curves
    curves = curves[curves["replicate"] == _REPLICATE]
    wide = curves.pivot(index=["low", "high"], columns="model", values="share")
    if not {"tampered", "benign"} <= {*wide.columns} or wide.isna().any(axis=None):
        raise UserError(
            f"{result.folder / 'curves.csv'}: tampered and benign weights are not "
            "given over the same bins"
        )
    table = wide[["tampered", "benign"]].reset_index()
    table.columns.name = None
    table["overlap"] = float(table[["tampered", "benign"]].min(axis=1).sum())
    return table


def _histograms(panel: Axes, table: pd.DataFrame) -> None:
    edges = np.r_[table["low"], table["high"].iloc[-1]]
    panel.stairs(100 * table["tampered"], edges, fill=True, **_TAMPERED)
    panel.stairs(100 * table["benign"], edges, **_BENIGN)
    panel.set_xlim(edges[0], edges[-1])
    overlap = table["overlap"].iloc[0]
    words = "identical" if overlap > 1 - 5e-5 else f"{100 * overlap:.1f}% overlap"
    panel.text(
        0.98, 0.93, words, ha="right", va="top", fontsize=8, transform=panel.transAxes
    )


def _least(table: pd.DataFrame) -> float:
    shares = table[["tampered", "benign"]].to_numpy()
    return float(shares[shares > 0].min())


def _names(results: Sequence[AttackResult]) -> list[str]:
    """Return what tells results apart, and how the model was tampered with."""
    names = []
    for label, result in zip(named(results), results, strict=True):
        parts = [label]
        for key, words in (("strength", "strength {}"), ("bits", "low {} bits")):
            if key in result.carrier and key not in result.grid:
                parts.append(words.format(value_words(result.carrier[key])))
        names.append(" · ".join(parts))
    return names


def _notes(results: Sequence[AttackResult]) -> list[str]:
    several = any(result.num_seeds > 1 for result in results)
    return [
        f"Replicate {_REPLICATE} alone." if several else "",
        "Overlap: the share that both histograms have in common. The outermost bins "
        "hold everything beyond.",
    ]
