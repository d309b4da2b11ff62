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

    def of_records(self, units: NDArray[np.int64]) -> "Plan":
        """Return the plan of records, from one of what they belong to.

        Parameters
        ----------
        units : ndarray of int64, shape (records,)
            Which of those that this plan deals out a record belongs to.
        """
        return Plan(self.models, self.train[:, units], self.test[:, units])


def draw_plan(
    labels: NDArray[np.int64],
    models: range,
    *,
    members: int | None,
    non_members: int | None,
    seed: int,
    replicate: int,
    parts: NDArray[np.bool_] | None = None,
    halves: bool = False,
    canaries: NDArray[np.bool_] | None = None,
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
    parts : ndarray of bool, shape (records,), optional
        A given split: true for records to train on, false for records to test on.
        Every model draws `members` of the former and `non_members` of the latter, all
        of them if left out, and is tested on as many of its members, or fewer where it
        has not as many.
    halves : bool, optional
        Twice `members` records, all if left out, are drawn for all models alike. Each
        is trained on one half of them and tested on both (LiRA, Sec. IV). The target's
        half is its own; 1 and 2, 3 and 4, ... complement each other, so that the first
        2, 4, 6, ... reference models hold each record in exactly half of them.
    canaries : ndarray of bool, shape (records,), optional
        With `parts`: records that each model is trained on, or not, by a fair coin of
        their own (Steinke, Nasr & Jagielski 2023, Sec. 3), and tested on. The other
        records of the training part are in every model's training.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If there are too few records.
    """
    if halves:
        return _draw_halves(labels, models, members, seed, replicate)
    if parts is not None and canaries is not None:
        return _toss(models, parts, canaries, seed, replicate)
    if parts is not None:
        return _draw_given(labels, models, parts, members, non_members, seed, replicate)
    if members is None:
        raise UserError("members: left out; allowed: a number, or a given split")
    outside = non_members or members
    if outside > members:
        raise UserError(
            f"non_members: {outside} is above members ({members}); "
            f"allowed: 2..{members}"
        )
    records = len(labels)
    shares = 2 if models[-1] > 0 else 1  # shadows take none of the target's records
    if shares * (members + outside) > records:
        allowed = f"members up to {records // (2 * shares)}"
        if non_members and records // shares - outside >= outside:
            allowed = f"members up to {records // shares - outside}"
        elif non_members:
            allowed = f"members and non_members up to {records // (2 * shares)}"
        twice = ", twice over because shadows share none with the target," * (
            shares == 2
        )
        raise UserError(
            f"members: {members} training and {outside} held-out records{twice} are "
            f"beyond the data set's {records}; allowed: {allowed}"
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


def expected_members(plan: Plan, canaries: NDArray[np.bool_] | None) -> float:
    """Return how many records a model is trained on, as far as no coin decides.

    Differential privacy compares training sets of one record more or less, so what it
    promises must not hang on how many there are.
    """
    if canaries is None:
        return float(plan.train[0].sum())
    return float((plan.train[0] & ~canaries).sum() + canaries.sum() / 2)


def _toss(
    models: range, parts: NDArray[np.bool_], canaries: NDArray[np.bool_], seed: int,
    replicate: int,
) -> Plan:  # fmt: skip
    """Toss a coin for every canary and model."""
    train = np.tile(parts & ~canaries, (len(models), 1))
    for row, model in enumerate(models):
        rng = stream(seed, "plan", replicate, model, "coins")
        train[row, canaries] = rng.random(int(canaries.sum())) < 0.5
    test = np.tile(canaries, (len(models), 1))
    return Plan(np.asarray(models, dtype=np.int64), train, test)


def hold_back(
    plan: Plan, labels: NDArray[np.int64], share: float, *, seed: int, replicate: int
) -> tuple[Plan, NDArray[np.bool_]]:
    """Take a share of each model's training records out of it, to stop training by.

    They take part in the choice of the epoch, so they are neither members nor
    non-members: no model is tested on them, and as many non-members of their classes
    are tested no longer, which keeps the baseline at .5.

    Parameters
    ----------
    plan : Plan
        As it was drawn.
    labels : ndarray of int64, shape (records,)
        Classes.
    share : float
        In (0, 1), of the training records; at least one record.
    seed, replicate : int
        Name the stream.

    Returns
    -------
    plan : Plan
        Without them.
    held : ndarray of bool, shape (models, records)
        They.
    """
    train, test = plan.train.copy(), plan.test.copy()
    held = np.zeros_like(train)
    for row, model in enumerate(plan.models):
        rng = stream(seed, "plan", replicate, int(model), "held back")
        members = np.flatnonzero(train[row])
        number = min(max(1, round(share * len(members))), len(members) - 1)
        held[row, _some(members, labels, number, rng)] = True
        outside = rng.permutation(np.flatnonzero(test[row] & ~train[row]))
        for label in np.unique(labels[held[row] & test[row]]):
            lost = int((held[row] & test[row] & (labels == label)).sum())
            test[row, outside[labels[outside] == label][:lost]] = False
    return Plan(plan.models, train & ~held, test & ~held), held


def _draw_given(
    labels: NDArray[np.int64], models: range, parts: NDArray[np.bool_],
    members: int | None, non_members: int | None, seed: int, replicate: int,
) -> Plan:  # fmt: skip
    """Deal out the two parts of a given split."""
    rows = {"members": np.flatnonzero(parts), "non_members": np.flatnonzero(~parts)}
    asked = {"members": members, "non_members": non_members}
    for name, number in asked.items():
        if (number or 1) > len(rows[name]):
            raise UserError(
                f"{name}: {number or 'all'} of a part of {len(rows[name])} records; "
                f"allowed: 1..{len(rows[name])}, from a split with both parts"
            )
    train = np.zeros((len(models), len(labels)), dtype=bool)
    test = np.zeros_like(train)
    for row, model in enumerate(models):
        rng = stream(seed, "plan", replicate, model)
        inside, outside = (
            _some(rows[name], labels, number, rng) for name, number in asked.items()
        )
        train[row, inside] = True
        test[row, outside] = True
        test[row, _some(inside, labels, min(len(inside), len(outside)), rng)] = True
    return Plan(np.asarray(models, dtype=np.int64), train, test)


def _draw_halves(
    labels: NDArray[np.int64], models: range, members: int | None, seed: int,
    replicate: int,
) -> Plan:  # fmt: skip
    """Deal out complementary halves of the records that take part."""
    records = len(labels)
    size = records // 2 if members is None else members
    if not 2 <= size <= records // 2:
        raise UserError(
            f"members: {size} are trained on and as many not, of the data set's "
            f"{records} records; allowed: 2..{records // 2}"
        )
    # Replicates share the reference models, and so what these are asked about.
    pool = _some(np.arange(records), labels, 2 * size, stream(seed, "plan", "pool"))
    classes, counts = np.unique(labels[pool], return_counts=True)
    train = np.zeros((len(models), records), dtype=bool)
    test = np.zeros_like(train)
    test[:, pool] = True
    for row, model in enumerate(models):
        pair, second = divmod(model - 1, 2)
        name = ("pair", pair) if model else (0,)
        rng = stream(seed, "plan", replicate, *name)
        shares = _apportion(size, counts, counts, rng)
        shuffled = rng.permutation(pool)
        for label, share in zip(classes, shares, strict=True):
            train[row, shuffled[labels[shuffled] == label][:share]] = True
        if model and second:
            train[row] = test[row] & ~train[row]
    return Plan(np.asarray(models, dtype=np.int64), train, test)


def _some(
    pool: NDArray[np.int64], labels: NDArray[np.int64], number: int | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # fmt: skip
    """Draw records, the classes in the proportion in which they occur."""
    if number is None or number == len(pool):
        return pool
    classes, counts = np.unique(labels[pool], return_counts=True)
    shares = _apportion(number, counts, counts, rng)
    shuffled = rng.permutation(pool)
    drawn = [
        shuffled[labels[shuffled] == label][:share]
        for label, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


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
