"""A data set's given split: who made the data says what is to be trained on."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from whatelse.datasets.derived import Derived
from whatelse.datasets.store import ATTRIBUTES, SPLIT, Dataset
from whatelse.errors import UserError
from whatelse.seeding import stream


class Split(BaseModel):
    """Records drawn by lot to train on and to test on; the others are left to test."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["split"]
    members: int = Field(..., ge=2, le=10**9, description="Records to train on.")
    seed: int = Field(0, ge=0, lt=2**63)


def given_split(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which records a data set gives to train on; the others are to test on.

    Raises
    ------
    UserError
        If the data set has no attribute ``split``, or it says anything but ``train``
        and ``test``.
    """
    place = f"{dataset.folder}: attribute {SPLIT!r}"
    if (
        ATTRIBUTES not in dataset.info["sha256"]
        or SPLIT not in dataset.attributes.columns
    ):
        raise UserError(
            f"{place}: missing; allowed: a data set with a split (published, or by "
            "preprocess: {kind: split})"
        )
    words = dataset.attributes[SPLIT].to_numpy()
    other = {str(word) for word in words} - {"train", "test"}
    if other:
        raise UserError(f"{place}: {sorted(other)[0]!r}; allowed: train, test")
    parts: npt.NDArray[np.bool_] = words == "train"
    return parts


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
