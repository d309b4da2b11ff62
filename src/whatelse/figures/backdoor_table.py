"""Table of backdoors, and of what defences do against them (P4)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table, share
from whatelse.figures.results import AttackResult, percent, points
from whatelse.figures.settings import BackdoorTable

_MAIN, _BACKDOOR, _SERVER = "main accuracy", "backdoor accuracy", "malicious"
_DRAWN = "backdoor, shifted"
_ROUNDS = "{:,.1f}".format
_COLUMNS = {
    "main_before": share(_MAIN, "before"),
    "main_change": Column(_MAIN, "change", "points", points, percent),
    "main_final": share(_MAIN, "end"),
    "backdoor_before": share(_BACKDOOR, "before"),
    "backdoor_after": share(_BACKDOOR, "after"),
    "backdoor_mean": share(_BACKDOOR, "mean"),
    "backdoor_final": share(_BACKDOOR, "end"),
    "rounds_kept": Column(_BACKDOOR, "kept", "rounds", _ROUNDS, _ROUNDS),
    "own_backdoor": share(_BACKDOOR, "own"),
    "spill_after": share("spill", "after"),
    "drawn_after": share(_DRAWN, "after"),
    "drawn_mean": share(_DRAWN, "mean"),
    "drawn_lowest": share(_DRAWN, "least"),
    "drawn_final": share(_DRAWN, "end"),
    "norm_ratio": Column(_SERVER, "length", "ratio", "{:,.1f}".format, None),
    "taken": share(_SERVER, "taken"),
}
# What gives way where images are tested shifted too: more columns would run together.
# Lengths are in the figure of updates.
_FEWER = ("backdoor_before", "backdoor_mean", "backdoor_final", "norm_ratio")
_NOTES = {
    "main_change": "Before and after: the first round of the attack. Mean: over all "
    "rounds from then on, over all rounds where attackers are selected by lot.",
    "backdoor_after": "Backdoor accuracy: share of held-out backdoor records that get "
    "the attackers' label.",
    "rounds_kept": "Kept: rounds from when half of the records get it until fewer do; "
    "at most those that there were.",
    "drawn_after": "Shifted: of the same images, moved and mirrored by lot; least: of "
    "all models since, right after the attack included.",
    "own_backdoor": "Own: of the model that attackers trained, before it was sent.",
    "spill_after": "Spill: share of ordinary held-out records of the backdoor's true "
    "class that get the attackers' label right after.",
    "norm_ratio": "Length: L2 norm of malicious changes to that of benign ones "
    "of the same rounds, medians.",
    "taken": "Taken: how much of a malicious change the server took, 100% as of a "
    "benign one without a defence.",
}


@style.context()
def draw(
    settings: BackdoorTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : BackdoorTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds.
    DataFrame
        The same numbers unrounded, with the 95% interval of each mean.
    """
    shifted = any(result.mean("drawn_after") is not None for result in results)
    columns = {
        name: column
        for name, column in _COLUMNS.items()
        if not (shifted and name in _FEWER)
    }
    return draw_table(settings.title, settings.caption, results, columns, _NOTES)
