"""Main and backdoor accuracy over the rounds of federated averaging (P4 Fig. 4)."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import Rounds

_PANEL = 2.0  # inches
_HEADS = {"main": "main task", "backdoor": "backdoor", "drawn": "backdoor, shifted"}
_SEED = 0.25  # opacity of a single seed


@style.context()
def draw(
    settings: Rounds, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel of the main task's accuracy above one of the backdoor's.

    Parameters
    ----------
    settings : Rounds
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        The mean over seeds, each seed faintly, and where the attack began.
    DataFrame
        A row for every result, seed and round.
    """
    tables = [_models(settings, result) for result in results]
    labels, looks = named(results), style.looks(len(results))
    figure, part = style.sheet(
        settings.title, shared(results),
        [settings.caption, *_notes(results), *remarks(results)],
        height=style.legend_height(labels, beside=2 * _PANEL),
    )  # fmt: skip
    panels = part.subplots(2, 1, sharex=True)
    for panel, column in zip(panels, ("main", settings.backdoor), strict=True):
        for table, look in zip(tables, looks, strict=True):
            _lines(panel, table, column, look)
        panel.set_ylabel(f"accuracy, {_HEADS[column]}")
    panels[1].set_ylim(-0.03, 1.03)
    for start in sorted({_start(table) for table in tables}):
        for panel in panels:
            panel.axvline(start, color=style.GREY, linestyle=":", linewidth=0.9)
    panels[1].set_xlabel("rounds since the start")
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(part, labels, [replace(look, marker="") for look in looks])
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def _models(settings: Rounds, result: AttackResult) -> pd.DataFrame:
    rows = result.curves
    if settings.backdoor not in rows:
        raise UserError(
            f"backdoor: {settings.backdoor}; allowed with {result.name!r}: backdoor "
            "(drawn needs models with adversary.draws)"
        )
    kept = [
        name
        for name in ("replicate", "round", "attacked", "main", "backdoor", "drawn")
        if name in rows
    ]
    return rows.loc[rows["what"] == "model", kept].reset_index(drop=True)


def _lines(panel: Axes, table: pd.DataFrame, column: str, look: style.Look) -> None:
    wide = table.pivot(index="round", columns="replicate", values=column)
    if wide.shape[1] > 1:
        for seed in wide:
            panel.plot(
                wide.index, wide[seed], color=look.color, linewidth=0.7, alpha=_SEED
            )
    panel.plot(
        wide.index, wide.mean(axis=1), color=look.color, linestyle=look.linestyle
    )


def _start(table: pd.DataFrame) -> float:
    """Return the middle of the first round of an attack."""
    return float(table.loc[table["attacked"].astype(bool), "round"].min()) - 0.5


def _notes(results: Sequence[AttackResult]) -> list[str]:
    several = any(result.num_seeds > 1 for result in results)
    return [
        "Dotted: the first attack.",
        "Lines are means over seeds, faint ones single seeds." if several else "",
        "Backdoor: share of held-out backdoor records that get the attackers' label; "
        "main task: accuracy on held-out records without a backdoor.",
    ]
