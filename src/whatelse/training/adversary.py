"""What an adversary does in collaborative learning: the protocol, and its kinds.

The trainer knows nothing of attacks: an adversary deals out records, replaces some
participants and sits among them as an observer; kinds are imported by name.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from whatelse.datasets.store import Dataset
from whatelse.tables import kind_in
from whatelse.training.federated import Observer, Participant, Rows


class Watching(Observer, Protocol):
    """An observer that hands over what it kept."""

    def kept(self) -> dict[str, Tensor]:
        """Return what is stored beside the model, by name."""


@dataclass(frozen=True)
class Cast:
    """Who takes part.

    Attributes
    ----------
    participants : sequence of Participant
        All of them.
    observer : Watching or None
        Who looks.
    about : dict
        Facts for attacks and reports, JSON-ready.
    """

    participants: Sequence[Participant]
    observer: Watching | None
    about: dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """What an adversary is told before it deals out records.

    Attributes
    ----------
    dataset : Dataset
        All records.
    rows : ndarray of int64
        The participants' records; the others are held out.
    held_out : ndarray of int64
        Records that no participant has.
    count : int
        Participants.
    batch_size : int
        Records of a batch.
    learning_rate : float
        Of the protocol.
    rounds : int
        Iterations or rounds.
    averages : bool
        Whether participants train on their own and send changes, not gradients.
    seed : int
        The study's.
    name : tuple
        Names the streams of this learning.
    """

    dataset: Dataset
    rows: Rows
    held_out: Rows
    count: int
    batch_size: int
    learning_rate: float
    rounds: int
    averages: bool
    seed: int
    name: tuple[int | str, ...]

    @property
    def labels(self) -> Rows:
        """Classes of all records."""
        return np.asarray(self.dataset.labels)


MakeCast = Callable[[Mapping[str, Any], Stage], Cast]


def cast_of(settings: Mapping[str, Any], stage: Stage) -> Cast:
    """Return who takes part, under an adversary of some kind.

    Raises
    ------
    UserError
        If there is no such kind, or the records do not suffice.
    """
    make: MakeCast = importlib.import_module(module_of(settings)).cast
    return make(settings, stage)


def module_of(settings: Mapping[str, Any]) -> str:
    """Return the module of an adversary's kind, looked up by name.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    table = "whatelse.adversaries:ADVERSARIES"
    module: str = kind_in(table, settings.get("kind"), "adversary.kind")
    return module
