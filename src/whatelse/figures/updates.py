"""What a server sees of each change: its length and direction (P4 Sec. 4.3)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import Updates

_PANEL = 2.1  # inches
_ACROSS = 3
_BENIGN, _HOSTILE = "#9a9a9a", style.looks(2)[1].color


@style.context()
def draw(
    settings: Updates, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for every result, a point for every change of all seeds.

    Parameters
    ----------
    settings : Updates
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the panels.

    Returns
    -------
    Figure
        The length of each change, and its cosine with the mean of the others.
    DataFrame
        A row for every change.
    """
    tables = [_changes(result) for result in results]
    across = min(_ACROSS, len(results))
    down = -(-len(results) // across)
    several = any(r.replicates[0]["backdoor"]["attackers"] > 1 for r in results)
    figure, part = style.sheet(
        settings.title, shared(results),
        [
            settings.caption,
            "Length: L2 norm of a participant's change of the parameters. Cosine: with "
            "the mean change of the others of its round"
            + (", so that of attackers who share one is with one another." if several
               else "."),
            *remarks(results),
        ],
        height=_PANEL * down + 0.3,
    )  # fmt: skip
    panels = part.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for panel in panels.ravel()[len(results) :]:
        panel.set_visible(False)
    for panel, table, name in zip(panels.ravel(), tables, named(results), strict=False):
        _panel(panel, table)
        if len(results) > 1:
            panel.set_title(name, parse_math=False)
    for panel in panels.ravel()[max(len(results) - across, 0) : len(results)]:
        panel.set_xlabel("length of the change")
        panel.tick_params(labelbottom=True)  # where the row below is not full
    # One axis for all. Powers of ten alone would leave a narrow span without a number.
    norms = pd.concat([table["norm"] for table in tables])
    narrow = norms.max() < 30 * norms.min()
    axis = panels[0, 0].xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
    for panel in panels[:, 0]:
        panel.set_ylabel("cosine with the others")
    part.legend(
        handles=[
            Line2D([], [], color=_BENIGN, marker="o", linestyle="", label="benign"),
            Line2D([], [], color=_HOSTILE, marker="D", linestyle="", label="malicious"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _changes(result: AttackResult) -> pd.DataFrame:
    rows = result.curves
    kept = [
        "replicate", "round", "malicious", "participant", "norm", "cosine", "share",
    ]  # fmt: skip
    return rows.loc[rows["what"] == "change", kept].reset_index(drop=True)


def _panel(panel: Axes, table: pd.DataFrame) -> None:
    hostile = table["malicious"].astype(bool)
    for rows, color, marker, size in (
        (table[~hostile], _BENIGN, "o", 6),
        (table[hostile], _HOSTILE, "D", 22),
    ):
        panel.scatter(
            rows["norm"], rows["cosine"], s=size, color=color, marker=marker,
            linewidths=0,
        )  # fmt: skip
    panel.set_xscale("log")
