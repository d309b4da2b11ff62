"""How records are dealt out among participants."""

from collections.abc import Sequence

import numpy as np

from whatelse.datasets.attributes import words_of
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.seeding import stream
from whatelse.training.federated_settings import ByAttribute, Deal, Dirichlet
from whatelse.training.participants import Honest
from whatelse.training.program import Rows


def dealt(
    settings: Deal, dataset: Dataset, rows: Rows, count: int, seed: int,
    name: tuple[int | str, ...],
) -> list[Honest]:  # fmt: skip
    """Return honest participants with their records.

    Parameters
    ----------
    settings : ByLot, Dirichlet or ByAttribute
        How records are dealt out.
    dataset : Dataset
        All records.
    rows : ndarray of int64
        Those that are dealt out.
    count : int
        Participants.
    seed : int
        The study's.
    name : tuple
        Names the stream of the deal and those of the participants.

    Raises
    ------
    UserError
        If somebody would have no records, or the attribute has too few values.
    """
    parts = parts_of(settings, dataset, rows, count, stream(seed, *name, "deal"))
    return seated(parts, seed, name)


def parts_of(
    settings: Deal, dataset: Dataset, rows: Rows, count: int,
    rng: np.random.Generator,
) -> list[Rows]:  # fmt: skip
    """Return the records of each of some participants; as `dealt`, by a generator."""
    if isinstance(settings, ByAttribute):
        parts = _by_attribute(settings, dataset, rows, count, rng)
    elif isinstance(settings, Dirichlet):
        parts = _by_class(settings, dataset, rows, count, rng)
    else:
        parts = np.array_split(rng.permutation(rows), count)
    if empty := sum(not len(part) for part in parts):
        raise UserError(
            f"participants: {count}, of whom {empty} have no records; allowed: fewer "
            "participants, or a larger deal.alpha"
        )
    return parts


def seated(
    parts: Sequence[Rows], seed: int, name: tuple[int | str, ...]
) -> list[Honest]:  # fmt: skip
    """Return honest participants with these records."""
    return [
        Honest(part, (*name, "participant", number), seed)
        for number, part in enumerate(parts)
    ]


def _by_class(
    settings: Dirichlet, dataset: Dataset, rows: Rows, count: int,
    rng: np.random.Generator,
) -> list[Rows]:  # fmt: skip
    """Share out each class by a draw of its own (P4 Sec. 4.1)."""
    labels = np.asarray(dataset.labels)[rows]
    parts: list[list[Rows]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        own = rng.permutation(rows[labels == label])
        shares = rng.dirichlet(np.full(count, settings.alpha))
        ends = np.rint(np.cumsum(shares)[:-1] * len(own)).astype(np.int64)
        for part, more in zip(parts, np.split(own, ends), strict=True):
            part.append(more)
    return [np.concatenate(part) for part in parts]


def _by_attribute(
    settings: ByAttribute, dataset: Dataset, rows: Rows, count: int,
    rng: np.random.Generator,
) -> list[Rows]:  # fmt: skip
    words = words_of(dataset, settings.attribute, "deal.attribute")[rows]
    values, codes = np.unique(words, return_inverse=True)
    if len(values) < count:
        raise UserError(
            f"participants: {count}; allowed: 2..{len(values)}, the values of "
            f"{settings.attribute}"
        )
    chosen = rng.choice(len(values), count, replace=False)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))[:-1]
    grouped = np.split(rows[order], ends)
    return [grouped[value] for value in chosen]
