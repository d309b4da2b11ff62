"""Canaries: records that a coin puts into a model's training, to audit its privacy.

For `split: coins`, where each model tosses its own (Steinke, Nasr & Jagielski 2023).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import CANARY, Dataset, given_split
from whatelse.errors import UserError
from whatelse.seeding import stream


class Canaries(BaseModel):
    """Records marked, or added, to be in a model's training by a coin of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["canaries"]
    count: int = Field(..., ge=2, le=10**7, description="How many.")
    records: Literal["wrong-labels", "noise", "plain"] = Field(
        "wrong-labels",
        description="wrong-labels: training records, by lot, with the label of another "
        "class. noise: added records, each feature uniform over its range, with any "
        "label. plain: training records, by lot, as they are.",
    )
    seed: int = Field(0, ge=0, lt=2**63)


def derive(settings: Mapping[str, Any], dataset: Dataset) -> Derived:
    """Return the data set with canaries in its training part.

    Raises
    ------
    UserError
        If it has no split, too few training records, or none that noise is like.
    """
    chosen = Canaries.model_validate(settings)
    training = given_split(dataset)
    words = np.where(training, "train", "test")
    rng = stream(chosen.seed, "canaries", chosen.records)
    title, classes = str(dataset.info["title"]), dataset.num_classes
    what = {
        "wrong-labels": "training records with the label of another class",
        "noise": "added records of noise with any label",
        "plain": "training records as they are",
    }[chosen.records]
    remarks = (f"{chosen.count:,} canaries: {what}",)
    if chosen.records == "noise":
        return Derived(
            inputs=_noise(dataset, training, chosen.count, rng),
            labels=rng.integers(classes, size=chosen.count),
            split=np.concatenate([words, np.full(chosen.count, "train")]),
            attributes={CANARY: [False] * dataset.num_records + [True] * chosen.count},
            title=title,
            remarks=remarks,
        )
    rows = np.flatnonzero(training)
    if chosen.count >= len(rows):
        raise UserError(
            f"preprocess.count: {chosen.count} of {len(rows)} training records; "
            f"allowed: 2..{len(rows) - 1}"
        )
    drawn = rng.choice(rows, chosen.count, replace=False)
    flags = np.zeros(dataset.num_records, dtype=bool)
    flags[drawn] = True
    labels = np.array(dataset.labels)
    if chosen.records == "wrong-labels":
        other = rng.integers(1, classes, size=chosen.count)
        labels[drawn] = (labels[drawn] + other) % classes
    return Derived(
        labels=labels,
        classes=tuple(dataset.info["class_names"]),
        split=words,
        attributes={CANARY: flags.tolist()},
        title=title,
        remarks=remarks,
    )


def _noise(
    dataset: Dataset, training: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Return records whose features are uniform over their range in the training part.

    Raises
    ------
    UserError
        If records are bags or rows of words, whose numbers mean nothing by their size.
    """
    if dataset.is_sparse or dataset.num_words is not None:
        raise UserError(
            "preprocess.records: noise, of records of words; allowed: wrong-labels, "
            "plain"
        )
    own = dataset.inputs[training]
    low, high = (end(axis=0).astype(np.float64) for end in (own.min, own.max))
    drawn = low + (high - low) * rng.random((count, *own.shape[1:]))
    if np.issubdtype(own.dtype, np.integer):
        drawn = np.rint(drawn)
    return np.asarray(drawn.astype(own.dtype))
