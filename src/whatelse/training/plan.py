"""Which records each model of an entry is trained and tested on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.seeding import stream


@dataclass(frozen=True)
class Plan:
    """The rows of some models.

    Attributes
    ----------
    models : ndarray of int64, shape (models,)
        Which models; 0 is the target.
    train : ndarray of bool, shape (models, records)
        The records that a model is trained on.
    test : ndarray of bool, shape (models, records)
        The records that it is tested on: some of `train` (members) and as many of
        the same classes that it never saw (non-members).
    """

    models: NDArray[np.int64]
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def draw_plan(
    labels: NDArray[np.int64],
    models: range,
    *,
    members: int,
    non_members: int | None,
    seed: int,
    replicate: int,
) -> Plan:
    """Deal out the records, from the seed alone (P1 Sec. V).

    Model 0 is the target. Every other model is a shadow, on records disjoint from
    all that the target is trained and tested on; shadows may share records.

    The rows of a model do not depend on which others are asked for. Every draw
    takes the classes in the proportion in which they occur, and members and
    non-members of a model match class by class.

    Parameters
    ----------
    labels : ndarray of int64, shape (records,)
        Classes.
    models : range
        Which models; 0 is the target.
    members : int
        Training-set size of every model.
    non_members : int or None
        Records held out to test a model on; None for as many as members.
    seed, replicate : int
        Name the stream.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If there are too few records.
    """
    outside = non_members or members
    if outside > members:
        raise UserError(
            f"non_members: {outside} is above members ({members}); "
            f"allowed: 2..{members}"
        )
    records = len(labels)
    if 2 * (members + outside) > records:
        allowed = f"members up to {records // 4}"
        if non_members and records // 2 - outside >= outside:
            allowed = f"members up to {records // 2 - outside}"
        elif non_members:
            allowed = f"members and non_members up to {records // 4}"
        raise UserError(
            f"members: {members} training and {outside} held-out records, twice over "
            "because shadows share none with the target, are beyond the data set's "
            f"{records}; allowed: {allowed}"
        )
    everything = np.arange(records)
    rng = stream(seed, "plan", replicate, 0)
    target = _split(everything, labels, members, outside, rng)
    free = np.ones(records, dtype=bool)
    free[np.concatenate(target)] = False
    pool = np.flatnonzero(free)
    train = np.zeros((len(models), records), dtype=bool)
    test = np.zeros_like(train)
    for row, model in enumerate(models):
        if model == 0:
            matched, others, held_out = target
        else:
            rng = stream(seed, "plan", replicate, model)
            matched, others, held_out = _split(pool, labels, members, outside, rng)
        train[row, matched] = train[row, others] = True
        test[row, matched] = test[row, held_out] = True
    return Plan(np.asarray(models, dtype=np.int64), train, test)


def _split(
    pool: NDArray[np.int64],
    labels: NDArray[np.int64],
    members: int,
    outside: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw (members matched by non-members, other members, non-members)."""
    classes, counts = np.unique(labels[pool], return_counts=True)
    pairs = _apportion(outside, counts, counts // 2, rng)
    more = _apportion(members - outside, counts, counts - 2 * pairs, rng)
    shuffled = rng.permutation(pool)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for label, pair, extra in zip(classes, pairs, more, strict=True):
        ours = shuffled[labels[shuffled] == label]
        parts[0].append(ours[:pair])
        parts[2].append(ours[pair : 2 * pair])
        parts[1].append(ours[2 * pair : 2 * pair + extra])
    matched, others, held_out = (np.sort(np.concatenate(part)) for part in parts)
    return matched, others, held_out


def _apportion(
    total: int,
    weights: NDArray[np.int64],
    caps: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Share `total` out in proportion to `weights`, up to `caps`.

    Remainders are drawn by lot: by size, a class with less than one record due would
    never be in any training set.

    Raises
    ------
    UserError
        If the caps leave no room.
    """
    if total > caps.sum():
        raise UserError(
            f"members: the classes of the data set hold {int(caps.sum())} records for "
            f"a part that needs {total}; allowed: fewer members or non-members"
        )
    given, remainders = np.divmod(total * weights, weights.sum())
    given = np.minimum(given, caps)
    chances = np.where(given < caps, remainders, 0)
    for _ in range(total - int(given.sum())):
        if not chances.any():  # the caps of other classes left more to share out
            chances = caps - given
        drawn = rng.choice(len(caps), p=chances / chances.sum())
        given[drawn] += 1
        chances[drawn] = 0
    return given
