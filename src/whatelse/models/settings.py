"""Settings of architectures, and of what the outside sees of a model."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Activation = Literal["tanh", "relu"]
Start = Literal["uniform", "glorot", "he"]


class ArchitectureBase(BaseModel):
    """What every architecture has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Mlp(ArchitectureBase):
    """A multi-layer perceptron; with no hidden layer, a logistic regression."""

    kind: Literal["mlp"]
    # Not 1: kernels for vectors round by what else is in the stack.
    hidden: tuple[Annotated[int, Field(ge=2, le=65536)], ...] = Field(
        (128,),
        strict=False,
        description="Units of each hidden layer; [] is multinomial logistic "
        "regression. P1's local Purchase net has [128].",
    )
    activation: Activation = Field("tanh", description="P1's nets use tanh.")


class Cnn(ArchitectureBase):
    """P1's CIFAR net: (convolution, max-pool) per entry, one dense layer, softmax."""

    kind: Literal["cnn"]
    channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (32, 32),
        strict=False,
        min_length=1,
        description="Filters of each convolution; P1 has two and names no counts.",
    )
    kernel: int = Field(3, ge=1, le=15, description="Side of the square filters; odd.")
    hidden: int = Field(128, ge=1, le=65536, description="Units of the dense layer.")
    activation: Activation = Field("tanh", description="P1's nets use tanh.")
    padding: Literal["same", "valid"] = Field(
        "same",
        description="Whether filters reach over the edge; P2's and P3's net for faces "
        "is valid (unpadded), with channels 32, 64, 128, 256 hidden units and relu.",
    )
    start: Start = Field(
        "uniform",
        description="How weights are drawn: within 1 / sqrt(fan in), biases too, as "
        "Torch7 does; or glorot (P3's code) or he, by their names, biases 0.",
    )


class Resnet(ArchitectureBase):
    """A residual net: a convolution, stages of two-convolution blocks, mean, softmax.

    Every stage but the first halves rows and columns. The defaults are P2's net for
    CIFAR-10; P4 has widths 16, 32, 64 with 3 blocks (0.27M parameters, as the paper
    says) or 32, 64, 128, 256 with 2 (2.8M, as its code does).
    """

    kind: Literal["resnet"]
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (16, 32, 64), strict=False, min_length=1, description="Channels of each stage."
    )
    blocks: int = Field(5, ge=1, le=200, description="Residual blocks of each stage.")
    shortcut: Literal["identity", "projection", "normalized-projection"] = Field(
        "identity",
        description="Where a block changes the shape: zeros for the new channels, a "
        "1x1 convolution, or one with the norm after it.",
    )
    norm: Literal["batch", "group", "none"] = Field(
        "batch", description="What follows each convolution; with none, they have bias."
    )
    groups: int = Field(8, ge=1, le=4096, description="Groups of the group norm.")


class TextCnn(ArchitectureBase):
    """P3's net for check-ins and reviews: convolutions over words, the largest of each.

    FourSquare's has a dense layer of 128, that of the CSI corpus has none.
    """

    kind: Literal["text-cnn"]
    embedding: int = Field(
        320, ge=1, le=4096, description="Numbers that stand for a word."
    )
    windows: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (3, 4, 5),
        strict=False,
        min_length=1,
        description="Words that the filters of each convolution see at once.",
    )
    filters: int = Field(100, ge=1, le=4096, description="Filters of each convolution.")
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="Units of a dense layer before the output; none if left out."
    )


class Gru(ArchitectureBase):
    """P3's net for reviews: a recurrent layer, its state after the last word."""

    kind: Literal["gru"]
    embedding: int = Field(
        100, ge=1, le=4096, description="Numbers that stand for a word."
    )
    hidden: int = Field(
        128, ge=2, le=65536, description="Units of the state; P3 does not say."
    )


class Lstm(ArchitectureBase):
    """A language model: recurrent layers whose state says the next word.

    The defaults are the word model of Bagdasaryan et al. (AISTATS 2020), without its
    dropout.
    """

    kind: Literal["lstm"]
    embedding: int = Field(
        200, ge=1, le=4096, description="Numbers that stand for a word."
    )
    hidden: int = Field(200, ge=2, le=65536, description="Units of each layer's state.")
    layers: int = Field(2, ge=1, le=16, description="Recurrent layers.")
    tied: bool = Field(
        True,
        description="The weights of the output are the embedding: `embedding` equals "
        "`hidden`, and classes are the next word.",
    )

    @model_validator(mode="after")
    def _tied_sizes(self) -> "Lstm":
        if self.tied and self.embedding != self.hidden:
            raise ValueError(
                f"tied: embedding is {self.embedding}, hidden {self.hidden}; allowed: "
                "both equal, or tied: false"
            )
        return self


TextSettings = TextCnn | Gru | Lstm
ArchitectureSettings = Annotated[
    Mlp | Cnn | Resnet | TextCnn | Gru | Lstm, Field(discriminator="kind")
]


class _Release(BaseModel):
    """The released form of a model's answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_queries: int | None = Field(
        None, ge=1, description="Most answers that a model gives; no limit if left out."
    )


class Probabilities(_Release):
    """All class probabilities."""

    kind: Literal["probabilities"] = "probabilities"


class Top(_Release):
    """The `count` largest probabilities; the others are zero."""

    kind: Literal["top"]
    count: int = Field(..., ge=1, le=100_000)


class Rounded(_Release):
    """Probabilities rounded to some decimal places."""

    kind: Literal["rounded"]
    decimals: int = Field(..., ge=1, le=7)


class Temperature(_Release):
    """Probabilities of the logits divided by `temperature`."""

    kind: Literal["temperature"]
    temperature: float = Field(..., gt=0, le=1e6)


class Label(_Release):
    """The most probable class only, as a one-hot vector."""

    kind: Literal["label"]


ReleaseSettings = Annotated[
    Probabilities | Top | Rounded | Temperature | Label, Field(discriminator="kind")
]


class Ways(BaseModel):
    """In which ways an image is seen: as it is, mirrored, moved."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    flip: bool
    shift: int

    @property
    def count(self) -> int:
        """How many."""
        return (1 + self.flip) * (2 * self.shift + 1) ** 2


class Queries(Ways):
    """How often a model is asked about an image: as it is, mirrored, shifted."""

    flip: bool = Field(False, description="Mirrored from left to right as well.")
    shift: int = Field(
        0, ge=0, le=8,
        description="Moved by up to so many pixels in either direction as well, all "
        "(2 x shift + 1)^2 ways; what is not in the image is zero, as in `augment`. "
        "With flip, 1 makes LiRA's 18.",
    )  # fmt: skip


class Signals(BaseModel):
    """Of what a release lets out, a few numbers about every record and query."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["signals"]
    release: ReleaseSettings
    queries: Queries = Queries()
    gradients: bool = Field(
        False, description="Lengths of gradients too, for those who see the weights."
    )


class Ranks(BaseModel):
    """How a language model ranks the words of users, through a release: a histogram."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["ranks"]
    release: ReleaseSettings
    attribute: str = Field(..., min_length=1, description="Whose values are the users.")
    bins: int = Field(..., ge=2, le=10_000)
    scale: Literal["linear", "log"]


AskedSettings = Annotated[
    Probabilities | Top | Rounded | Temperature | Label | Signals | Ranks,
    Field(discriminator="kind"),
]
"""What ``whatelse query`` is told."""
