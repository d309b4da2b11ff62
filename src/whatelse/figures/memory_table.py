"""Table of a model's accuracy and of how well its secret was read (P2's tables)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.columns import Column, draw_table, share
from whatelse.figures.results import AttackResult, grey_levels, percent, points
from whatelse.figures.settings import MemoryTable

_MODEL, _READ, _HIDDEN = "model", "what was read out of it", ""


def _levels(head: str, unit: str) -> Column:
    return Column(_READ, head, unit, grey_levels, grey_levels)


_COLUMNS = {
    "test_accuracy": share(_MODEL, "test acc."),
    "accuracy_change": Column(_MODEL, "change", "points", points, percent),
    "bit_error_rate": share(_READ, "bit errors"),
    "mape": _levels("MAPE", "0–255"),
    "mape_published": _levels("MAPE", "min–max"),
    "mape_floor": _levels("MAPE", "floor"),
    "ssim": Column(_READ, "SSIM", "", "{:.3f}".format, "{:.3f}".format),
    "token_precision": share(_READ, "tokens right"),
    "token_recall": share(_READ, "tokens found"),
    "cosine_similarity": Column(_READ, "cosine", "", "{:.3f}".format, "{:.3f}".format),
    "records": Column(_HIDDEN, "records hidden", "", "{:,.0f}".format, None),
    "capacity_used": share(_HIDDEN, "capacity used"),
}
_NOTES = {
    "accuracy_change": "Change: test accuracy minus that of a model without a secret.",
    "mape": "MAPE: mean absolute error of a pixel in grey levels, 0 is exact.",
    "mape_published": "Min–max: with the published decoder in place of the robust one.",
    "mape_floor": "Floor: what cutting pixels to fewer bits costs by itself.",
    "token_recall": "Tokens right: of those decoded; found: of those hidden.",
    "cosine_similarity": "Cosine: of documents as bags of words, whatever the order.",
    "capacity_used": "Capacity used: what the secret takes of the bits or values that "
    "the model, or the labels, could carry.",
}


@style.context()
def draw(
    settings: MemoryTable, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for every result.

    Parameters
    ----------
    settings : MemoryTable
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the rows.

    Returns
    -------
    Figure
        The table, as mean and standard deviation over seeds, with the columns that
        any row has.
    DataFrame
        The same numbers as shares of 1, unrounded, with the 95% interval of each mean.
    """
    return draw_table(settings.title, settings.caption, results, _COLUMNS, _NOTES)
