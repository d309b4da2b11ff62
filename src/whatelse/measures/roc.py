"""The ROC of membership scores: the curve, its area, and its points at a given FPR.

A higher score means "more likely a member". Ties are handled as ties everywhere:
records with one score pass a threshold together, and a tied pair counts one half.
"""

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri

from whatelse.measures import _checks
from whatelse.measures.rates import Rate, rate

# No sample resolves less.
_LEAST_FPR = 1e-12


class Curve(NamedTuple):
    """A ROC: vectors of one length, from (0, 0) to (1, 1)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    threshold: NDArray[np.float64]


class Refused(TypedDict):
    """Why a number is not given."""

    refused: str


def roc_curve(scores: ArrayLike, member: ArrayLike) -> Curve:
    """Return every point of the ROC.

    Parameters
    ----------
    scores : array_like of float, shape (num_records,)
        Higher for members. Infinite scores are allowed, NaN is not.
    member : array_like of bool, shape (num_records,)
        True where the record is a member.

    Returns
    -------
    Curve
        Point i holds the shares of non-members and members whose score is at least
        threshold i, one point for each distinct score, thresholds falling. Before
        them stands (0, 0), with threshold inf: above every score, as in
        scikit-learn, whose ``roc_curve(..., drop_intermediate=False)`` this equals.

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    ValueError
        If the lengths differ or a column has the wrong shape or type.
    """
    values, kinds = _checks.scored(scores, member)
    threshold, false_calls, true_calls = _calls(values, kinds)
    num_members = int(kinds.sum())
    return Curve(
        fpr=np.append(0.0, false_calls / (len(kinds) - num_members)),
        tpr=np.append(0.0, true_calls / num_members),
        threshold=np.append(np.inf, threshold),
    )


def auc(scores: ArrayLike, member: ArrayLike, *, confidence: float = 0.95) -> Rate:
    """Return the area under the ROC with an interval.

    The area is the share of (member, non-member) pairs that the scores put in the
    right order, ties counting one half: the midrank (Mann-Whitney) estimate.

    Parameters
    ----------
    scores : array_like of float, shape (num_records,)
        Higher for members. Infinite scores are allowed, NaN is not.
    member : array_like of bool, shape (num_records,)
        True where the record is a member.
    confidence : float, optional
        Of the two-sided interval, in (0, 1).

    Returns
    -------
    Rate
        The area and its interval over records (not over models).

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    ValueError
        If the lengths differ or a column has the wrong shape or type.

    Notes
    -----
    The interval is DeLong's (Biometrics 44, 1988), taken on the logit scale and
    carried back, so that it stays inside (0, 1). DeLong's variance is 0 where the
    area is 0 or 1 or all scores are equal; there the interval follows from
    ``k = min(members, non-members)`` disjoint pairs, all of which came out alike.
    If the true area is A, that happens with probability at most ``A**k`` for an
    area of 1, ``(1 - A)**k`` for 0 and ``(1 - 2 * abs(A - 1/2))**k`` for equal
    scores; the interval holds every A for which this is at least
    ``(1 - confidence) / 2``. It covers at least as often as it says. One member or
    one non-member says nothing about the variance: unless the area is 0 or 1 the
    interval is then [0, 1].
    """
    tail = _checks.error_probability(confidence) / 2
    values, kinds = _checks.scored(scores, member)
    inside, outside = np.sort(values[kinds]), np.sort(values[~kinds])
    num_members, num_non_members = len(inside), len(outside)
    # Twice the number of the other kind below each score, ties counted once: whole
    # numbers, so that areas of 0, 1/2 and 1 come out exactly.
    above = _twice_below(inside, outside)
    below = 2 * num_members - _twice_below(outside, inside)
    area = int(above.sum()) / (2 * num_members * num_non_members)

    smaller = min(num_members, num_non_members)
    width = 1 - tail ** (1 / smaller)
    if area == 1:
        return Rate(value=area, low=1 - width, high=1.0)
    if area == 0:
        return Rate(value=area, low=0.0, high=width)
    if smaller == 1:
        return Rate(value=area, low=0.0, high=1.0)
    variance = (
        above.var(ddof=1) / (2 * num_non_members) ** 2 / num_members
        + below.var(ddof=1) / (2 * num_members) ** 2 / num_non_members
    )
    if variance == 0:
        return Rate(value=area, low=area - width / 2, high=area + width / 2)
    reach = ndtri(1 - tail) * np.sqrt(variance) / (area * (1 - area))
    return Rate(
        value=area,
        low=float(expit(logit(area) - reach)),
        high=float(expit(logit(area) + reach)),
    )


def tpr_at_fpr(
    scores: ArrayLike, member: ArrayLike, fpr: float, *, confidence: float = 0.95
) -> Rate | Refused:
    """Return the largest TPR of a threshold whose empirical FPR is at most `fpr`.

    No interpolation between points of the ROC: the value belongs to a threshold
    that exists, and is 0 where even the highest score takes too many non-members.

    Parameters
    ----------
    scores : array_like of float, shape (num_records,)
        Higher for members. Infinite scores are allowed, NaN is not.
    member : array_like of bool, shape (num_records,)
        True where the record is a member.
    fpr : float
        The false-positive rate, in [1e-12, 1].
    confidence : float, optional
        Of the two-sided interval, in (0, 1).

    Returns
    -------
    Rate or Refused
        With a Clopper-Pearson interval over members, the threshold taken as given.
        Refused where `fpr` is below 1 / non-members: the sample does not resolve it.

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    ValueError
        If `fpr` is out of range, the lengths differ or a column has the wrong shape
        or type.
    """
    if not _LEAST_FPR <= fpr <= 1:
        raise ValueError(f"fpr: must be in [{_LEAST_FPR}, 1], is {fpr}")
    values, kinds = _checks.scored(scores, member)
    num_members = int(kinds.sum())
    num_non_members = len(kinds) - num_members
    # Quotients are compared, never fpr * count: 0.29 * 100 is less than 29.
    if fpr < 1 / num_non_members:
        needed = round(1 / fpr)
        needed += 1 / needed > fpr
        return Refused(
            refused=f"needs at least {needed} non-members, has {num_non_members}"
        )
    _, false_calls, true_calls = _calls(values, kinds)
    allowed = false_calls / num_non_members <= fpr
    found = rate(int(true_calls[allowed].max(initial=0)), num_members, confidence)
    assert found is not None
    return found


def _calls(
    values: NDArray[np.float64], kinds: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct scores, falling, and who scores at least as much.

    Returns
    -------
    threshold, false_calls, true_calls : ndarray, shape (num_distinct,)
        The scores, and how many non-members and members reach each of them.
    """
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    # Compared, not subtracted: inf - inf is NaN.
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true_calls = np.cumsum(kinds[order], dtype=np.int64)[last]
    return ranked[last], last + 1 - true_calls, true_calls


def _twice_below(
    these: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return, for each of `these`, twice how many `others` (sorted) lie below it.

    A tie counts as half below.
    """
    counts = np.searchsorted(others, these, "left")
    return np.asarray(counts + np.searchsorted(others, these, "right"), np.int64)
