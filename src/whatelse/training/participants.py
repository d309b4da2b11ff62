"""Who takes part in collaborative learning, and who looks.

Three things are kept apart: what a participant submits, how submissions become the next
model, and what an observer is shown of it.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whatelse.seeding import stream
from whatelse.training.program import Program, Rows, Vectors


class Participant(Protocol):
    """Somebody who takes part.

    Attributes
    ----------
    rows : ndarray of int64
        The records that are theirs.
    submit : callable or None
        From its honest update and the scene to what it sends instead; None for an
        honest one.
    """

    @property
    def rows(self) -> Rows:
        """See above."""

    @property
    def submit(self) -> "Submit | None":
        """See above."""

    def batch(self, iteration: int, size: int) -> Rows:
        """Return the records of one batch of synchronised SGD, shape (size,)."""

    def local(self, number: int) -> Rows:
        """Return the records that are trained on in one round of averaging."""


@dataclass(frozen=True)
class Honest:
    """Goes through its own records in random order, again and again.

    Attributes
    ----------
    rows : ndarray of int64
        Its records.
    name : tuple
        Names its stream of random numbers.
    seed : int
        The study's.
    submit : callable or None
        As of any participant: honest but for what it sends.
    """

    rows: Rows
    name: tuple[int | str, ...]
    seed: int
    submit: "Submit | None" = None

    def batch(self, iteration: int, size: int) -> Rows:
        """Return the next records."""
        return endless(self.rows, iteration * size, size, self.seed, self.name)

    def local(self, number: int) -> Rows:
        """Return all its records."""
        return self.rows


def endless(
    rows: Rows, start: int, size: int, seed: int, name: Sequence[int | str]
) -> Rows:
    """Return a part of the endless sequence of random orders of some records.

    Every record occurs once in each order. The sequence is a function of its name, so
    any part of it can be had without the parts before.
    """
    pieces = []
    position, left = start, size
    while left > 0:
        epoch, offset = divmod(position, len(rows))
        order = stream(seed, *name, "batches", epoch).permutation(rows)
        piece = order[offset : offset + left]
        pieces.append(piece)
        position, left = position + len(piece), left - len(piece)
    return np.concatenate(pieces)


@dataclass(frozen=True)
class Scene:
    """One round, as it stands before the model moves.

    Attributes
    ----------
    number : int
        Which round, from 0.
    model : dict of str to Tensor
        The joint model that participants were sent; not to be changed.
    each : callable
        From sequences of records to what an honest participant would submit who had
        these: the gradient of the mean loss on a batch, or the change by local
        training.
    total : callable
        The sum of these, cheaper where nobody asks for them one by one.
    program_of_own : callable
        Makes the model, to be trained on.
    noise : callable or None
        With differential privacy, a draw of what is added to a sum: not the one that
        was, which nobody knows.
    chosen : tuple of int
        Who takes part.
    """

    number: int
    model: Vectors
    each: "Callable[[Sequence[Rows]], list[Vectors]]"
    total: "Callable[[Sequence[Rows]], Vectors]"
    program_of_own: "Callable[[], Program]"
    noise: "Callable[[], Vectors] | None" = None
    chosen: tuple[int, ...] = ()

    @functools.cached_property
    def program(self) -> "Program":
        """The model, to be asked for gradients of other losses; not to be changed."""
        return self.program_of_own()


Submit = Callable[[Vectors, Scene], Vectors]


class Observer(Protocol):
    """A participant that looks at what the others did.

    Attributes
    ----------
    seat : int
        Which participant it is. It is shown what all others submitted together: the
        move of the joint model, less its own part of it.
    """

    seat: int

    def look(self, scene: Scene, others: Vectors) -> None:
        """See one round: the sum of the others' gradients or weighted changes.

        With privacy, noise is in it.
        """


@dataclass(frozen=True)
class Move:
    """What a round of averaging did.

    Attributes
    ----------
    chosen : sequence of int
        Who took part.
    sent : sequence of dict of str to Tensor
        The change that each sent, before privacy clips it.
    shares : ndarray, shape (chosen,)
        How much of each the server took.
    """

    chosen: Sequence[int]
    sent: Sequence[Vectors]
    shares: NDArray[np.float64]


OnRound = Callable[[int, float], None]
"""Called after each round with its number, from 1, and the participants' mean loss."""


class Auditor(Protocol):
    """Who measures a joint model as it is made; takes no part and sees everything."""

    def audit(self, program: "Program", move: Move | None) -> None:
        """See the model at the start, with no move, and after every round."""
