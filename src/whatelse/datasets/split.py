"""A data set's given split: who made the data says what is to be trained on."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.seeding import stream


class Split(BaseModel):
    """Records drawn by lot to train on and to test on; the others are left to test."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["split"]
    members: int = Field(..., ge=2, le=10**9, description="Records to train on.")
    seed: int = Field(0, ge=0, lt=2**63)


def derive(settings: Mapping[str, Any], dataset: Dataset) -> Derived:
    """Return the data set with a split, the classes in proportion in both parts."""
    from sklearn.model_selection import train_test_split

    chosen = Split.model_validate(settings)
    if chosen.members >= dataset.num_records:
        raise UserError(
            f"preprocess.members: {chosen.members}; allowed: below "
            f"{dataset.num_records}, the data set's records"
        )
    state = int(stream(chosen.seed, "split").integers(2**31))
    try:
        members, _ = train_test_split(
            np.arange(dataset.num_records), train_size=chosen.members,
            stratify=dataset.labels, random_state=state,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"preprocess.members: {chosen.members}: {error}") from None
    split = np.full(dataset.num_records, "test", dtype="<U5")
    split[members] = "train"
    return Derived(split=split, title=dataset.info["title"])
