"""Settings of training: how records are dealt out and how models are fitted."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.models.settings import ArchitectureSettings, Gru, Lstm, Resnet, Ways


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sgd(_Settings):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    learning_rate: float = Field(..., gt=0, le=1000, allow_inf_nan=False)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Sgd":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(_Settings):
    """Adam with PyTorch's defaults for what is not named."""

    kind: Literal["adam"]
    learning_rate: float = Field(1.0e-3, gt=0, le=1000, allow_inf_nan=False)


class Constant(_Settings):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"


class Cosine(_Settings):
    """The learning rate falls to zero over the epochs along half a cosine."""

    kind: Literal["cosine"]


class Steps(_Settings):
    """The learning rate is multiplied by `factor` at each of the epochs `at`."""

    kind: Literal["steps"]
    at: tuple[Annotated[int, Field(ge=1)], ...] = Field(..., strict=False, min_length=1)
    factor: float = Field(0.1, gt=0, le=1)


class InverseTime(_Settings):
    """The learning rate is divided by 1 + `decay` x epoch."""

    kind: Literal["inverse-time"]
    decay: float = Field(..., ge=0, le=1000)


class OneCycle(_Settings):
    """The learning rate rises from a tenth to its full value, then falls to zero.

    Linearly over the share `rise` of the epochs, then along half a cosine.
    """

    kind: Literal["one-cycle"]
    rise: float = Field(0.3, ge=0, lt=1)


class Augment(Ways):
    """Images are moved and mirrored by lot whenever they are trained on."""

    flip: bool = Field(True, description="Mirrored from left to right, half of them.")
    shift: int = Field(
        4, ge=0, le=64,
        description="Moved by up to so many pixels in either direction; what is not "
        "in the image is zero, as where a padded image is cropped.",
    )  # fmt: skip


class EarlyStopping(_Settings):
    """Each model is kept as it was when it did best on records held back."""

    share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Of the training records, class by class, to test on after each "
        "epoch. They count as neither members nor non-members.",
    )
    patience: int = Field(
        5, ge=1, le=100_000, description="Epochs without a lower loss that end it."
    )


class TrainingSettings(_Settings):
    """How every model of an entry is fitted."""

    optimizer: Annotated[Sgd | Adam, Field(discriminator="kind")]
    schedule: Annotated[
        Constant | Cosine | Steps | InverseTime | OneCycle, Field(discriminator="kind")
    ] = Constant()
    epochs: int = Field(..., ge=1, le=100_000)
    batch_size: int = Field(32, ge=1, le=1_000_000)
    l2: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="lambda of the penalty lambda * sum(theta^2), P1 Sec. IX.",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Chance of each hidden unit of a dense layer to be left out of a "
        "step; of mlp and cnn.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Training ends before `epochs` where it no longer helps."
    )
    loss: Literal["cross-entropy", "hinge", "next-word"] = Field(
        "cross-entropy",
        description="hinge: one linear support-vector machine a class against all "
        "others, P2's for text; the mean over classes. next-word: the cross-entropy "
        "after each word of a record, for language models; the mean over words.",
    )
    clip_gradient: float | None = Field(
        None,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="Longest gradient of a step, L2, each model's by itself; no limit "
        "if left out.",
    )
    augment: Augment | None = Field(
        None, description="Of images; as they are if left out."
    )
    precision: Literal["float32", "mixed"] = Field(
        "float32",
        description="mixed: layers compute in bfloat16 where PyTorch's autocast does; "
        "weights, optimizer and loss stay float32. Not for reproductions.",
    )


