"""Settings of architectures."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["tanh", "relu"]


class ArchitectureBase(BaseModel):
    """What every architecture has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Mlp(ArchitectureBase):
    """A multi-layer perceptron; with no hidden layer, a logistic regression."""

    kind: Literal["mlp"]
    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
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


ArchitectureSettings = Annotated[Mlp | Cnn, Field(discriminator="kind")]
