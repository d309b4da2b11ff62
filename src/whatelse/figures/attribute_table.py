"""Table of what representations tell of an attribute (ICLR 2020, Table 2)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import draw_table, share
from whatelse.figures.results import AttackResult
from whatelse.figures.settings import AttributeTable

_TOLD = "attribute, from the representation"
_COLUMNS = {
    "test_accuracy": share("", "task acc."),
    "attribute_accuracy": share(_TOLD, "accuracy"),
    "decensored_accuracy": share(_TOLD, "de-censored"),
    "attribute_majority": share(_TOLD, "majority"),
}
_NOTES = {
    "decensored_accuracy": "De-censored: after a map to the representations of a net "
    "of the attacker's own, uncensored.",
}


@style.context()
def draw(
    settings: AttributeTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : AttributeTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds.
    DataFrame
        The same numbers as shares of 1, unrounded, with the 95% interval of each mean.
    """
    return draw_table(settings.title, settings.caption, results, _COLUMNS, _NOTES)
