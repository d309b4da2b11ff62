"""Table of target accuracy and attack success (P1 Tables II and III)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table
from whatelse.figures.results import AttackResult, non_members
from whatelse.figures.settings import Table

_FEW = 5  # false positives


def _three(value: float) -> str:
    return f"{value:.3f}"


def _column(group: str, head: str) -> Column:
    return Column(group, head, "", _three, _three)


_RATES = {f"tpr_at_{rate:g}": rate for rate in (0.1, 0.01, 0.001, 0.0001, 0.00001)}
_COLUMNS = {
    "train_accuracy": _column("target model", "train acc."),
    "test_accuracy": _column("target model", "test acc."),
    "accuracy": _column("attack", "accuracy"),
    "precision": _column("attack", "precision"),
    "recall": _column("attack", "recall"),
    "auc": _column("attack", "AUC"),
    "best_balanced_accuracy": _column("attack", "balanced acc."),
    "tpr_at_0.1": _column("attack", "TPR 10%"),
    "tpr_at_0.01": _column("attack", "TPR 1%"),
    "tpr_at_0.001": _column("attack", "TPR 0.1%"),
    "tpr_at_0.0001": _column("attack", "TPR 0.01%"),
    "tpr_at_1e-05": _column("attack", "TPR 0.001%"),
}
_TPR = "TPR: true-positive rate at that false-positive rate."
_BEST = (
    "balanced acc.: mean of the shares of members and of non-members that are told, "
    "at the threshold where it is largest, which no adversary knows."
)


@style.context()
def draw(
    settings: Table, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : Table
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds. A true-positive rate
        whose threshold lets fewer than five non-members pass is marked.
    DataFrame
        The same numbers unrounded, with the 95% interval of each mean.
    """
    shown = [name for name in _RATES if any(r.mean(name) is not None for r in results)]
    marks = {
        (index, name): "*"
        for index, result in enumerate(results)
        for name in shown
        if result.mean(name) is not None and non_members(result) * _RATES[name] < _FEW
    }
    few = (
        f"*: fewer than {_FEW} false positives set the threshold, so the rate is rough."
    )
    asked = [name for name in settings.metrics if name in shown]
    marked = any(name in asked for _, name in marks)
    notes = {"best_balanced_accuracy": _BEST}
    notes |= {name: f"{_TPR} {few}" if marked else _TPR for name in asked[:1]}
    return draw_table(
        settings.title, settings.caption, results,
        {name: _COLUMNS[name] for name in settings.metrics}, notes, marks=marks,
        missing="not known, or the sample cannot tell",
    )  # fmt: skip
