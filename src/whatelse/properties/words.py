"""Which words others' batches had, read from the gradient of an embedding (P3 IV-B).

The gradient of a word's row is not zero only if the word is in the batch. Everybody is
honest; the adversary keeps one bit a word and round.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets.vocabulary import vocabulary_of
from whatelse.errors import UserError
from whatelse.models.text import EMBEDDING
from whatelse.properties.adversary_settings import MembershipAdversary
from whatelse.training.adversary import Cast, Stage
from whatelse.training.observations import MEMBERS, OWN, SEEN, STRANGERS
from whatelse.training.participants import Honest, Scene
from whatelse.training.program import Vectors

ADVERSARY = 1
_MOST_KEPT = 32 * 10**9  # bits


def cast(settings: Mapping[str, Any], stage: Stage) -> Cast:
    """Deal out records by lot; the adversary at seat 1 only looks.

    Raises
    ------
    UserError
        If records are not made of words, or it would never look.
    """
    chosen = MembershipAdversary.model_validate(settings)
    words = vocabulary_of(stage.dataset)
    stage.refuse_hidden_sums()
    looks = stage.rounds - chosen.first
    if looks < 1:
        raise UserError(
            f"adversary.first: {chosen.first}; allowed: below {stage.rounds}, the end"
        )
    if looks * len(words) > _MOST_KEPT:
        raise UserError(
            f"iterations: {looks:,} looks at {len(words):,} words; allowed: at most "
            f"{_MOST_KEPT // len(words):,} looks (4 GB), or a later adversary.first"
        )
    people = stage.dealt(stage.rows, stage.count)
    others = [person for n, person in enumerate(people) if n != ADVERSARY]
    length = stage.dataset.inputs.shape[1]
    # a batch cannot have more, unless something else moves the embedding
    most = (stage.count - 1) * stage.batch_size
    if stage.averages:
        most = sum(len(person.rows) for person in others)
    about = {"words": len(words), "most_words": min(len(words), most * length)}
    observer = WordObserver(chosen, stage, others, people[ADVERSARY].rows)
    return Cast(people, observer, about)


class WordObserver:
    """Keeps which rows of the embedding the others moved, and who was there."""

    seat = ADVERSARY

    def __init__(
        self, settings: MembershipAdversary, stage: Stage, others: Sequence[Honest],
        own: NDArray[np.int64],
    ) -> None:  # fmt: skip
        self._settings, self._stage, self._others = settings, stage, others
        self._own = own
        self._seen: list[NDArray[np.uint8]] = []
        self._there = np.zeros(stage.dataset.num_records, dtype=np.bool_)

    def look(self, scene: Scene, others: Vectors) -> None:
        """See a round."""
        # Where the output's weights are the embedding, every row moves.
        if EMBEDDING not in others or "output.weight" not in others:
            raise UserError(
                "architecture: has no embedding of its own, whose rows adversary.kind "
                "membership reads; allowed: text-cnn, gru, lstm with tied: false"
            )
        if scene.number < self._settings.first:
            return
        # exact zeros; row 0 is padding
        moved = others[EMBEDDING][1:].ne(0).any(1)
        self._seen.append(np.packbits(moved.cpu().numpy()))
        # what is true, to judge the attack by: the adversary does not know it
        for person in self._others:
            if self._stage.averages:
                self._there[person.local(scene.number)] = True
            else:
                self._there[person.batch(scene.number, self._stage.batch_size)] = True

    def kept(self) -> dict[str, Tensor]:
        """Return a bit a word, by rounds, and whose records are which.

        Members are the records that were in a round that was looked at.
        """
        rows = {
            MEMBERS: np.flatnonzero(self._there),
            OWN: self._own,
            STRANGERS: self._stage.held_out,
        }
        kept = {name: torch.from_numpy(found.copy()) for name, found in rows.items()}
        return {SEEN: torch.from_numpy(np.stack(self._seen)), **kept}
