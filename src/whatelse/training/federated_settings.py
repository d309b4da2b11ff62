"""Settings of collaborative learning: the protocol, and how long it goes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from whatelse.models.settings import ArchitectureSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Privacy(_Settings):
    """Differential privacy of whole participants (McMahan et al., ICLR 2018).

    Updates are clipped to a length, all count the same, and noise is added to their
    sum before anybody sees it.
    """

    clip: float = Field(
        ..., gt=0, le=1e6, allow_inf_nan=False, description="Longest update, L2."
    )
    noise: float = Field(
        ..., ge=1e-3, le=1e6, allow_inf_nan=False,
        description="Standard deviation of the sum's noise, in units of `clip`.",
    )  # fmt: skip
    delta: float = Field(
        1e-3, gt=0, lt=1,
        description="Of the guarantee; well below 1 / participants.",
    )  # fmt: skip


class _Protocol(_Settings):
    batch_size: int = Field(32, ge=1, le=1_000_000, description="Of a participant.")
    learning_rate: float = Field(0.01, gt=0, le=1000, allow_inf_nan=False)
    privacy: Privacy | None = Field(
        None, description="Differential privacy of participants; none if left out."
    )


class Gradients(_Protocol):
    """Synchronised SGD: every participant sends one batch's gradient (P3 Alg. 1).

    The model steps against their sum. Plain SGD: an update is a gradient.
    """

    kind: Literal["gradients"]
    iterations: int = Field(..., ge=1, le=10_000_000)
    shared: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of its gradient, by size, that each participant sends (P3 "
        "Sec. VIII).",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the values after each pooling that a pass leaves out (P3 "
        "Sec. VIII).",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the weights that each participant adds to its gradient: "
        "makes the gradient of an embedding dense.",
    )


class Averaging(_Protocol):
    """Federated averaging: participants train on their own data (P3 Alg. 2, P4 Eq. 1).

    The model moves by the mean of the changes, weighted by records; with `privacy` all
    count the same.
    """

    kind: Literal["averaging"]
    rounds: int = Field(..., ge=1, le=1_000_000)
    local_epochs: int = Field(1, ge=1, le=1000)
    loss: Literal["cross-entropy", "next-word"] = Field(
        "cross-entropy", description="Of local training; next-word: of language models."
    )
    clip_gradient: float | None = Field(
        None, gt=0, le=1e6, allow_inf_nan=False,
        description="Longest gradient of a step of local training, L2.",
    )  # fmt: skip
    selected: int | None = Field(
        None, ge=1, description="Participants of a round; all if left out."
    )
    server_rate: float = Field(
        1.0, gt=0, le=1000, allow_inf_nan=False,
        description="Times the mean change, P4's eta: 1 is the mean of the models.",
    )  # fmt: skip


Protocol = Annotated[Gradients | Averaging, Field(discriminator="kind")]


class CollaborationSpec(BaseModel):
    """One joint model of some participants, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    architecture: ArchitectureSettings
    protocol: Protocol
    participants: int = Field(..., ge=2, le=100_000)
    split: Literal["random", "given"] = "random"
    held_out: float = Field(0.2, gt=0, lt=1)
    adversary: dict[str, Any] | None = Field(
        None, description="What an adversary does among them, by its kind."
    )
    seed: int = Field(..., ge=0, lt=2**63)
    replicate: int = Field(..., ge=0)
