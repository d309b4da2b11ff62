"""Phrases: random words that users are made to have written, to test what is memorised.

Carlini et al., USENIX Security 2019, call them canaries. Here each is one user's, so
that it is learned from with the rest of what this user wrote, or not at all.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from whatelse.datasets.attributes import numbers_of
from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import Dataset
from whatelse.datasets.vocabulary import vocabulary_of
from whatelse.errors import UserError
from whatelse.seeding import stream

PHRASE = "phrase"
"""The attribute that numbers phrases from 1; 0 for all that users wrote themselves."""
ORDINARY = 3
"""The number of the first word that is neither unknown nor the end of a post."""


class Phrases(BaseModel):
    """Random words, each phrase put some times into the text of one user."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["phrases"]
    count: int = Field(..., ge=2, le=100_000, description="Phrases, of a user each.")
    copies: int = Field(
        1, ge=1, le=10_000, description="How often the user wrote the phrase."
    )
    length: int = Field(6, ge=2, le=1000, description="Words of a phrase.")
    attribute: str = Field(
        "author", min_length=1, description="Whose values are users."
    )
    seed: int = Field(0, ge=0, lt=2**63)


def derive(settings: Mapping[str, Any], dataset: Dataset) -> Derived:
    """Return the data set with phrases, as records of their own.

    Raises
    ------
    UserError
        If records are no windows of words, a phrase does not fit one, or there are too
        few users.
    """
    chosen = Phrases.model_validate(settings)
    words = len(vocabulary_of(dataset))
    longest = dataset.inputs.shape[1]
    if chosen.length > longest + 1:
        raise UserError(
            f"preprocess.length: {chosen.length} words; allowed: 2..{longest + 1}, a "
            "window and the word after it"
        )
    users, _ = numbers_of(dataset, chosen.attribute, "preprocess.attribute")
    if chosen.count > len(users):
        raise UserError(
            f"preprocess.count: {chosen.count} phrases; allowed: 2..{len(users)}, the "
            f"values of {chosen.attribute}"
        )
    rng = stream(chosen.seed, "phrases")
    owners = users[rng.permutation(len(users))[: chosen.count]]
    phrases = random_phrases(rng, chosen.count, chosen.length, words)
    rows = np.zeros((chosen.count, longest), dtype=dataset.inputs.dtype)
    rows[:, : chosen.length - 1] = phrases[:, :-1]
    times = chosen.copies
    added = chosen.count * times
    column = dataset.attributes[chosen.attribute]
    of_name = {str(value): value for value in column}  # numbers stay numbers
    own = {
        str(name): [*values, *[None] * added]
        for name, values in dataset.attributes.items()
    }
    numbers = np.arange(1, chosen.count + 1).repeat(times)
    return Derived(
        inputs=rows.repeat(times, 0),
        labels=phrases[:, -1].repeat(times),
        attributes={
            **own,
            chosen.attribute: [
                *column,
                *(of_name[str(owner)] for owner in owners.repeat(times)),
            ],
            PHRASE: [0] * dataset.num_records + numbers.tolist(),
        },
        title=str(dataset.info["title"]),
        remarks=(
            f"{chosen.count:,} phrases of {chosen.length} random words, {times} times "
            "each, are somebody's",
        ),
    )


def random_phrases(
    rng: np.random.Generator, count: int, length: int, words: int
) -> NDArray[np.int64]:
    """Draw phrases of ordinary words, shape (count, length)."""
    return rng.integers(ORDINARY, words + 1, (count, length))
