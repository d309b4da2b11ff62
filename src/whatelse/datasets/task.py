"""Another task on the same records: a data set whose classes are an attribute's."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from whatelse.datasets.attributes import LABEL, words_of
from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import SPLIT, Dataset, known_attributes
from whatelse.errors import UserError

_Value = str | int | bool
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,59}$")]


class Task(BaseModel):
    """What models are to predict; what they predicted becomes an attribute."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["task"]
    attribute: str = Field(
        LABEL, min_length=1, description="An attribute, or `label`: the classes now."
    )
    classes: dict[str, Annotated[tuple[_Value, ...], Field(strict=False)]] | None = (
        Field(
            None,
            min_length=2,
            description="Each class by its name, with the values that it stands for; "
            "a class for each value if left out.",
        )
    )
    keep_as: _Name = Field(
        "former_label", description="The attribute that the classes now become."
    )

    @model_validator(mode="after")
    def _values_occur_once(self) -> Self:
        values = [str(v) for own in (self.classes or {}).values() for v in own]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"classes: {twice[0]!r} occurs twice")
        return self


def derive(settings: Mapping[str, Any], dataset: Dataset) -> Derived:
    """Return the data set with other classes.

    Raises
    ------
    UserError
        If there is no such attribute, a value belongs to no class, or the name of the
        attribute to be is taken.
    """
    chosen = Task.model_validate(settings)
    known = known_attributes(dataset)
    if chosen.keep_as in (*known, LABEL, SPLIT):
        raise UserError(
            f"preprocess.keep_as: {chosen.keep_as!r}: an attribute already; allowed: "
            "another name"
        )
    before = words_of(dataset, LABEL, "")
    words = words_of(dataset, chosen.attribute, "preprocess.attribute")
    classes = {
        name: [str(value) for value in values]
        for name, values in (chosen.classes or _one_each(words)).items()
    }
    class_of = {
        value: number
        for number, values in enumerate(classes.values())
        for value in values
    }
    if left_over := sorted({*words.tolist()} - {*class_of}):
        raise UserError(
            f"preprocess.classes: {left_over[0]!r} belongs to none; allowed: classes "
            "for all values that occur"
        )
    return Derived(
        title=dataset.info["title"],
        classes=tuple(classes),
        labels=np.array([class_of[word] for word in words], dtype=np.int64),
        attributes={chosen.keep_as: before.tolist()},
    )


def _one_each(words: Any) -> dict[str, list[str]]:
    return {str(word): [str(word)] for word in np.unique(words)}
