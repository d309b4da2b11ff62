"""The ROC of membership scores: the curve, its area, and its points at a given FPR.

A higher score means "more likely a member". Ties are handled as ties everywhere:
records with one score pass a threshold together, and a tied pair counts one half.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri

from whatelse.measures import _checks
from whatelse.measures.rates import Rate, clopper_pearson, rate

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


class ClassRoc(TypedDict):
    """How far the records of one class are told apart."""

    auc: Rate | None
    tpr_at_fpr: dict[str, Rate | Refused | None]


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


def band(
    curve: Curve,
    num_members: int,
    num_non_members: int,
    at: NDArray[np.float64],
    *,
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a confidence band of the ROC of one target, at some rates.

    Both rates of a threshold are estimates. Each has a Clopper-Pearson interval of
    confidence ``1 - (1 - confidence) / 2``, so that both hold together (Bonferroni).
    Since the true curve rises, what is known of the last threshold whose
    false-positive rate is surely no higher bounds it from below, and what is known of
    the first whose rate is surely higher bounds it from above. Which thresholds these
    are follows from the non-members alone, so the band holds at each rate by itself;
    it does not hold at all of them together.

    Parameters
    ----------
    curve : Curve
        All points, as `roc_curve` returns them.
    num_members, num_non_members : int
        Independent records that it was taken from.
    at : ndarray of float, shape (rates,)
        False-positive rates in [0, 1].
    confidence : float, optional
        Of the band at each rate, in (0, 1).

    Returns
    -------
    low, high : ndarray of float64, shape (rates,)
        Bounds of the true-positive rate, over records (not over models).
    """
    each = 1 - _checks.error_probability(confidence) / 2
    false_calls = np.rint(curve.fpr * num_non_members).astype(np.int64)
    true_calls = np.rint(curve.tpr * num_members).astype(np.int64)
    fpr_low, fpr_high = clopper_pearson(false_calls, num_non_members, each)
    tpr_low, tpr_high = clopper_pearson(true_calls, num_members, each)
    below = np.searchsorted(fpr_high, at, "right")
    above = np.searchsorted(fpr_low, at, "right")
    return np.append(0.0, tpr_low)[below], np.append(tpr_high, 1.0)[above]


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


