"""Lower bounds on epsilon, at a stated delta and confidence, from what an attack found.

Where differential privacy promises epsilon, these refute anything below a number: "no
mechanism that is (epsilon, delta)-private would have been attacked so well, but with a
chance of 1 - confidence". Two ways, by where independence comes from.

`over_models`: models that were trained independently of each other, one canary in some
of them and in none of the others. `one_run`: one model and many canaries, each put into
its training by a coin of its own.

Records of one model are no independent trials: they were fitted together, and scores of
one hang on the others. Intervals over them would be too narrow, so there is no function
here that takes them; `one_run` counts right guesses and holds for any dependence
between scores, since the coins alone are independent.
"""

import math
import operator
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv
from scipy.stats import binom

from whatelse.measures import _checks

_HALVINGS = 40
_MOST = 100.0  # an epsilon beyond which nobody asks


class OverModels(TypedDict):
    """A bound from some models of which a canary was in half or so.

    `threshold` is the score from which on the canary is said to be in;
    `true_positives` of `inside` models, `false_positives` of `outside`.
    """

    epsilon_lower: float
    threshold: float
    true_positives: int
    inside: int
    false_positives: int
    outside: int


class OneRun(TypedDict):
    """A bound from one model: `right` of `guesses` about `canaries`."""

    epsilon_lower: float
    canaries: int
    guesses: int
    right: int


