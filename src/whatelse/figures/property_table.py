"""Table of how well properties were inferred (P3 Table 3)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table, share
from whatelse.figures.results import AttackResult
from whatelse.figures.settings import PropertyTable

_PLAIN = "{:.3f}".format
_MODEL, _ATTACK = "joint model", "attack"


def _epsilon(value: float) -> str:
    """Return one that may promise nothing, whose digits then say nothing either."""
    return f"{value:.1f}" if value < 1000 else f"{value:.0e}"


_COLUMNS = {
    "task_correlation": Column("", "corr.", "", _PLAIN, None),
    "task_pearson": Column("", "r", "", "{:+.3f}".format, None),
    "train_accuracy": share(_MODEL, "train acc."),
    "test_accuracy": share(_MODEL, "test acc."),
    "alone_test_accuracy": share(_MODEL, "test alone"),
    "task_majority": share(_MODEL, "majority"),
    "epsilon": Column(_MODEL, "epsilon", "", _epsilon, None),
    "words_seen": Column(_ATTACK, "words seen", "", "{:,.0f}".format, None),
    "dense_rounds": share(_ATTACK, "dense rounds"),
    "precision": share(_ATTACK, "precision"),
    "recall": share(_ATTACK, "recall"),
    "auc": Column(_ATTACK, "AUC", "", _PLAIN, _PLAIN),
    "score_with": Column(_ATTACK, "score with", "", _PLAIN, _PLAIN),
    "score_without": Column(_ATTACK, "score without", "", _PLAIN, _PLAIN),
    "score_run": Column(_ATTACK, "score run", "", _PLAIN, _PLAIN),
}
_NOTES = {
    "task_correlation": "Corr.: Cramer's V of task and property over the participants' "
    "records, 0 is unrelated.",
    "task_pearson": "R: Pearson's, signed; the later of two classes and the property "
    "count as 1.",
    "alone_test_accuracy": "Test, alone: of joint models without an adversary among "
    "them. Their records are dealt by lot and their batches never of the property "
    "alone, so that the difference is that of the arrangement as well as of the "
    "adversary.",
    "task_majority": "Majority: always saying the participants' commonest class, on "
    "the records tested on.",
    "epsilon": "Epsilon: of participants' differential privacy, at the study's delta.",
    "words_seen": "Words seen: that others' batches moved in a round, mean.",
    "dense_rounds": "Dense rounds: in which more words moved than a batch can have, "
    "which says nothing of members.",
    "precision": "Precision and recall: of calling records members; half of those "
    "asked about are.",
    "auc": "AUC: of telling updates that a batch with the property went into, or "
    "members from strangers.",
    "score_with": "Score: of such updates, of all others, and of all in a run, mean, 0 "
    "to 1.",
}


@style.context()
def draw(
    settings: PropertyTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : PropertyTable
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
    shown = {
        # of interest where whole runs are told apart, which have no AUC
        "score_run": any(result.mean("auc") is None for result in results),
        "dense_rounds": any(result.mean("dense_rounds") for result in results),
    }
    columns = {k: v for k, v in _COLUMNS.items() if shown.get(k, True)}
    return draw_table(settings.title, settings.caption, results, columns, _NOTES)
