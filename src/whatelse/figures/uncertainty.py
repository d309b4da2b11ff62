"""How sure a target is of its members and of others."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import Uncertainty

_MOST = 6
_EDGES = np.linspace(0.0, 1.0, 21)
_PANELS = {
    "true_probability": "probability of the true class",
    "entropy": "entropy of the answer (1: uniform)",
}
_MEMBERS, _OTHERS = (look.color for look in style.looks(2))


@style.context()
def draw(
    settings: Uncertainty, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw the answers for members and non-members, a row for every result.

    P1 Fig. 12: where the two differ, there is something that an attack can learn.

    Parameters
    ----------
    settings : Uncertainty
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        Two panels a result, all seeds pooled.
    DataFrame
        A row for every result, measure and bin, with the shares of both.

    Raises
    ------
    UserError
        If an attack has not kept the target's answers, or there are too many.
    """
    if len(results) > _MOST:
        raise UserError(f"attacks: {len(results)} results; allowed: at most {_MOST}")
    tables = [_table(result) for result in results]
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [
            settings.caption,
            "Shares of the records of all seeds; overlap: what both have in common.",
            *remarks(results),
        ],
        height=1.65 * len(results) + 0.75,
    )
    grid = part.subplots(len(results), 2, squeeze=False, sharex="col")
    for row, table, name in zip(grid, tables, named(results), strict=True):
        for panel, (measure, words) in zip(row, _PANELS.items(), strict=True):
            own = table[table["measure"] == measure]
            panel.stairs(
                100 * own["members"], _EDGES, fill=True, color=_MEMBERS, alpha=0.55
            )
            panel.stairs(100 * own["non_members"], _EDGES, color=_OTHERS, linewidth=1.3)
            overlap = 100 * own[["members", "non_members"]].min(axis=1).sum()
            panel.text(
                0.5, 0.93, f"{overlap:.0f}% overlap", ha="center", va="top",
                fontsize=8, transform=panel.transAxes,
            )  # fmt: skip
            panel.set_xlim(0, 1)
            panel.set_ylim(0, 105)
            if panel in grid[-1]:
                panel.set_xlabel(words)
        row[0].set_title(name, loc="left", parse_math=False, fontsize=8)
        row[0].set_ylabel("share (%)")
    part.legend(
        handles=[
            Patch(facecolor=_MEMBERS, alpha=0.55, label="members"),
            Patch(facecolor="none", edgecolor=_OTHERS, label="non-members"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure, pd.concat(tables, ignore_index=True)


def _table(result: AttackResult) -> pd.DataFrame:
    scores = result.scores
    if not {*_PANELS} <= {*scores.columns}:
        raise UserError(
            f"attacks: {result.name} has not kept the target's answers; allowed: "
            "attacks that read them, e.g. membership.shadow and membership.threshold"
        )
    shares = {
        (measure, kind): np.histogram(scores.loc[chosen, measure], _EDGES)[0]
        / max(int(chosen.sum()), 1)
        for measure in _PANELS
        for kind, chosen in (
            ("members", scores["member"]),
            ("non_members", ~scores["member"]),
        )
    }
    return pd.concat(
        [
            pd.DataFrame(
                {
                    **result.identity(), "measure": measure, "low": _EDGES[:-1],
                    "high": _EDGES[1:], "members": shares[measure, "members"],
                    "non_members": shares[measure, "non_members"],
                }
            )
            for measure in _PANELS
        ],
        ignore_index=True,
    )  # fmt: skip
