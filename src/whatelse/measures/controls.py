"""Tests for the positive and negative controls that run with every attack."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from whatelse.measures import _checks
from whatelse.measures.rates import Rate
from whatelse.measures.roc import auc


class Control(TypedDict):
    """What ``metrics.json`` says of a control."""

    what: str
    auc: Rate | None
    p_value: float


def control_of(what: str, scores: ArrayLike, member: ArrayLike) -> Control:
    """Return how well scores tell what is known, and whether that is by chance.

    Parameters
    ----------
    what : str
        What stands in the place of members and non-members.
    scores, member
        As for `exchange_test`.
    """
    return {
        "what": what,
        "auc": auc(scores, member),
        "p_value": exchange_test(scores, member),
    }


def exchange_test(scores: ArrayLike, member: ArrayLike) -> float:
    """Test whether members and non-members could be exchanged, by their scores.

    The null hypothesis of the negative control: the "members" are fresh
    non-members, so both columns come from one distribution.

    Parameters
    ----------
    scores : array_like of float, shape (num_records,)
        Infinite scores are allowed, NaN is not.
    member : array_like of bool, shape (num_records,)
        True where the record was sent through the pipeline as a member.

    Returns
    -------
    float
        Two-sided p-value of the Mann-Whitney test: exact for small samples without
        ties, else normal with the correction for ties. 1 where all scores are equal.

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    ValueError
        If the lengths differ or a column has the wrong shape or type.
    """
    # Half a second to import, and only controls need it.
    from scipy.stats import mannwhitneyu

    values, kinds = _checks.scored(scores, member)
    # Ranks in place of values: the test uses no more, and infinities become finite.
    distinct, ranks = np.unique(values, return_inverse=True)
    if len(distinct) == 1:
        return 1.0
    return float(mannwhitneyu(ranks[kinds], ranks[~kinds]).pvalue)


def holm(
    p_values: Sequence[float], alpha: float = 0.05
) -> tuple[list[float], list[bool]]:
    """Correct the p-values of a study's controls by Holm's step-down method.

    Parameters
    ----------
    p_values : sequence of float
        One a control, each in [0, 1]; may be empty.
    alpha : float, optional
        The chance, over all of them together, of rejecting a true null hypothesis.

    Returns
    -------
    adjusted : list of float
        Corrected p-values, in the order given.
    rejected : list of bool
        True where the corrected p-value is at most `alpha`.

    Raises
    ------
    ValueError
        If a p-value is outside [0, 1] or NaN, or `alpha` outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must be in (0, 1), is {alpha}")
    for value in p_values:
        if not 0 <= value <= 1:
            raise ValueError(f"p_values: must be in [0, 1], one is {value}")
    if not len(p_values):
        return [], []
    # A second to import.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(list(p_values), method="holm")[1].tolist()
    return adjusted, [value <= alpha for value in adjusted]
