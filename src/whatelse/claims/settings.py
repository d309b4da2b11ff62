"""What a study may claim: a published number, and the relation to hold ours to.

Pure descriptions, checked by pydantic; the study grammar and the command line read
the same classes. Judging is done by ``whatelse.claims.judge``.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.measures.names import Metric

Where = dict[str, str | int | float | bool]
"""Conditions that single out one instance of an attack over a grid."""

PublishedId = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_-]+/[A-Za-z0-9_.-]+$",
        description="A published number as FILE/ID: the id in the file of that name "
        "in the folder of published numbers, e.g. 'shokri2017/P1-a'.",
    ),
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Within(_Settings):
    """Our mean is close to the published number."""

    kind: Literal["within"]
    tolerance: float = Field(
        gt=0, description="Largest distance of our mean from the published number."
    )


class Between(_Settings):
    """Our mean lies in a band."""

    kind: Literal["between"]
    low: float = Field(description="Lower end of the band, itself allowed.")
    high: float = Field(description="Upper end of the band, itself allowed.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"high: must be above low ({self.low}), is {self.high}")
        return self


class _Bound(_Settings):
    by: Literal["mean", "low", "high"] = Field(
        "mean",
        description="What is held to the bound: our mean over seeds, or the lower or "
        "higher end of its 95% interval, for which it takes two seeds at least.",
    )


class LowerBound(_Bound):
    """Our mean, or an end of its interval, reaches a bound."""

    kind: Literal["at_least"]
    bound: float = Field(description="Smallest number that fulfils the claim.")


class UpperBound(_Bound):
    """Our mean, or an end of its interval, stays under a bound."""

    kind: Literal["at_most"]
    bound: float = Field(description="Largest number that fulfils the claim.")


_VARIABLE = Field(
    min_length=1,
    description="A grid variable with numbers, e.g. 'members'. 'classes' and 'records' "
    "are taken from the data set where the grid does not name them. The means at its "
    "smallest and largest value are compared, paired over seeds: the 95% interval of "
    "the difference must exclude 0.",
)


class GrowsWith(_Settings):
    """The metric is larger at the largest value of a grid variable."""

    kind: Literal["grows_with"]
    variable: str = _VARIABLE


class FallsWith(_Settings):
    """The metric is smaller at the largest value of a grid variable."""

    kind: Literal["falls_with"]
    variable: str = _VARIABLE


class _Order(_Settings):
    attack: str | None = Field(
        None,
        min_length=1,
        description="The attack compared with; that of the claim if left out.",
    )
    where: Where | None = Field(
        None,
        description="Conditions that single out the instance compared with, in full; "
        "those of the claim if left out.",
    )
    metric: Metric | None = Field(
        None, description="What is compared with; the metric of the claim if left out."
    )

    @model_validator(mode="after")
    def _another(self) -> Self:
        if self.attack is None and self.where is None and self.metric is None:
            raise ValueError("compares with itself: name attack, where or metric")
        return self


class _Apart(_Order):
    margin: float = Field(
        0.0,
        ge=0,
        description="The 95% interval of the difference must lie beyond so much, not "
        "merely beyond 0.",
    )


class Above(_Apart):
    """The metric is larger than that of another instance, paired over seeds."""

    kind: Literal["above"]


class Below(_Apart):
    """The metric is smaller than that of another instance, paired over seeds."""

    kind: Literal["below"]


class NotBelow(_Order):
    """Our mean is no smaller than that of another instance; seeds are not asked."""

    kind: Literal["not_below"]


class Alike(_Order):
    """The metric is that of another instance, give or take, paired over seeds."""

    kind: Literal["alike"]
    tolerance: float = Field(
        gt=0,
        description="The 95% interval of the difference must lie within so much of 0 "
        "on either side: that no difference was found is not enough.",
    )


class Several(_Settings):
    """So many instances along a grid variable, at least, fulfil what is asked."""

    kind: Literal["several"]
    variable: str = Field(
        min_length=1,
        description="A grid variable, of numbers or words. The claim's conditions "
        "leave one instance for every value.",
    )
    least: int = Field(ge=1, description="Fewest values at which it must hold.")
    each: Annotated[LowerBound | UpperBound | Between, Field(discriminator="kind")] = (
        Field(description="What is asked of our number at each value.")
    )


Relation = Annotated[
    Within
    | Between
    | LowerBound
    | UpperBound
    | GrowsWith
    | FallsWith
    | Above
    | Below
    | NotBelow
    | Alike
    | Several,
    Field(discriminator="kind"),
]
"""What is asked of our numbers; ``kind`` says which."""


class Comparable(_Settings):
    """When our number may be held against the paper's: the models must be alike."""

    metric: Literal["train_accuracy", "test_accuracy"] = Field(
        "test_accuracy", description="Accuracy of the target that must be alike."
    )
    published: PublishedId | None = Field(
        None, description="The paper's accuracy, as FILE/ID; or give 'value'."
    )
    value: float | None = Field(
        None, ge=0, le=1, description="The paper's accuracy; or give 'published'."
    )
    tolerance: float = Field(
        0.03,
        gt=0,
        le=1,
        description="Largest distance of our mean: beyond it, the verdict is "
        "'not comparable'.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.published is None) == (self.value is None):
            raise ValueError("needs exactly one of published and value")
        return self


class Claim(_Settings):
    """One statement of a paper, or of ours, that a study is held to."""

    claim: str = Field(min_length=1, description="The statement, as one sentence.")
    attack: str = Field(
        min_length=1, description="Name of the study's attack that is looked at."
    )
    where: Where = Field(
        {},
        description="Conditions on the grid's variables, and on 'dataset', 'classes' "
        "and 'records'. They must leave one instance of the attack; for grows_with, "
        "falls_with and several one for every value of the variable.",
    )
    metric: Metric = Field(description="Which of the attack's numbers is looked at.")
    published: PublishedId | None = Field(
        None, description="The published number that is shown beside ours."
    )
    relation: Relation = Field(description="What is asked of our number.")
    comparable: Comparable | None = Field(
        None,
        description="When our number may be held against the paper's at all; not with "
        "grows_with, falls_with and several, which look at several targets.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.relation, Within) and self.published is None:
            raise ValueError("published: the relation 'within' needs one")
        if self.comparable and isinstance(
            self.relation, GrowsWith | FallsWith | Several
        ):
            raise ValueError(
                f"comparable: {self.relation.kind} looks at no single target; leave out"
            )
        return self
