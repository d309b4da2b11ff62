"""When a property occurs, by the attack's scores over time (P3 Fig. 5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import Timeline

_REPLICATE = 0
_WITH, _WITHOUT = style.looks(2)[1].color, style.looks(2)[0].color
_BAND = "#f6dcc9"
_PANEL = 1.7  # inches
_LEAST_SPAN = 0.2  # of a score's axis: of less, noise would look like something


@style.context()
def draw(
    settings: Timeline, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for every result.

    Parameters
    ----------
    settings : Timeline
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the panels.

    Returns
    -------
    Figure
        Mean scores of updates over windows of iterations, those with the property and
        those without; the background says when any had it.
    DataFrame
        A row for every result, window and kind of update.
    """
    tables = [_table(result, settings.window) for result in results]
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(settings, results), *remarks(results)],
        height=_PANEL * len(results) + 0.6,
    )
    panels = part.subplots(len(results), 1, squeeze=False, sharex=True).ravel()
    for panel, table, name, auc in zip(
        panels, tables, named(results), map(_auc, results), strict=True
    ):
        _panel(panel, table, settings.window)
        if len(results) > 1:
            panel.set_title(name, parse_math=False)
        if auc is not None:
            panel.set_title(f"AUC {auc:.3f}", loc="right")
        panel.set_ylabel("mean score")
    panels[-1].set_xlabel("iteration")
    part.legend(
        handles=[
            Line2D([], [], color=_WITH, label="updates with the property"),
            Line2D([], [], color=_WITHOUT, linestyle="--", label="all other updates"),
            Patch(facecolor=_BAND, label="the target's batches have it"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), "replicate": _REPLICATE, **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _auc(result: AttackResult) -> float | None:
    """Return the AUC of the replicate that is drawn, where it has one."""
    found = result.summary.get("auc")
    return None if found is None else float(found["values"][_REPLICATE])


def _table(result: AttackResult, window: int) -> pd.DataFrame:
    """Return the mean score of each window, of either kind of update."""
    scores = result.scores
    scores = scores[scores["replicate"] == _REPLICATE]
    start = scores["iteration"] // window * window
    grouped = scores.groupby([start.rename("start"), "has_it"])["score"]
    return grouped.agg(["mean", "count"]).reset_index()


def _panel(panel: Axes, table: pd.DataFrame, window: int) -> None:
    for start in table.loc[table["has_it"], "start"]:
        panel.axvspan(start, start + window, color=_BAND, linewidth=0, zorder=0)
    for has_it, color, dashes in ((True, _WITH, "-"), (False, _WITHOUT, "--")):
        own = table[table["has_it"] == has_it]
        # a gap in time is a gap in the line
        middle = own["start"].to_numpy(dtype=float) + window / 2
        mean = own["mean"].to_numpy()
        gaps = np.flatnonzero(np.diff(middle) > 1.5 * window) + 1
        panel.plot(
            np.insert(middle, gaps, np.nan),
            np.insert(mean, gaps, np.nan),
            color=color,
            linestyle=dashes,
        )
    low, high = table["mean"].min(), table["mean"].max()
    room = max(_LEAST_SPAN - (high - low), 0.1 * (high - low)) / 2
    panel.set_ylim(max(low - room, -0.02), min(high + room, 1.02))


def _notes(settings: Timeline, results: Sequence[AttackResult]) -> list[str]:
    several = any(result.num_seeds > 1 for result in results)
    return [
        f"Means over {settings.window} iterations"
        f"{', every panel by its own scale' if len(results) > 1 else ''}.",
        f"Replicate {_REPLICATE} alone." if several else "",
        "Score: what the classifier gives for the property, 0 to 1.",
    ]
