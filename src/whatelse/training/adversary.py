"""What an adversary does in collaborative learning: the protocol, and its kinds.

The trainer knows nothing of attacks: an adversary deals out records, replaces some
participants and sits among them as an observer; kinds are imported by name.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.tables import kind_in
from whatelse.training.deal import dealt
from whatelse.training.federated_settings import (
    Averaging,
    ByLot,
    Deal,
    Gradients,
    rounds_of,
)
from whatelse.training.participants import Auditor, Honest, Observer, Participant
from whatelse.training.program import Rows


class Watching(Protocol):
    """Who hands over what it kept."""

    def kept(self) -> dict[str, Tensor]:
        """Return what is stored beside the model, by name."""


class Watcher(Observer, Watching, Protocol):
    """An observer that hands over what it kept."""


class Examiner(Auditor, Watching, Protocol):
    """An auditor that hands over what it kept."""


@dataclass(frozen=True)
class Planted:
    """Records that an adversary made itself; they are numbered after the data set's.

    Attributes
    ----------
    inputs : ndarray, shape (records, ...)
        As the data set stores them.
    labels : ndarray of int64, shape (records,)
        Classes.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Cast:
    """Who takes part.

    Attributes
    ----------
    participants : sequence of Participant
        All of them.
    observer : Watcher or None
        Who looks, from its seat.
    about : dict
        Facts for attacks and reports, JSON-ready.
    auditor : Examiner or None
        Sees everything, to measure it.
    planted : Planted or None
        Records of the adversary's own making.
    invited : mapping of int to sequence of int
        Participants that are among those selected in a round.
    ignored : ndarray of int64
        Records on which the model's accuracy is not measured: nobody honest has them.
    """

    participants: Sequence[Participant]
    observer: Watcher | None
    about: dict[str, Any]
    auditor: Examiner | None = None
    planted: Planted | None = None
    invited: Mapping[int, Sequence[int]] = field(default_factory=dict)
    ignored: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def watching(self) -> Watching | None:
        """Who keeps something of what it saw."""
        return self.auditor or self.observer


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
    protocol : Gradients or Averaging
        How they learn.
    deal : ByLot, Dirichlet or ByAttribute
        How records are dealt out.
    seed : int
        The study's.
    name : tuple
        Names the streams of this learning.
    replicate : int
        Which of several, from 0.
    """

    dataset: Dataset
    rows: Rows
    held_out: Rows
    count: int
    protocol: Gradients | Averaging
    deal: Deal
    seed: int
    name: tuple[int | str, ...]
    replicate: int = 0

    @property
    def batch_size(self) -> int:
        """Records of a batch."""
        return self.protocol.batch_size

    @property
    def rounds(self) -> int:
        """Iterations or rounds."""
        return rounds_of(self.protocol)

    @property
    def averages(self) -> bool:
        """Whether participants train on their own and send changes, not gradients."""
        return isinstance(self.protocol, Averaging)

    def dealt(self, rows: Rows, count: int) -> list[Honest]:
        """Deal records out among honest participants."""
        return dealt(self.deal, self.dataset, rows, count, self.seed, self.name)

    def refuse_own_deal(self) -> None:
        """Refuse a deal of records, for an adversary that has its own.

        Raises
        ------
        UserError
            If one is asked for.
        """
        if not isinstance(self.deal, ByLot):
            raise UserError(
                f"deal.kind: {self.deal.kind}; allowed with this adversary: lot"
            )

    def refuse_hidden_sums(self) -> None:
        """Refuse averaging of which what is seen is no sum over all others.

        Raises
        ------
        UserError
            If some are selected, or there is a defence.
        """
        if not isinstance(self.protocol, Averaging):
            return
        defence = self.protocol.defence.kind if self.protocol.defence else None
        for name, value in (
            ("selected", self.protocol.selected), ("defence", defence),
        ):  # fmt: skip
            if value not in (None, self.count):
                raise UserError(
                    f"protocol.{name}: {value}; allowed with an adversary that looks: "
                    "left out (it takes what it sees for the sum of all others)"
                )

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
