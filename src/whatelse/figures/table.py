"""Table of target accuracy and attack success (P1 Tables II and III)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table, rough_marks
from whatelse.figures.results import AttackResult, named
from whatelse.figures.settings import Table
from whatelse.measures.rough import LEGEND


def _three(value: float) -> str:
    return f"{value:.3f}"


def _column(group: str, head: str) -> Column:
    return Column(group, head, "", _three, _three)


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


_COLUMNS = {
    "train_accuracy": _column("target model", "train acc."),
    "test_accuracy": _column("target model", "test acc."),
    "accuracy": _column("attack", "acc."),
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
_QUERIES = {
    "queries": Column("queries", "attack", "", _count, None),
    "synthesis_queries": Column("queries", "shadow data", "", _count, _count),
}
_TPR = "TPR: true-positive rate at that false-positive rate."
_NOTES = {
    "best_balanced_accuracy": "balanced acc.: mean of the shares of members and of "
    "non-members that are told, at the threshold where it is largest, which no "
    "adversary knows.",
    "queries": "Queries, attack: answers of the target that are read for each record.",
    "synthesis_queries": "Queries, shadow data: of the target, for each record that "
    "was made for shadows.",
}
_ONE_QUERY = "One answer of the target is read for each record."
_MISSING = "not known, or the sample cannot tell"


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
        whose threshold lets fewer than five non-members pass is marked. Queries are
        said below if there is one for each record; how often the target was asked to
        make records for shadows always is.
    DataFrame
        The same numbers unrounded, with the 95% interval of each mean.
    """
    columns = {name: _COLUMNS[name] for name in settings.metrics} | _QUERIES
    rates = [
        name
        for name in columns
        if name.startswith("tpr_at_") and any(r.mean(name) is not None for r in results)
    ]
    marks = rough_marks(results, rates)
    notes = {name: f"{_TPR} {LEGEND}" if marks else _TPR for name in rates[:1]}
    more = _made(results)
    if {result.mean("queries") for result in results} == {1.0}:
        del columns["queries"]
        more = [_ONE_QUERY, *more]
    missing = _MISSING
    if any(result.mean("synthesis_queries") is not None for result in results):
        missing = f"does not apply, {_MISSING}"
    return draw_table(
        settings.title, settings.caption, results, columns,
        {**notes, **_NOTES}, marks=marks, missing=missing, more=more,
    )  # fmt: skip


def _made(results: Sequence[AttackResult]) -> list[str]:
    """Return how many records were made for shadows, and at what price, a line each."""
    lines = []
    for name, result in zip(named(results, data=False), results, strict=True):
        made = [own["shadow_data"] for own in result.replicates if "shadow_data" in own]
        if made:
            records, queries = (
                _range([own[what] for own in made]) for what in ("records", "queries")
            )
            lines.append(f"{name}: {records} records, {queries} queries a seed.")
    return lines


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
