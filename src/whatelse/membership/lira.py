"""LiRA, the likelihood-ratio attack (Carlini et al., IEEE S&P 2022, Sec. IV).

Each record's margins under models trained with and without it are two normal
distributions; the score is how much likelier the target's is under the first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from whatelse.membership.compared import Compared, Floats, above_most, chunks
from whatelse.membership.settings import Lira
from whatelse.models.signals import Signal

SIGNAL: Signal = "margin"
# Answers that are all alike, as labels are, have no deviation to divide by.
_LEAST_DEVIATION = 1e-6


class Normals(NamedTuple):
    """A normal distribution for each record and query, shape (rows, queries)."""

    centre: NDArray[np.float64]
    deviation: NDArray[np.float64]


def fit(
    references: Floats, chosen: NDArray[np.bool_], *, one_variance: bool,
    released_code: bool = False,
) -> Normals:  # fmt: skip
    """Fit each record's margins under some of the reference models.

    Parameters
    ----------
    references : ndarray of float, shape (models, rows, queries)
        Margins.
    chosen : ndarray of bool, shape (models, rows)
        Whose margins count for a record: of at least one model; for the paper's
        variances, of two.
    one_variance : bool
        One variance of a query for all records, about each one's own mean; else each
        record's own. Both unbiased.
    released_code : bool, optional
        As the authors' code does: medians in the place of means, the variance divided
        by the count, and the one variance about the mean of all records and queries.
        Online, their one variance of members serves non-members too: see `score`.

    Returns
    -------
    Normals
    """
    _, rows, queries = references.shape
    mean, squares, centre = (np.empty((rows, queries)) for _ in range(3))
    count = chosen.sum(0)[:, None]
    for part in chunks(references):
        own = chosen[:, part, None]
        values = references[:, part].astype(np.float64)
        mean[part] = np.where(own, values, 0.0).sum(0) / count[part]
        squares[part] = np.where(own, (values - mean[part]) ** 2, 0.0).sum(0)
        if released_code:
            centre[part] = _median(np.where(own, values, np.inf), count[part])
    if not released_code:
        centre = mean
    freedom = count if released_code else count - 1
    if not one_variance:
        variance = squares / freedom
    elif released_code:
        total = count.sum() * queries
        between = count * (mean - (count * mean).sum() / total) ** 2
        variance = np.full_like(squares, (squares + between).sum() / total)
    else:
        variance = np.broadcast_to(squares.sum(0) / freedom.sum(), squares.shape)
    return Normals(centre, np.maximum(np.sqrt(variance), _LEAST_DEVIATION))


def _median(
    values: NDArray[np.float64], count: NDArray[np.int64]
) -> NDArray[np.float64]:  # fmt: skip
    """Return medians over models of the first `count` values, others being infinite.

    NumPy's own ``nanmedian`` loops over records.
    """
    ranked = np.sort(values, axis=0)
    places = np.stack([(count - 1) // 2, count // 2])
    places = np.broadcast_to(places, (2, *values.shape[1:]))
    middle: NDArray[np.float64] = np.take_along_axis(ranked, places, axis=0).mean(0)
    return middle


def online(observed: Floats, inside: Normals, outside: Normals) -> NDArray[np.float64]:
    """Return the log of the likelihood ratio (Alg. 1), shape (rows,).

    Queries are taken to be independent: the normal distribution of several has a
    diagonal covariance.

    Parameters
    ----------
    observed : ndarray of float, shape (rows, queries)
        The target's margins.
    inside, outside : Normals
        With and without the record.
    """
    return np.asarray(
        (_log_density(observed, inside) - _log_density(observed, outside)).sum(1)
    )


def offline(observed: Floats, outside: Normals) -> NDArray[np.float64]:
    """Return minus the log of the one-sided tail (Eq. 4), shape (rows,).

    It rises with the paper's ``1 - Pr[Z > observed]`` and does not round to 1 where
    that does. Tails of several queries are multiplied.

    Parameters
    ----------
    observed : ndarray of float, shape (rows, queries)
        The target's margins.
    outside : Normals
        Without the record.
    """
    return np.asarray(-log_ndtr(-_standard(observed, outside)).sum(1))


def offline_as_coded(observed: Floats, outside: Normals) -> NDArray[np.float64]:
    """Return minus the log-density, high on either side, shape (rows,)."""
    return np.asarray(-_log_density(observed, outside).sum(1))


def _standard(observed: Floats, normals: Normals) -> NDArray[np.float64]:
    values: NDArray[np.float64] = observed.astype(np.float64)
    return (values - normals.centre) / normals.deviation


def _log_density(observed: Floats, normals: Normals) -> NDArray[np.float64]:
    standard = _standard(observed, normals)
    return -0.5 * standard**2 - np.log(normals.deviation) - 0.5 * np.log(2 * np.pi)


def score(settings: Lira, compared: Compared) -> NDArray[np.float64]:
    """Return a number for each record, higher for members, shape (rows,)."""
    how = _how(settings, compared)
    outside = fit(compared.references, ~compared.inside, **how)
    if settings.mode == "offline":
        return _offline(settings, compared.observed, outside)
    inside = fit(compared.references, compared.inside, **how)
    if settings.released_code and how["one_variance"]:
        outside = outside._replace(deviation=inside.deviation)
    return online(compared.observed, inside, outside)


def decide(
    settings: Lira, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return who is called a member, shape (rows,).

    Online, whoever is likelier one; offline, who is above all but a share `level` of
    the population: tails of several queries depend on each other, so that their product
    has no level of its own.
    """
    if settings.mode == "online":
        return scores > 0
    # as many models as are without a record, which is half of them
    references = compared.references_on_others[::2]
    everybody = np.ones(references.shape[:2], dtype=bool)
    outside = fit(references, everybody, **_how(settings, compared))
    theirs = _offline(settings, compared.others, outside)
    return above_most(scores, theirs, settings.level)


def _how(settings: Lira, compared: Compared) -> dict[str, bool]:
    return {
        "one_variance": settings.one_variance(len(compared.references)),
        "released_code": settings.released_code,
    }


def _offline(
    settings: Lira, observed: Floats, outside: Normals
) -> NDArray[np.float64]:  # fmt: skip
    by = offline_as_coded if settings.released_code else offline
    return by(observed, outside)
