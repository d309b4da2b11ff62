"""Rates with Clopper-Pearson intervals, and what an attack's decisions are worth."""

import operator
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from whatelse.errors import UserError
from whatelse.measures import _checks


class Rate(TypedDict):
    """A share in [0, 1] with the ends of its interval."""

    value: float
    low: float
    high: float


class Decisions(TypedDict):
    """What the decisions over all records are worth."""

    accuracy: Rate
    precision: Rate | None
    recall: Rate


# "class" is a keyword of Python, hence the functional form.
ClassDecisions = TypedDict(
    "ClassDecisions",
    {
        "class": int,
        "name": str,
        "members": int,
        "non_members": int,
        "accuracy": Rate,
        "precision": Rate | None,
        "recall": Rate | None,
    },
)
ClassDecisions.__doc__ = "What the decisions over the records of one class are worth."


def rate(successes: int, trials: int, confidence: float = 0.95) -> Rate | None:
    """Return a share with its Clopper-Pearson (exact binomial) interval.

    Parameters
    ----------
    successes : int
        In 0..trials.
    trials : int
        Independent trials, >= 0.
    confidence : float, optional
        Of the two-sided interval, in (0, 1).

    Returns
    -------
    Rate or None
        None where nothing was tried: the share is undefined.

    Raises
    ------
    ValueError
        If the counts or the confidence are out of range.
    """
    successes, trials = operator.index(successes), operator.index(trials)
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: must be in 0..{trials}, is {successes}")
    low, high = clopper_pearson(np.array(successes), trials, confidence)
    if trials == 0:
        return None
    return Rate(value=successes / trials, low=float(low), high=float(high))


def majority(
    known: NDArray[np.integer[Any]], asked: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Return which records are right if the commonest class of others is said of all.

    Parameters
    ----------
    known : ndarray of int
        Classes from which the commonest is taken, the lowest of equals.
    asked : ndarray of int, shape (asked,)
        Classes of which it is said.

    Returns
    -------
    ndarray of bool, shape (asked,)
    """
    values, counts = np.unique(known, return_counts=True)
    return np.asarray(asked == values[counts.argmax()])


def clopper_pearson(
    successes: NDArray[np.int64], trials: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of exact binomial intervals.

    Parameters
    ----------
    successes : ndarray of int64
        Each in 0..trials.
    trials : int
        Independent trials, >= 0.
    confidence : float, optional
        Of the two-sided intervals, in (0, 1).

    Returns
    -------
    low, high : ndarray of float64
        In the shape of `successes`.

    Raises
    ------
    ValueError
        If the confidence is out of range.
    """
    tail = _checks.error_probability(confidence) / 2
    failures = trials - successes
    low = betaincinv(np.maximum(successes, 1), failures + 1, tail)
    high = betaincinv(successes + 1, np.maximum(failures, 1), 1 - tail)
    return np.where(successes, low, 0.0), np.where(failures, high, 1.0)


def decision_measures(
    decision: ArrayLike,
    member: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    confidence: float = 0.95,
) -> tuple[Decisions, list[ClassDecisions]]:
    """Measure an attack's yes/no answers, over all records and class by class.

    Precision is the share of members among the records that were called one,
    recall the share of members that were called one (P1, Sec. VI-C), accuracy the
    share of right answers. The first two depend on how many members and
    non-members are asked about; a coin gets precision .5 only if they are as many.

    Parameters
    ----------
    decision : array_like of bool, shape (num_records,)
        True where the attack calls the record a member.
    member : array_like of bool, shape (num_records,)
        True where it is one.
    labels : array_like of int, shape (num_records,)
        Classes, each in 0..len(class_names) - 1.
    class_names : sequence of str
        One name a class.
    confidence : float, optional
        Of the intervals, in (0, 1).

    Returns
    -------
    overall : Decisions
        `precision` is None where no record was called a member.
    per_class : list of ClassDecisions
        The classes that occur in `labels`, in order. `precision` is None where no
        record was called a member, or the class has only one kind, so that it is 0
        or 1 by construction; `recall` is None where the class has no members.

    Raises
    ------
    UserError
        If there are no members or no non-members, or a label has no name.
    ValueError
        If the lengths differ or a column has the wrong shape or type.
    """
    called = _checks.flags(decision, "decision")
    classes = np.asarray(labels)
    _checks.same_length(
        [
            ("decision", len(called)),
            ("member", len(np.atleast_1d(member))),
            ("labels", len(np.atleast_1d(classes))),
        ]
    )
    truth = _checks.membership(member)
    if classes.ndim != 1 or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            "labels: must be a vector of integers, is "
            f"{classes.dtype} of shape {classes.shape}"
        )
    present = np.unique(classes)
    for label in (present[0], present[-1]):
        if not 0 <= label < len(class_names):
            raise UserError(
                f"labels: class {label} is outside 0..{len(class_names) - 1}"
            )

    accuracy, precision, recall = _rates(called, truth, confidence)
    assert accuracy is not None
    assert recall is not None
    overall = Decisions(accuracy=accuracy, precision=precision, recall=recall)

    per_class: list[ClassDecisions] = []
    for label in present:
        chosen = classes == label
        accuracy, precision, recall = _rates(called[chosen], truth[chosen], confidence)
        assert accuracy is not None
        num_members = int(truth[chosen].sum())
        num_non_members = int(chosen.sum()) - num_members
        per_class.append(
            {
                "class": int(label),
                "name": str(class_names[label]),
                "members": num_members,
                "non_members": num_non_members,
                "accuracy": accuracy,
                "precision": precision if num_members and num_non_members else None,
                "recall": recall,
            }
        )
    return overall, per_class


def _rates(
    called: NDArray[np.bool_], truth: NDArray[np.bool_], confidence: float
) -> tuple[Rate | None, Rate | None, Rate | None]:
    """Return accuracy, precision and recall; None where undefined."""
    hits = int((called & truth).sum())
    return (
        rate(int((called == truth).sum()), len(truth), confidence),
        rate(hits, int(called.sum()), confidence),
        rate(hits, int(truth.sum()), confidence),
    )
