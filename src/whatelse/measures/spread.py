"""How much a number varies over replicates: whole repetitions under other seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict

from scipy.special import stdtrit

from whatelse.measures import _checks


class Spread(TypedDict):
    """A number over replicates: mean, deviation, count, interval of the mean."""

    mean: float | None
    std: float | None
    count: int
    low: float | None
    high: float | None
    values: list[float | None]


def spread(values: Sequence[float | None], *, confidence: float = 0.95) -> Spread:
    """Summarise a number over replicates.

    Parameters
    ----------
    values : sequence of float or None
        One a replicate, at least one. None where it is undefined in a replicate,
        e.g. the precision of an attack that called nobody a member.
    confidence : float, optional
        Of the interval, in (0, 1).

    Returns
    -------
    Spread
        `std` is the sample standard deviation; `low` and `high` are the ends of the
        t-interval of the mean (not cut to [0, 1]). They are None with fewer than two
        defined values, `mean` with none. `count` counts the defined values;
        `values` keeps all, so that an undefined one is seen.

    Raises
    ------
    ValueError
        If there are no values, or one is NaN or infinite.
    """
    error = _checks.error_probability(confidence)
    if not len(values):
        raise ValueError("values: needs at least one replicate, has none")
    kept = [None if value is None else float(value) for value in values]
    known = [value for value in kept if value is not None]
    for value in known:
        if not math.isfinite(value):
            raise ValueError(f"values: must be finite or None, one is {value}")
    mean = statistics.fmean(known) if known else None
    if mean is None or len(known) < 2:
        return Spread(
            mean=mean, std=None, count=len(known), low=None, high=None, values=kept
        )
    std = statistics.stdev(known)
    reach = float(stdtrit(len(known) - 1, 1 - error / 2)) * std / math.sqrt(len(known))
    return Spread(
        mean=mean,
        std=std,
        count=len(known),
        low=mean - reach,
        high=mean + reach,
        values=kept,
    )
