"""Settings of collaborative learning: the protocol, and how long it goes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.models.settings import ArchitectureSettings
from whatelse.training.settings import Augment


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


class _Defence(_Settings):
    def refuse(self, selected: int) -> None:
        """Refuse rounds of so many changes.

        Raises
        ------
        ValueError
            If they are too few for the defence; it names a field of its own.
        """


class Clip(_Defence):
    """Changes are cut to a length; the bare half of `privacy`."""

    kind: Literal["clip"]
    norm: float = Field(
        ..., gt=0, le=1e6, allow_inf_nan=False, description="Longest change, L2."
    )


class Median(_Defence):
    """The median of the changes, weight by weight (Yin et al., ICML 2018)."""

    kind: Literal["median"]


class TrimmedMean(_Defence):
    """The mean without the largest and smallest, by weight (Yin et al., ICML 2018)."""

    kind: Literal["trimmed-mean"]
    trim: int = Field(..., ge=1, le=50_000, description="Left out at either end.")

    def refuse(self, selected: int) -> None:
        """Refuse rounds of which nothing would be left."""
        if 2 * self.trim >= selected:
            raise ValueError(
                f"trim: {self.trim} at either end of {selected} selected; allowed: at "
                f"least {2 * self.trim + 1} selected"
            )


class Krum(_Defence):
    """The changes nearest to their neighbours (Blanchard et al., NeurIPS 2017)."""

    kind: Literal["krum"]
    attackers: int = Field(
        ..., ge=0, le=50_000, description="f: how many of a round may be malicious."
    )
    kept: int = Field(
        1, ge=1, le=100_000, description="1 is Krum; more, their mean, multi-Krum."
    )

    def refuse(self, selected: int) -> None:
        """Refuse rounds for which its proposition says nothing (2 f + 2 < n)."""
        if selected < (least := 2 * self.attackers + 3):
            raise ValueError(
                f"attackers: {self.attackers} of {selected} selected; allowed: at "
                f"least {least} selected (2 f + 3)"
            )
        if self.kept > selected:
            raise ValueError(f"kept: {self.kept}; allowed: 1..{selected}, the selected")


class Outliers(_Defence):
    """Changes that stand out are left out.

    By their length, or by their cosine with the median change: further from the
    round's median than so many median absolute deviations, to the suspicious side.
    """

    kind: Literal["outliers"]
    by: Literal["norm", "cosine"]
    deviations: float = Field(3.0, gt=0, le=1000, allow_inf_nan=False)


class Flame(_Defence):
    """Clusters by cosine, cuts to the median length, adds noise (Nguyen et al., 2022).

    The largest cluster of more than half of a round's changes is kept.
    """

    kind: Literal["flame"]
    noise: float = Field(
        0.001, ge=0, le=1000, allow_inf_nan=False,
        description="Standard deviation of the noise on every weight, in units of the "
        "median length.",
    )  # fmt: skip

    def refuse(self, selected: int) -> None:
        """Refuse rounds in which there is no majority to find."""
        if selected < 3:
            raise ValueError(f"kind: flame of {selected} selected; allowed: at least 3")


Defence = Annotated[
    Clip | Median | TrimmedMean | Krum | Outliers | Flame, Field(discriminator="kind")
]


class ByLot(_Settings):
    """Every participant has as many records, drawn by lot."""

    kind: Literal["lot"] = "lot"


class Dirichlet(_Settings):
    """Shares of every class are drawn from a Dirichlet distribution (P4 Sec. 4.1)."""

    kind: Literal["dirichlet"]
    alpha: float = Field(
        0.9, gt=0, le=1e6, allow_inf_nan=False,
        description="Small: each class is with few participants.",
    )  # fmt: skip


class ByAttribute(_Settings):
    """Every participant has the records of one value, e.g. of one author."""

    kind: Literal["attribute"]
    attribute: str = Field(..., min_length=1, description="Of the data set.")


Deal = Annotated[ByLot | Dirichlet | ByAttribute, Field(discriminator="kind")]


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

    The model moves by the mean of the changes, weighted by records; with `privacy` or
    a `defence` all count the same.
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
        description="Times the mean change: 1 is the mean of the models. P4's eta is "
        "this times participants / selected.",
    )  # fmt: skip
    weights: Literal["records", "equal"] = Field(
        "records", description="How much a change counts: P4's all the same."
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="Of local training.")
    l2: float = Field(
        0.0, ge=0, le=1000,
        description="Penalty of local training, as of central training: half of what "
        "is called weight decay.",
    )  # fmt: skip
    augment: Augment | None = Field(
        None, description="Of images, in local training; as they are if left out."
    )
    defence: Defence | None = Field(
        None, description="What the server does against malicious changes."
    )

    @model_validator(mode="after")
    def _one_guard(self) -> "Averaging":
        if self.defence and self.privacy:
            raise ValueError(
                f"defence: {self.defence.kind}; allowed with privacy, which clips and "
                "adds noise: left out"
            )
        return self


Protocol = Annotated[Gradients | Averaging, Field(discriminator="kind")]


class CollaborationSpec(BaseModel):
    """One joint model of some participants, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    architecture: ArchitectureSettings
    protocol: Protocol
    participants: int = Field(..., ge=2, le=100_000)
    split: Literal["random", "given"] = "random"
    held_out: float = Field(0.2, gt=0, lt=1)
    deal: Deal = ByLot()
    base: str | None = Field(
        None, description="Key of the joint model that this one starts from."
    )
    adversary: dict[str, Any] | None = Field(
        None, description="What an adversary does among them, by its kind."
    )
    seed: int = Field(..., ge=0, lt=2**63)
    replicate: int = Field(..., ge=0)


def rounds_of(protocol: Gradients | Averaging) -> int:
    """Return how long a protocol goes."""
    if isinstance(protocol, Averaging):
        return protocol.rounds
    return protocol.iterations
