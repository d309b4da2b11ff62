"""Table of what privacy costs, and of what audits find of it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table, rough_marks, share
from whatelse.figures.results import AttackResult
from whatelse.figures.settings import PrivacyTable
from whatelse.measures.rough import LEGEND

_PLAIN = "{:.3f}".format
_SHORT = "{:,.2f}".format
_MODEL, _ATTACK, _EPSILON = "target model", "attack", "epsilon"
_COLUMNS = {
    "train_accuracy": share(_MODEL, "train acc."),
    "test_accuracy": share(_MODEL, "test acc."),
    "auc": Column(_ATTACK, "AUC", "", _PLAIN, _PLAIN),
    "tpr_at_0.01": share(_ATTACK, "TPR, 1%"),
    "epsilon": Column(_EPSILON, "promised", "", _SHORT, None),
    "epsilon_lower": Column(_EPSILON, "at least", "", _SHORT, _SHORT),
}
_NOTES = {
    "tpr_at_0.01": "TPR, 1%: the true-positive rate at 1% false ones.",
    "epsilon": "Promised: what was spent of the training's differential privacy, by "
    "the accountant.",
    "epsilon_lower": "At least: the lower bound that the attack proves, by canaries, "
    "at its delta and confidence.",
}


@style.context()
def draw(
    settings: PrivacyTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : PrivacyTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds.
        A true-positive rate whose threshold lets fewer than five non-members pass is
        marked.
    DataFrame
        The same numbers unrounded, with the 95% interval of each mean.
    """
    marks = rough_marks(results, _COLUMNS)
    notes = dict(_NOTES)
    if marks:
        notes["tpr_at_0.01"] += f" {LEGEND}"
    return draw_table(
        settings.title, settings.caption, results, _COLUMNS, notes, marks=marks
    )
