"""Settings of scrubs: what may destroy a payload in a model and spare its task."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Bits = Annotated[
    int, Field(ge=1, le=23, description="How many mantissa bits, from the lowest.")
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ZeroBits(_Settings):
    """The low mantissa bits of every float become zero."""

    kind: Literal["zero-bits"] = Field(description="Low bits to zero.")
    bits: Bits

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"low {_bits(self.bits)} to zero"


class RandomBits(_Settings):
    """The low mantissa bits of every float are drawn anew (P2's defence)."""

    kind: Literal["random-bits"] = Field(description="Low bits to random ones.")
    bits: Bits

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"low {_bits(self.bits)} random"


class Round(_Settings):
    """Floats are rounded to a narrower type and back."""

    kind: Literal["round"] = Field(description="To a narrower type and back.")
    to: Literal["bf16", "fp16", "int8"] = Field(
        description="bf16 and fp16 clip what overflows. int8 has one symmetric scale "
        "a tensor; biases, norms and running statistics go to fp16."
    )

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"rounded to {self.to}"


class Prune(_Settings):
    """The smallest weights of each tensor become zero."""

    kind: Literal["prune"] = Field(description="Small weights to zero.")
    share: float = Field(
        ..., gt=0, lt=1, description="Of each tensor with more than one dimension."
    )

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"smallest {100 * self.share:g}% pruned"


class Noise(_Settings):
    """Gaussian noise is added to the weights."""

    kind: Literal["noise"] = Field(description="Gaussian noise on weights.")
    scale: float = Field(
        ...,
        gt=0,
        le=100,
        description="Standard deviation of the noise in those of the tensor; tensors "
        "with more than one dimension.",
    )

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"noise of {self.scale:g} std"


class Clip(_Settings):
    """The weights of each tensor are clipped to its central percentiles."""

    kind: Literal["clip"] = Field(description="Outlying weights pulled in.")
    percentile: float = Field(
        ...,
        gt=0,
        lt=100,
        description="How much of each tensor with more than one dimension stays as it "
        "is, in percent: 99 clips to the percentiles .5 and 99.5.",
    )

    @property
    def words(self) -> str:
        """What was done, for a table."""
        return f"clipped to the central {self.percentile:g}%"


class FineTune(_Settings):
    """Training goes on with clean records and the task's loss alone."""

    kind: Literal["fine-tune"] = Field(description="Further training without payload.")
    epochs: int = Field(..., ge=1, le=100_000)
    learning_rate: float = Field(..., gt=0, le=1000, allow_inf_nan=False)

    @property
    def words(self) -> str:
        """What was done, for a table."""
        unit = "epoch" if self.epochs == 1 else "epochs"
        return f"fine-tuned {self.epochs} {unit} at {self.learning_rate:g}"


def _bits(count: int) -> str:
    return "bit" if count == 1 else f"{count} bits"


FileScrub = Annotated[
    ZeroBits | RandomBits | Round | Prune | Noise | Clip, Field(discriminator="kind")
]
"""A scrub that needs the model file alone."""

Scrub = Annotated[
    ZeroBits | RandomBits | Round | Prune | Noise | Clip | FineTune,
    Field(discriminator="kind"),
]
