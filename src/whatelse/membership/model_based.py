"""Shadow data from the target itself: P1's Algorithm 1, for all records at once.

A record of a wanted class is climbed to: some features of the best record so far are
changed at random, and the change is kept where the target is as confident or more.
All records and classes are climbed to side by side. An iteration asks the target once
about those that are not finished.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.domain import Domain, random_words
from whatelse.membership.shadow_data_settings import ModelBased, SynthesisSpec
from whatelse.membership.synthesise import Ask, Knowledge, Made
from whatelse.seeding import stream

_VALUES = 1 << 22  # features of the records that are climbed to side by side


@dataclass(frozen=True)
class Climbed:
    """What hill climbing came to.

    Attributes
    ----------
    inputs : ndarray, shape (records, features)
        The records, as far as they were found.
    found : ndarray of bool, shape (records,)
        Whether one was accepted; the search for the others failed.
    queries : ndarray of int64, shape (records,)
        How often the target was asked on the way to each.
    """

    inputs: NDArray[Any]
    found: NDArray[np.bool_]
    queries: NDArray[np.int64]


def make(spec: SynthesisSpec, knowledge: Knowledge) -> Made:
    """Return records of all classes in turn, as many of each; nothing else is known.

    Records whose search failed are left out.
    """
    assert isinstance(spec.settings, ModelBased)
    assert knowledge.ask is not None
    wanted = np.arange(spec.records) % knowledge.num_classes
    climbed = climb(
        knowledge.ask, knowledge.domain, wanted, spec.settings, seed=spec.seed,
        name=("shadow data", "model-based", spec.replicate),
    )  # fmt: skip
    found = climbed.found
    failed = int((~found).sum())
    return Made(
        climbed.inputs[found],
        wanted[found],
        {"queries": climbed.queries[found].tolist()},
        f"{climbed.queries[found].mean():.1f} queries a record found; {failed:,} "
        f"searches failed after {spec.settings.iter_max:,} each"
        if found.any()
        else "",
    )


def climb(
    ask: Ask, domain: Domain, wanted: NDArray[np.int64], settings: ModelBased, *,
    seed: int, name: tuple[int | str, ...],
) -> Climbed:  # fmt: skip
    """Search for a record of each wanted class (P1 Algorithm 1).

    A record's random numbers do not depend on how many others are searched for.

    Parameters
    ----------
    ask : callable
        The target: what it releases for records of shape (n, features), shape (n,
        classes).
    domain : Domain
        The form of a record.
    wanted : ndarray of int64, shape (records,)
        Classes.
    settings : ModelBased
        Under the paper's names.
    seed : int
        The study's.
    name : tuple
        Names the streams.

    Returns
    -------
    Climbed
    """
    size = max(1, _VALUES // domain.num_features)
    parts = [
        _climb(ask, domain, wanted[first : first + size], settings, seed,
               (*name, first // size))
        for first in range(0, len(wanted), size)
    ]  # fmt: skip
    return Climbed(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.queries for part in parts]),
    )


def _climb(
    ask: Ask, domain: Domain, wanted: NDArray[np.int64], settings: ModelBased,
    seed: int, name: tuple[int | str, ...],
) -> Climbed:  # fmt: skip
    found = np.zeros(len(wanted), dtype=bool)
    queries = np.zeros(len(wanted), dtype=np.int64)
    proposed = domain.draw(stream(seed, *name, "start"), len(wanted))
    inputs = proposed.copy()
    # Of the records that are not finished: which they are, and their state.
    live = np.arange(len(wanted))
    best = proposed.copy()
    best_confidence = np.zeros(len(wanted))
    rejected = np.zeros(len(wanted), dtype=np.int64)
    k_max = min(settings.k_max, domain.num_features)
    k_min = min(settings.k_min, k_max)
    k = np.full(len(wanted), k_max)
    for iteration in range(settings.iter_max):
        answer = ask(proposed)
        queries[live] += 1
        confidence = answer[np.arange(len(live)), wanted[live]]
        rng = stream(seed, *name, "chance", iteration)
        chance = rng.random(len(wanted))[live]
        better = confidence >= best_confidence
        accepted = (
            better
            & (confidence > settings.conf_min)
            & (answer.argmax(1) == wanted[live])
            & (chance < confidence)
        )
        inputs[live[accepted]] = proposed[accepted]
        found[live[accepted]] = True
        best[better] = proposed[better]
        best_confidence = np.where(better, confidence, best_confidence)
        rejected = np.where(better, 0, rejected + 1)
        tired = rejected > settings.rej_max
        k = np.where(tired, np.maximum(k_min, -(-k // 2)), k)
        rejected[tired] = 0
        if accepted.any():
            rest = ~accepted
            live, best, k = live[rest], best[rest], k[rest]
            best_confidence, rejected = best_confidence[rest], rejected[rest]
        if not len(live):
            break
        rng = stream(seed, *name, "change", iteration)
        words = random_words(rng, int(live[-1]) + 1, domain.num_features)
        proposed = domain.changed(best, k, words[live])
    inputs[live] = best
    return Climbed(inputs, found, queries)
