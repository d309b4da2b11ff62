"""Settings of what an adversary does inside collaborative learning (P3 Sec. IV)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Property(BaseModel):
    """A property of records: an attribute with one of some values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    attribute: str = Field(
        ..., min_length=1, description="An attribute of the data set, or `label`."
    )
    values: tuple[str | int | bool, ...] = Field(
        ...,
        strict=False,
        min_length=1,
        description="Records with any of these have it.",
    )


class PropertyAdversary(BaseModel):
    """One participant infers whether another's batches have a property.

    Participant 0 is the target, 1 the adversary. Both hold half of the records that
    have the property, and nobody else holds any. At each iteration the adversary makes
    updates from records of its own, with the property and without: what it sees of the
    others is later held against these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["property"]
    property: Property
    fraction: float = Field(
        1.0, gt=0, le=1,
        description="Share of records with the property in the batches that have any.",
    )  # fmt: skip
    every: int = Field(
        2, ge=2, description="One of so many of the target's batches has the property."
    )
    during: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None = (
        Field(
            None,
            strict=False,
            description="Iterations [from, to) in which the target's batches may have "
            "it; always if left out.",
        )
    )
    examples: int = Field(
        1, ge=1, le=100, description="Updates of its own of either kind, an iteration."
    )
    first: int = Field(0, ge=0, description="Iterations before it begins to look.")
    control_every: int = Field(
        10, ge=1, description="Updates for the controls are made every so often."
    )
    max_features: int = Field(
        4096, ge=16, le=10**7,
        description="Most numbers kept of an update: gradients are max-pooled.",
    )  # fmt: skip
    alpha: float = Field(
        0.0, ge=0, lt=1,
        description="Weight of the property in the adversary's own loss: 0 is the "
        "passive attack, more the active one (P3 Sec. IV-E, as its code has it).",
    )  # fmt: skip

    @model_validator(mode="after")
    def _during_is_a_stretch(self) -> "PropertyAdversary":
        if self.during and self.during[0] >= self.during[1]:
            raise ValueError("during: from must be before to")
        return self


class MembershipAdversary(BaseModel):
    """One participant reads which words the others' batches had (P3 Sec. IV-B).

    From the rows of the embedding that they move. Participants hold records by lot, 1
    is the adversary.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["membership"]
    first: int = Field(0, ge=0, description="Rounds before it begins to look.")
