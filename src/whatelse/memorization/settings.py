"""Settings of the memorization attacks: reading, measuring, scrubbing, detecting."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.scrub_settings import Scrub

LOSSLESS_COST = 0.002
"""Accuracy that replaced low bits may cost and still be called lossless."""


class _Attack(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Decode(_Attack):
    """Reads a secret out of a model: from its file, or by queries (P2 Secs. 4, 5).

    How the model was tampered with is the adversary's knowledge and is taken from the
    entry of `models`, or from its data set.
    """

    kind: Literal["memorization.decode"]
    benign: str = Field(
        ...,
        min_length=1,
        description="The entry of models without tampering, with as many replicates, "
        "that accuracies are compared with: trained for as many steps.",
    )
    key: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="A key to decode with, refused if it is not the secret's; that of "
        "the secret if left out.",
    )


class LowBits(_Attack):
    """Accuracy of a model against the number of low bits that are replaced.

    Each b from 1 to 27 (beyond 23 into the exponent) is written into a copy of the
    model's file, read back and compared, and the copy's accuracy measured (P2's choice
    of b).
    """

    kind: Literal["memorization.low-bits"]
    secret: Secret = Secret()


class Scrubbed(_Attack):
    """What is left of payload and accuracy after a model's file was scrubbed."""

    kind: Literal["memorization.scrub"]
    benign: str = Field(
        ...,
        min_length=1,
        description="The entry of models without tampering; its training data are what "
        "the defender fine-tunes on.",
    )
    scrubs: tuple[Scrub, ...] = Field(..., strict=False, min_length=1)


class Detect(_Attack):
    """Tells tampered models from innocent ones by their files and answers to noise.

    Thresholds come from `innocent` models alone; false alarms are counted on `unseen`
    ones, innocent too but trained differently.
    """

    kind: Literal["memorization.detect"]
    innocent: str = Field(
        ...,
        min_length=1,
        description="Models, target and shadows, that set thresholds.",
    )
    unseen: str = Field(
        ...,
        min_length=1,
        description="Innocent models that false alarms are counted on.",
    )
    noise: int = Field(
        512,
        ge=16,
        le=100_000,
        description="Noise records that the model is asked about.",
    )

    @model_validator(mode="after")
    def _counted_on_others(self) -> "Detect":
        if self.innocent == self.unseen:
            raise ValueError(
                f"unseen: {self.unseen!r} sets the thresholds too; allowed: another "
                "entry"
            )
        return self


MemorizationAttack = Annotated[
    Decode | LowBits | Scrubbed | Detect, Field(discriminator="kind")
]