def one_run_p_value(
    canaries: int, guesses: int, right: int, epsilon: float, delta: float
) -> float:
    """Return the chance of so many right guesses under (epsilon, delta)-privacy.

    Steinke, Nasr & Jagielski (NeurIPS 2023), Theorem 5.2 as coded in their Appendix D:
    with F(v) the chance that randomised response of this epsilon is right at least v
    times of r, it is at most F(v) + 2 m delta max_i (F(v - i) - F(v)) / i.

    Parameters
    ----------
    canaries : int
        m: each was in the training set by a fair coin of its own.
    guesses : int
        r <= m: about how many there was no abstention. Set before the coins are
        looked at.
    right : int
        v <= r.
    epsilon : float
        >= 0.
    delta : float
        In [0, 1).

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    m, r, v = (operator.index(number) for number in (canaries, guesses, right))
    if not 0 <= v <= r <= m:
        raise ValueError(
            f"right, guesses, canaries: must be 0 <= {v} <= {r} <= {m}, are not"
        )
    if not epsilon >= 0:
        raise ValueError(f"epsilon: must be >= 0, is {epsilon}")
    _check_delta(delta)
    accuracy = 1 / (1 + math.exp(-epsilon))
    found = float(binom.sf(v - 1, r, accuracy))
    if delta and v:
        steps = np.arange(1, v + 1)
        # F(v - i) - F(v): the chances of v - 1, v - 2, ..., v - i right guesses
        more = np.cumsum(binom.pmf(v - steps, r, accuracy))
        found += 2 * m * delta * float((more / steps).max())
    return min(found, 1.0)


def one_run(
    canaries: int, guesses: int, right: int, *, delta: float, confidence: float = 0.95
) -> OneRun:
    """Return the largest epsilon that so many right guesses refute.

    Parameters
    ----------
    canaries, guesses, right, delta
        As of `one_run_p_value`.
    confidence : float, optional
        One minus the chance that the bound is above a true epsilon, in (0, 1).

    Returns
    -------
    OneRun
        With 0 where nothing is refuted.
    """
    level = _checks.error_probability(confidence)

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(canaries, guesses, right, epsilon, delta) < level

    low, high = 0.0, 1.0
    while refuted(high) and high < _MOST:
        low, high = high, high + 1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return OneRun(epsilon_lower=low, canaries=canaries, guesses=guesses, right=right)


def over_models(
    scores: ArrayLike, inside: ArrayLike, *, threshold: float, delta: float,
    confidence: float = 0.95,
) -> OverModels:  # fmt: skip
    """Return a bound from scores of one canary by models trained independently.

    Of what is said of models with the canary and of those without, each share has an
    exact binomial interval, both hold at once with this confidence, and epsilon is at
    least the logarithm of their ratio (Jagielski, Ullman & Oprea, NeurIPS 2020; Nasr et
    al., S&P 2021), for "in" or for "out", whichever is more.

    Parameters
    ----------
    scores : array_like of float, shape (models,)
        Of one and the same canary, one score a model: several canaries of one model
        would not be independent.
    inside : array_like of bool, shape (models,)
        Whether it was in the model's training set.
    threshold : float
        From where on it is said to be in; chosen on other models than these.
    delta : float
        In [0, 1).
    confidence : float, optional
        One minus the chance that the bound is above a true epsilon, in (0, 1).

    Returns
    -------
    OverModels
        With 0 where nothing is refuted, as when all models are of one kind.

    Raises
    ------
    ValueError
        If a number is out of range, lengths differ or a score is NaN.
    """
    values = np.asarray(scores, dtype=np.float64)
    flags = _checks.flags(inside, "inside")
    _checks.same_length(
        [("scores", len(np.atleast_1d(values))), ("inside", len(flags))]
    )
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(
            "scores: must be a vector of numbers, has NaN or another shape"
        )
    said = values >= threshold
    hits, members = int((said & flags).sum()), int(flags.sum())
    alarms, others = int((said & ~flags).sum()), int((~flags).sum())
    bound = _of_counts(
        np.array(hits), np.array(members), np.array(alarms), np.array(others),
        delta, confidence,
    )  # fmt: skip
    return OverModels(
        epsilon_lower=float(bound), threshold=float(threshold), true_positives=hits,
        inside=members, false_positives=alarms, outside=others,
    )  # fmt: skip


def choose(
    scores: ArrayLike, inside: ArrayLike, *, delta: float, confidence: float = 0.95
) -> tuple[int, float]:
    """Choose a canary and a threshold, on models that then are not judged by.

    The canary whose scores lie furthest apart, in standard deviations; its threshold is
    the score with the largest bound, of equal ones (where these models prove nothing)
    the one that tells most.

    Parameters
    ----------
    scores : array_like of float, shape (models, canaries)
        Finite.
    inside : array_like of bool, shape (models, canaries)
        Whether a canary was in a model's training set; of each canary both occur, or
        it is not chosen.
    delta, confidence
        As of `over_models`.

    Returns
    -------
    canary : int
    threshold : float

    Raises
    ------
    ValueError
        If no canary is both in some models and not in others.
    """
    values = np.asarray(scores, dtype=np.float64)
    flags = np.asarray(inside, dtype=np.bool_)
    counts = flags.sum(0)
    known = (counts > 0) & (counts < len(flags))
    if not known.any():
        raise ValueError("inside: no canary is in some models and not in others")
    means, squares = [], 0.0
    for kind in (flags, ~flags):
        number = np.maximum(kind.sum(0), 1)
        mean = np.where(kind, values, 0.0).sum(0) / number
        means.append(mean)
        squares = squares + np.where(kind, (values - mean) ** 2, 0.0).sum(0)
    apart = (means[0] - means[1]) / np.sqrt(squares / len(flags) + 1e-12)
    canary = int(np.where(known, apart, -np.inf).argmax())
    own, kind = values[:, canary], flags[:, canary]
    order = np.argsort(-own)
    ranked, right = own[order], kind[order]
    # how many are said to be in from each score on, equal ones together
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    hits, alarms = (
        np.cumsum(said, dtype=np.int64)[last] for said in (right, ~right)
    )  # fmt: skip
    bounds = _of_counts(
        hits, kind.sum(), alarms, (~kind).sum(), delta, confidence
    )  # fmt: skip
    told = hits / kind.sum() - alarms / (~kind).sum()
    return canary, float(ranked[last[np.lexsort((told, bounds))[-1]]])


def _of_counts(
    hits: NDArray[np.int64], inside: NDArray[np.int64], alarms: NDArray[np.int64],
    outside: NDArray[np.int64], delta: float, confidence: float,
) -> NDArray[np.float64]:  # fmt: skip
    """Return bounds by true positives of `inside` and false ones of `outside`."""
    _check_delta(delta)
    tail = _checks.error_probability(confidence) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # Clopper & Pearson's ends; nothing is known of what was not tried
        least = np.where(hits > 0, betaincinv(hits, inside - hits + 1, tail), 0.0)
        most = np.where(
            alarms < outside, betaincinv(alarms + 1, outside - alarms, 1 - tail), 1.0
        )
        said_in = np.log(np.maximum(least - delta, 0.0) / most)
        said_out = np.log(np.maximum(1 - most - delta, 0.0) / (1 - least))
    found: NDArray[np.float64] = np.maximum(np.maximum(said_in, said_out), 0.0)
    return found


def _check_delta(delta: float) -> None:
    if not 0 <= delta < 1:
        raise ValueError(f"delta: must be in [0, 1), is {delta}")
