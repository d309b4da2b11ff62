"""RMIA, the robust membership attack (Zarifzadeh et al., ICML 2024, Sec. 3).

A record is a member if the target's answer, against what reference models expect,
is likelier than those to most records of the population.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.compared import Compared, Floats, above_most, chunks
from whatelse.membership.settings import Rmia
from whatelse.models.signals import Signal

SIGNAL: Signal = "log_probability"
_TIES = 1e-7  # far less than a record of the population


class Likelihoods(NamedTuple):
    """Logs of ``Pr(x | target) / Pr(x)``, shape (records, queries) each."""

    records: NDArray[np.float64]
    population: NDArray[np.float64]


def expected(
    references: Floats, inside: NDArray[np.bool_], *, online: bool, a: float
) -> NDArray[np.float64]:
    """Return the log of Pr(x), what models answer on average, shape (rows, queries).

    Online it is the mean of the means with and without the record. Offline, and
    where no reference model was trained on a record, the former is estimated: Pr(x) is
    ``((1 + a) * outside + 1 - a) / 2``.

    Parameters
    ----------
    references : ndarray of float, shape (models, rows, queries)
        Log-probabilities of the true class.
    inside : ndarray of bool, shape (models, rows)
        Whether a reference model was trained on a record; at least one was not.
    online : bool
        Whether those that were are used.
    a : float
        In [0, 1].
    """
    _, rows, queries = references.shape
    found = np.empty((rows, queries))
    for part in chunks(references):
        own = inside[:, part, None]
        chances = np.exp(references[:, part].astype(np.float64))
        count = own.sum(0)
        without = np.where(own, 0.0, chances).sum(0) / (len(own) - count)
        found[part] = ((1 + a) * without + 1 - a) / 2
        if online and count.any():
            within = np.where(own, chances, 0.0).sum(0) / np.maximum(count, 1)
            found[part] = np.where(count, (within + without) / 2, found[part])
    # a record that every model finds impossible: any answer is likelier
    return np.log(np.maximum(found, np.finfo(np.float64).tiny))


def shares(likelihoods: Likelihoods, gamma: float) -> NDArray[np.float64]:
    """Return the share of the population that each record beats, shape (rows, queries).

    A record beats another if its likelihood is at least `gamma` times the other's. The
    population is sorted once, so that no pair is formed. Records that beat as many, in
    some data most of them, are ordered by their own likelihoods, of which the share is
    a step function.
    """
    records, population = likelihoods
    found = np.empty(records.shape)
    for query in range(records.shape[1]):
        ranked = np.sort(population[:, query])
        limits = records[:, query] - np.log(gamma)
        found[:, query] = np.searchsorted(ranked, limits, "right") / len(ranked)
    return found + _TIES * (0.5 + np.arctan(records) / np.pi)


def majority(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the highest threshold that most queries reach, shape (rows,)."""
    queries = scores.shape[1]
    place = queries - (queries // 2 + 1)
    return np.asarray(np.partition(scores, place, axis=1)[:, place])


def score(settings: Rmia, compared: Compared) -> NDArray[np.float64]:
    """Return the share of the population that is beaten, shape (rows,), ties broken."""
    expecting = expected(
        compared.references, compared.inside,
        online=settings.mode == "online", a=settings.a,
    )  # fmt: skip
    return _beaten(settings, compared.observed - expecting, compared)


def decide(
    settings: Rmia, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return who beats more than all but a share `level` of the population does.

    Offline, the population is judged as records are, by half of the models. Online it
    cannot be: of the population nobody was trained on.
    """
    half = compared.references_on_others[:: 2 if settings.mode == "offline" else 1]
    theirs = _beaten(settings, _population(settings, compared, half), compared)
    return above_most(scores, theirs, settings.level)


def _beaten(
    settings: Rmia, likelihoods: NDArray[np.float64], compared: Compared
) -> NDArray[np.float64]:
    every = compared.references_on_others
    both = Likelihoods(likelihoods, _population(settings, compared, every))
    return majority(shares(both, settings.gamma))


def _population(
    settings: Rmia, compared: Compared, references: Floats
) -> NDArray[np.float64]:
    nobody = np.zeros(references.shape[:2], dtype=bool)
    return compared.others - expected(references, nobody, online=False, a=settings.a)
