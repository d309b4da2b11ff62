"""Settings of what an adversary does inside collaborative learning (P3 Sec. IV)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_STRETCH = 10  # iterations, at least, that are learned from or asked about together
_FEWEST_CONTROLS = 13  # with fewer, 13 of 13 would not show that a leak is found


class Property(BaseModel):
    """A property of records: an attribute with one of some values, or a lot.

    What is drawn by lot is in no record, so nothing can tell it: a negative control.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    attribute: str | None = Field(
        None, min_length=1, description="An attribute of the data set, or `label`."
    )
    values: tuple[str | int | bool, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="Records with any of these have it.",
    )
    share: float | None = Field(
        None, gt=0, lt=1,
        description="In their place: the share of records that have it by lot.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_kind(self) -> "Property":
        named = (self.attribute is not None, self.values is not None)
        if self.share is None and not all(named):
            raise ValueError("needs attribute and values, or share")
        if self.share is not None and any(named):
            raise ValueError(f"share: {self.share}; allowed beside attribute: left out")
        return self


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
        2, ge=1,
        description="One of so many of the target's batches has the property; with 1 "
        "all, and runs are told apart, not batches.",
    )  # fmt: skip
    absent: bool = Field(
        False,
        description="The target holds such records but has no batch of them: a run to "
        "hold the others against.",
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

    unit: str | None = Field(
        None, min_length=1,
        description="An attribute, e.g. author, whose values are dealt out whole: no "
        "author is with two participants.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _during_is_a_stretch(self) -> "PropertyAdversary":
        if self.during and self.during[0] >= self.during[1]:
            raise ValueError("during: from must be before to")
        return self

    def stretch(self) -> int:
        """Return how many iterations are learned from, or asked about, together.

        So many that each stretch has a batch with the property.
        """
        return max(_STRETCH, self.every)

    def may_have_it(self, iteration: int) -> bool:
        """Return whether an iteration is one of those `during` which it occurs."""
        return self.during is None or self.during[0] <= iteration < self.during[1]

    def has_it(self, iteration: int) -> bool:
        """Return whether the target's batch of an iteration has the property."""
        if self.absent:
            return False
        return self.may_have_it(iteration) and iteration % self.every == 0

    def looks(self, rounds: int) -> tuple[int, int]:
        """Return how many rounds are looked at, and how many of them for controls."""
        seen = range(self.first, rounds)
        return len(seen), sum(number % self.control_every == 0 for number in seen)

    def tells_runs(self) -> bool:
        """Whether all its batches are alike: a run is told from others as a whole."""
        return self.absent or self.every == 1

    def refuse_too_short(self, rounds: int) -> None:
        """Refuse learning that is too short to tell anything.

        Raises
        ------
        ValueError
            If the looks do not suffice, one half of the stretches has batches of one
            kind alone, or `during` is beyond the end.
        """
        if self.during and self.during[1] > rounds:
            raise ValueError(
                f"adversary.during: {list(self.during)}; allowed: up to {rounds}, the "
                "iterations"
            )
        looks, controls = self.looks(rounds)
        if looks < 2 * self.stretch() or controls < _FEWEST_CONTROLS:
            raise ValueError(
                f"iterations: {rounds}, of which {looks} are looked at and "
                f"{controls} have controls; allowed: at least {2 * self.stretch()} and "
                f"{_FEWEST_CONTROLS} (adversary.first, every, control_every)"
            )
        seen = filter(self.may_have_it, range(self.first, rounds))
        kinds = {
            (number // self.stretch() % 2, number % self.every == 0) for number in seen
        }
        if len(kinds) < (2 if self.every == 1 else 4):
            raise ValueError(
                f"adversary.during: {list(self.during or (0, rounds))}, one batch in "
                f"{self.every}, looked at from {self.first} to {rounds}; allowed: "
                "batches of either kind in the even and in the odd stretches of "
                f"{self.stretch()}"
            )


class MembershipAdversary(BaseModel):
    """One participant reads which words the others' batches had (P3 Sec. IV-B).

    From the rows of the embedding that they move. Participants hold records by lot, 1
    is the adversary.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["membership"]
    first: int = Field(0, ge=0, description="Rounds before it begins to look.")
