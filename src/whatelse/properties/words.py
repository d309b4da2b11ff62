"""Which words others' batches had, read from the gradient of an embedding (P3 IV-B).

The gradient of a word's row is not zero only if the word is in the batch. Everybody is
honest; the adversary keeps one bit a word and round.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets.vocabulary import vocabulary_of
from whatelse.errors import UserError
from whatelse.properties.adversary_settings import MembershipAdversary
from whatelse.seeding import stream
from whatelse.training.adversary import Cast, Stage
from whatelse.training.federated import Honest, Scene, Vectors
from whatelse.training.observations import MEMBERS, OWN, SEEN, STRANGERS

ADVERSARY = 1
EMBEDDING = "embedding.weight"


def cast(settings: Mapping[str, Any], stage: Stage) -> Cast:
    """Deal out records by lot; the adversary at seat 1 only looks.

    Raises
    ------
    UserError
        If records are not made of words, or it would never look.
    """
    chosen = MembershipAdversary.model_validate(settings)
    words = vocabulary_of(stage.dataset)
    if chosen.first >= stage.rounds:
        raise UserError(
            f"adversary.first: {chosen.first}; allowed: below {stage.rounds}, the end"
        )
    rng = stream(stage.seed, *stage.name, "deal")
    shares = np.array_split(rng.permutation(stage.rows), stage.count)
    people = [
        Honest(own, (*stage.name, "participant", number), stage.seed)
        for number, own in enumerate(shares)
    ]
    others = np.concatenate(
        [own for number, own in enumerate(shares) if number != ADVERSARY]
    )
    rows = {MEMBERS: others, OWN: shares[ADVERSARY], STRANGERS: stage.held_out}
    length = stage.dataset.inputs.shape[1]
    # a batch cannot have more, unless something else moves the embedding
    most = len(others) if stage.averages else (stage.count - 1) * stage.batch_size
    about = {"words": len(words), "most_words": min(len(words), most * length)}
    return Cast(people, WordObserver(chosen.first, rows), about)


class WordObserver:
    """Keeps which rows of the embedding the others moved."""

    seat = ADVERSARY

    def __init__(self, first: int, rows: Mapping[str, NDArray[np.int64]]) -> None:
        self._first, self._rows = first, dict(rows)
        self._seen: list[NDArray[np.uint8]] = []

    def look(self, scene: Scene, others: Vectors) -> None:
        """See a round."""
        if EMBEDDING not in others:
            raise UserError(
                "architecture: has no embedding, whose rows adversary.kind membership "
                "reads; allowed: text-cnn, gru"
            )
        if scene.number < self._first:
            return
        # exact zeros; row 0 is padding
        moved = others[EMBEDDING][1:].ne(0).any(1)
        self._seen.append(np.packbits(moved.cpu().numpy()))

    def kept(self) -> dict[str, Tensor]:
        """Return a bit a word, by rounds, and whose records are which."""
        rows = {name: torch.from_numpy(own.copy()) for name, own in self._rows.items()}
        return {SEEN: torch.from_numpy(np.stack(self._seen)), **rows}
