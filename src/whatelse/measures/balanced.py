"""The best balanced accuracy of a score, over all thresholds."""

import math

from whatelse.measures import _checks
from whatelse.measures.rates import Rate
from whatelse.measures.roc import Curve


def best_balanced_accuracy(
    curve: Curve, num_members: int, num_non_members: int, *, confidence: float = 0.95
) -> Rate:
    """Return the largest balanced accuracy of a threshold, with an interval.

    Balanced accuracy is the mean of the true-positive rate and of the share of
    non-members that are not accused; what LiRA's Table I gives is its maximum over
    thresholds (Carlini et al. 2022). That threshold is chosen with the truth, which no
    adversary has: an attack that decides by itself has `accuracy`.

    Parameters
    ----------
    curve : Curve
        All points, as `roc_curve` returns them: a threshold at each distinct score.
    num_members, num_non_members : int
        Independent records that it was taken from.
    confidence : float, optional
        Of the two-sided interval, in (0, 1).

    Returns
    -------
    Rate
        In [.5, 1]: a threshold above all scores has .5. The interval, over records
        (not over models), is of what the best threshold is truly worth.

    Raises
    ------
    ValueError
        If the confidence is out of range.

    Notes
    -----
    A maximum over thresholds is above .5 where nothing leaks: by
    ``sqrt(pi / 32) * sqrt(1 / members + 1 / non_members)`` on average, or .02 of 500
    of each, by the limit of the one-sided Kolmogorov-Smirnov statistic. The interval
    therefore reaches far down. At no threshold is the rate of members, or that of
    non-members, further from the truth than Massart's bound of Dvoretzky, Kiefer and
    Wolfowitz (Annals of Probability 18, 1990), with half of the error each, ties or
    none; so the maximum is not further off than the mean of both bounds.
    """
    error = _checks.error_probability(confidence)
    value = float((1 + (curve.tpr - curve.fpr).max()) / 2)
    reach = sum(
        math.sqrt(math.log(4 / error) / (2 * count)) / 2
        for count in (num_members, num_non_members)
    )
    return Rate(value=value, low=max(0.5, value - reach), high=min(1.0, value + reach))
