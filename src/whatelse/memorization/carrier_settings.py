"""Settings of secrets, and of what carries them: models and data sets.

P2 is Song, Ristenpart, Shmatikov, CCS 2017. Apart from the attacks' settings, so that
an edit to those trains nothing.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from whatelse.memorization.payload import Coding


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Secret(_Settings):
    """Which training records are hidden, and in which form.

    Pictures are hidden in 8-bit grey, documents as their first tokens.
    """

    records: int | None = Field(
        None, ge=1, le=10**7, description="How many; as many as fit if left out."
    )
    size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Width and height that pictures are reduced to first.",
    )
    coding: Coding = Coding()


class Lsb(_Settings):
    """Low bits of each finished parameter are replaced (P2 Sec. 4.1).

    Every parameter carries them, biases and norms too.
    """

    kind: Literal["lsb"]
    bits: int = Field(..., ge=1, le=23, description="b, of 32; 23 is all mantissa.")
    secret: Secret = Secret()


class Correlated(_Settings):
    """The loss rewards weights that correlate with the secret (P2 Sec. 4.2)."""

    kind: Literal["correlated"]
    strength: float = Field(
        ..., gt=0, le=1e6, allow_inf_nan=False, description="lambda_c"
    )
    secret: Secret = Secret()


class Sign(_Settings):
    """The loss pushes the sign of each weight to a bit of the secret (P2 Sec. 4.3)."""

    kind: Literal["sign"]
    strength: float = Field(
        ...,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="lambda_s of the penalty's mean over the weights that carry.",
    )
    secret: Secret = Secret()


Tampering = Annotated[Lsb | Correlated | Sign, Field(discriminator="kind")]


class CapacityAbuse(_Settings):
    """Synthetic records are added whose labels carry the secret (P2 Sec. 5).

    A step from one data set with a split to another; training is not touched.
    """

    kind: Literal["capacity-abuse"]
    inputs: int = Field(
        ...,
        ge=8,
        le=10**8,
        description="m: synthetic records, floor(log2 c) bits each.",
    )
    generator: Literal["pixels", "pseudorandom"] = Field(
        "pseudorandom",
        description="pixels: black pictures with one pixel set, enumerated by place "
        "and value, the paper's idea. pseudorandom: keyed noise. Bags of words get "
        "keyed sets of words with either.",
    )
    cell: int = Field(
        1,
        ge=1,
        le=256,
        description="Side of the squares of one value that pseudorandom pictures are "
        "made of; pooling blurs single pixels.",
    )
    levels: int = Field(
        2,
        ge=2,
        le=256,
        description="Values, evenly from darkest to lightest, that pseudorandom "
        "pictures draw from; few are further apart and sooner learned.",
    )
    words: int = Field(
        2, ge=1, le=1000, description="Words of a synthetic document; 2 is published."
    )
    pixel_bits: int = Field(
        4,
        ge=1,
        le=8,
        description="Highest bits of each pixel; the published code has 4.",
    )
    secret: Secret = Secret()
    seed: int = Field(
        0, ge=0, lt=2**63, description="Draws which records are the secret."
    )
