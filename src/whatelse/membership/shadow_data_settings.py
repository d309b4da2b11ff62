"""Settings of the data that shadow models are trained on (P1 Sec. V-C).

P1 is Shokri et al., S&P 2017. Apart from the attacks' settings, so that an edit to
those makes no data.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.models.settings import ReleaseSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Real(_Settings):
    """Records of the data set that the target was not trained or tested on."""

    kind: Literal["real"] = "real"


class ModelBased(_Settings):
    """Synthesis by hill climbing on the target's confidence (P1 Algorithm 1)."""

    kind: Literal["model-based"]
    k_max: int = Field(
        128, ge=1, le=10**7, description="Features that are changed at once, at first."
    )
    k_min: int = Field(
        4, ge=1, le=10**7, description="Features that are changed at once, at least."
    )
    conf_min: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Confidence above which a record of the wanted class may be taken.",
    )
    rej_max: int = Field(
        10,
        ge=0,
        le=10**7,
        description="Proposals in a row that may be worse before k is halved.",
    )
    iter_max: int = Field(
        1000, ge=1, le=10**6, description="Most queries for one record."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "ModelBased":
        if self.k_min > self.k_max:
            raise ValueError(f"k_min: {self.k_min}; allowed: 1..{self.k_max} (k_max)")
        return self


class Marginals(_Settings):
    """Each feature drawn by itself from its marginal over the population."""

    kind: Literal["marginals"]


class Noisy(_Settings):
    """Real records of the population with some of their features changed."""

    kind: Literal["noisy"]
    share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of each record's features, rounded to a whole number of "
        "them, that are flipped; P1 has .1 and .2.",
    )


ShadowData = Annotated[
    Real | ModelBased | Marginals | Noisy, Field(discriminator="kind")
]


class SynthesisSpec(_Settings):
    """What ``whatelse synthesise`` is told.

    `split`, `members`, `non_members`, `seed` and `replicate` are those of the target's
    training, and say which records are the target's.
    """

    settings: Annotated[ModelBased | Marginals | Noisy, Field(discriminator="kind")]
    records: int = Field(..., ge=4, le=10**9, description="How many are asked for.")
    release: ReleaseSettings | None = Field(
        ..., description="What is seen of the target, if it is asked."
    )
    split: Literal["random", "given"]
    members: int = Field(..., ge=2, le=10**9)
    non_members: int | None = Field(..., ge=2, le=10**9)
    seed: int = Field(..., ge=0, lt=2**63)
    replicate: int = Field(..., ge=0)