def aucs(
    scores: NDArray[np.floating[Any]], member: NDArray[np.bool_],
    together: NDArray[np.int64] | None = None, *, confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Return `auc` of every column, as arrays.

    Parameters
    ----------
    scores : ndarray of float, shape (rows, columns)
        Higher for members; finite.
    member : ndarray of bool, shape (rows, columns)
        True where the row is a member in that column; both kinds in each.
    together : ndarray of int, shape (rows,), optional
        Numbers of groups of rows that depend on each other, from 0; the interval is
        then that of clustered data (Obuchowski, Biometrics 53, 1997). If left out, rows
        are independent.
    confidence : float, optional
        Of the two-sided intervals, in (0, 1).

    Returns
    -------
    value, low, high : ndarray of float64, shape (columns,)
        The areas and their intervals over rows, as `auc` has them.
    """
    from scipy.stats import rankdata  # half a second to import, and few need it

    tail = _checks.error_probability(confidence) / 2
    ranks = rankdata(scores, axis=0)
    # twice the number of the other kind below, ties counted once: whole numbers
    twice = 2 * (ranks - np.where(member, *_own_ranks(scores, member)))
    inside, outside = member.sum(0), (~member).sum(0)
    area = np.where(member, twice, 0.0).sum(0) / (2 * inside * outside)
    smaller = np.minimum(inside, outside)
    width = 1 - tail ** (1 / smaller)
    # how far each row's part of the area is from the mean
    within = np.where(member, twice / (2 * outside), 1 - twice / (2 * inside)) - area
    part = within / np.where(member, inside, outside)
    if together is None:
        freedom = np.where(member, inside, outside)
        variance = (part**2 * freedom / np.maximum(freedom - 1, 1)).sum(0)
    else:
        sums = np.zeros((int(together.max()) + 1, scores.shape[1]))
        np.add.at(sums, together, part)
        variance = (sums**2).sum(0) * len(sums) / max(len(sums) - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = ndtri(1 - tail) * np.sqrt(variance) / (area * (1 - area))
        ends = [expit(logit(area) + sign * reach) for sign in (-1, 1)]
    ones = np.ones_like(area)
    # dispersion that is only rounding is none
    cases = [area == 1, area == 0, smaller == 1, variance < 1e-24]
    low = np.select(cases, [1 - width, 0 * ones, 0 * ones, area - width / 2], ends[0])
    high = np.select(cases, [ones, width, ones, area + width / 2], ends[1])
    return area, low, high


def _own_ranks(
    scores: NDArray[np.floating[Any]], member: NDArray[np.bool_]
) -> list[NDArray[np.float64]]:
    """Return midranks among members and among non-members, where each is one."""
    from scipy.stats import rankdata

    return [
        rankdata(np.where(kind, scores, np.inf), axis=0) for kind in (member, ~member)
    ]


def class_rocs(
    scores: ArrayLike, member: ArrayLike, labels: ArrayLike, rates: Sequence[float],
) -> list[ClassRoc]:  # fmt: skip
    """Return how far the records of each class are told apart.

    Parameters
    ----------
    scores : array_like of float, shape (num_records,)
        Higher for members. Infinite scores are allowed, NaN is not.
    member : array_like of bool, shape (num_records,)
        True where the record is a member.
    labels : array_like of int, shape (num_records,)
        Classes, or any other groups.
    rates : sequence of float
        False-positive rates, each in [1e-12, 1].

    Returns
    -------
    list of ClassRoc
        For each class that occurs, in order. The area is None where a class has one
        kind only. The true-positive rates are those of the class at the threshold
        that `tpr_at_fpr` has for all records: an adversary need not know what is rare,
        and few classes have the non-members to set thresholds of their own. Their
        intervals are Clopper-Pearson's over the class's members, given the threshold:
        unlike those of `tpr_at_fpr`, they leave out that it is an estimate.

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    """
    values, kinds = _checks.scored(scores, member)
    classes = np.asarray(labels)
    threshold, false_calls, _ = _calls(values, kinds)
    num_non_members = int((~kinds).sum())
    limits: dict[str, float | Refused] = {}
    for fpr in rates:
        if (refused := _unresolved(fpr, num_non_members)) is not None:
            limits[f"{fpr:g}"] = refused
            continue
        allowed = threshold[false_calls / num_non_members <= fpr]
        limits[f"{fpr:g}"] = float(allowed[-1]) if len(allowed) else np.inf
    found: list[ClassRoc] = []
    for label in np.unique(classes):
        own = classes == label
        inside = values[own & kinds]
        both = 0 < len(inside) < own.sum()
        found.append(
            ClassRoc(
                auc=auc(values[own], kinds[own]) if both else None,
                tpr_at_fpr={
                    name: limit
                    if isinstance(limit, dict)
                    else rate(int((inside >= limit).sum()), len(inside))
                    for name, limit in limits.items()
                },
            )
        )
    return found


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
        With the interval that `band` gives at `fpr`: the threshold is an estimate too.
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
    if (refused := _unresolved(fpr, num_non_members)) is not None:
        return refused
    curve = roc_curve(values, kinds)
    value = curve.tpr[curve.fpr <= fpr].max()
    low, high = band(
        curve, num_members, num_non_members, np.array([fpr]), confidence=confidence
    )
    return Rate(value=float(value), low=float(low[0]), high=float(high[0]))


def _unresolved(fpr: float, num_non_members: int) -> Refused | None:
    """Refuse a false-positive rate that so many non-members do not resolve."""
    # Quotients are compared, never fpr * count: 0.29 * 100 is less than 29.
    if fpr >= 1 / num_non_members:
        return None
    needed = round(1 / fpr)
    needed += 1 / needed > fpr
    return Refused(
        refused=f"needs at least {needed} non-members, has {num_non_members}"
    )


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