class RecordPrivacy(_Settings):
    """Differential privacy of single records, by DP-SGD (Abadi et al., CCS 2016).

    Each record's gradient is cut to a length, and noise is added to their sum. A record
    is in a step by a coin of its own, as the accountant assumes (Poisson sampling).
    """

    clip: float = Field(
        ..., gt=0, le=1e6, allow_inf_nan=False,
        description="Longest gradient of a record, L2.",
    )  # fmt: skip
    epsilon: float | None = Field(
        None, gt=0, le=1e4, allow_inf_nan=False,
        description="What is promised: the noise is found from it. Or give `noise`.",
    )  # fmt: skip
    noise: float | None = Field(
        None, ge=0, le=1e6, allow_inf_nan=False,
        description="Standard deviation of the sum's noise, in units of `clip`; 0 is "
        "clipping alone, which promises nothing. Or give `epsilon`.",
    )  # fmt: skip
    delta: float = Field(
        1e-5, gt=0, lt=1,
        description="Of the guarantee; well below 1 / records.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of_both(self) -> "RecordPrivacy":
        if (self.epsilon is None) == (self.noise is None):
            raise ValueError("needs exactly one of epsilon and noise")
        return self


class CentralTraining(TrainingSettings):
    """How every model of an entry is fitted, with a guarantee or without one."""

    privacy: RecordPrivacy | None = Field(
        None, description="Differential privacy of records; none if left out."
    )

    @model_validator(mode="after")
    def _each_record_has_a_gradient(self) -> "CentralTraining":
        if self.privacy is None:
            return self
        if self.loss == "next-word":
            raise ValueError(
                "loss: next-word; allowed with privacy: cross-entropy, hinge"
            )
        if self.clip_gradient is not None:
            raise ValueError(
                f"clip_gradient: {self.clip_gradient}; allowed with privacy: left out "
                "(it clips the gradient of each record)"
            )
        if self.precision != "float32":
            raise ValueError(
                f"precision: {self.precision}; allowed with privacy: float32"
            )
        for name in ("augment", "dropout", "early_stopping"):
            if getattr(self, name):
                raise ValueError(f"{name}: not with privacy; allowed: left out")
        return self


def refuse_unprivate(
    architecture: ArchitectureSettings, training: CentralTraining | None
) -> None:
    """Refuse privacy of models whose records have no gradients of their own.

    Raises
    ------
    ValueError
        If a layer mixes the records of a batch, or is recurrent.
    """
    if training is None or training.privacy is None:
        return
    if isinstance(architecture, Resnet) and architecture.norm == "batch":
        raise ValueError(
            "architecture.norm: batch, which mixes the records of a batch; allowed "
            "with training.privacy: group, none"
        )
    if isinstance(architecture, Gru | Lstm):
        raise ValueError(
            f"architecture.kind: {architecture.kind}, whose layers give no gradients "
            "of single records; allowed with training.privacy: mlp, cnn, resnet, "
            "text-cnn"
        )


class TrainSpec(_Settings):
    """A family of models: one target and any number of shadows.

    Model i depends on this, the data set and i alone. How many shadows a study asks
    for is no part of it, so studies with more or fewer share what they have.
    """

    architecture: ArchitectureSettings
    training: CentralTraining | None = Field(
        ..., description="None: nothing is trained, `base` is taken as it is."
    )
    split: Literal["random", "given", "halves", "coins"] = "random"
    members: int | None = Field(
        None,
        ge=2,
        le=10**9,
        description="Training-set size of every model; with a given split, all records "
        "of its training part if left out, with halves half of all records.",
    )
    non_members: int | None = Field(
        None,
        ge=2,
        le=10**9,
        description="Records held out to test a model on; as many as members if left "
        "out, with a given split all of its test part. With fewer than members, as few "
        "members are tested, so that the baseline stays .5.",
    )
    unit: str | None = Field(
        None,
        description="Attribute whose values are dealt out whole: `members` and "
        "`non_members` count them, not records.",
    )
    lineage: str | None = Field(
        None,
        description="Names streams of its own for initial weights and batches; models "
        "of families without one begin alike, number by number.",
    )
    base: str | None = Field(
        None, description="Key of the family whose models these start from."
    )
    tampering: dict[str, Any] | None = Field(
        None, description="What an adversary does inside training, by its kind."
    )
    seed: int = Field(..., ge=0, lt=2**63)
    replicate: int = Field(..., ge=0)

    @model_validator(mode="after")
    def _private_if_asked(self) -> "TrainSpec":
        refuse_unprivate(self.architecture, self.training)
        return self

    @model_validator(mode="after")
    def _holds_nothing_back(self) -> "TrainSpec":
        refuse_to_hold_back(self.split, self.training)
        return self


def refuse_to_hold_back(split: str, training: TrainingSettings | None) -> None:
    """Refuse to hold records back where the split says exactly who is trained on what.

    Raises
    ------
    ValueError
        If that is asked for.
    """
    each = {
        "halves": "each is in exactly half of the models",
        "coins": "each canary is in where its coin says so",
    }
    if split in each and training and training.early_stopping:
        raise ValueError(
            f"training.early_stopping: holds records back, and with {split} "
            f"{each[split]}; allowed: left out, or another split"
        )
