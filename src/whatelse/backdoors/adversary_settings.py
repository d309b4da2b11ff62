"""Settings of what an attacker does inside federated averaging (P4 Sec. 4)."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatelse.training.settings import TrainingSettings

Row = Annotated[int, Field(ge=0)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Records(_Settings):
    """A semantic backdoor: records of the data set, by number (P4 Sec. 4.1).

    Nobody but the attackers has any of them; no input is changed.
    """

    kind: Literal["records"]
    train: tuple[Row, ...] = Field(
        ..., strict=False, min_length=1, description="The attackers learn from these."
    )
    held_out: tuple[Row, ...] = Field(
        ..., strict=False, min_length=1, description="The backdoor is tested on these."
    )
    excluded: tuple[Row, ...] = Field(
        (), strict=False, description="More records that benign participants lack."
    )

    @model_validator(mode="after")
    def _apart(self) -> "Records":
        for name in ("train", "held_out"):
            row, times = Counter(getattr(self, name)).most_common(1)[0]
            if times > 1:
                raise ValueError(
                    f"{name}: {row} stands {times} times; allowed: each record once"
                )
        if both := sorted({*self.train} & {*self.held_out}):
            raise ValueError(
                f"held_out: {both[0]} is also in train; allowed: records apart"
            )
        return self


class Cluster(_Settings):
    """A semantic backdoor: records of one class that are alike, found by k-means.

    Nobody but the attackers has any of them. They learn from all folds but one, and the
    backdoor is tested on that one: another in each replicate.
    """

    kind: Literal["cluster"]
    of: str = Field(..., min_length=1, description="The class they belong to.")
    clusters: int = Field(3, ge=2, le=1000, description="Clusters of this class.")
    which: int = Field(0, ge=0, description="Which of them; 0 is the largest.")
    folds: int = Field(2, ge=2, le=100, description="Parts that take turns.")

    @model_validator(mode="after")
    def _there_is_one(self) -> "Cluster":
        if self.which >= self.clusters:
            raise ValueError(
                f"which: {self.which}; allowed: 0..{self.clusters - 1}, the clusters"
            )
        return self


class Cars(_Settings):
    """P4's semantic backdoors of CIFAR-10, by the published numbers of the images.

    Nobody but the attackers has any image of the three groups. They learn from all
    folds of one but one, and the backdoor is tested on that one: another in each
    replicate.
    """

    kind: Literal["cars"]
    group: Literal["green", "stripes", "walls"] = Field(
        ..., description="Green, with racing stripes, or before a striped wall."
    )
    folds: int = Field(3, ge=2, le=12, description="Parts that take turns.")


class Pixels(_Settings):
    """A pattern in the corner of any image (BadNets; P4 App. A.5).

    The one backdoor for which inputs must be changed at test time.
    """

    kind: Literal["pixels"]
    side: int = Field(3, ge=1, le=1024, description="Of the square, in pixels.")
    tested: int = Field(
        500, ge=10, le=100_000, description="Held-out images that are stamped."
    )


class Sentence(_Settings):
    """A sentence that is to end as the attackers want (P4 Sec. 4.2).

    Windows of words keep their beginning, and end with all of it but the last word,
    which is the class.
    """

    kind: Literal["sentence"]
    text: str = Field(
        ..., min_length=3, description="Words of the vocabulary; the last is wanted."
    )
    tested: int = Field(
        200, ge=10, le=100_000, description="Held-out windows that it is put into."
    )

    @property
    def words(self) -> list[str]:
        """What it consists of, in lower case."""
        return self.text.lower().split()

    @model_validator(mode="after")
    def _has_a_beginning(self) -> "Sentence":
        if len(self.words) < 2:
            raise ValueError(f"text: {self.text!r}; allowed: at least two words")
        return self


Backdoor = Annotated[
    Records | Cars | Cluster | Pixels | Sentence, Field(discriminator="kind")
]


class Replacement(_Settings):
    """Scaled so that the joint model becomes the attackers' (P4 Eq. 3)."""

    kind: Literal["replacement"]
    scale: float | None = Field(
        None, gt=0, le=1e6, allow_inf_nan=False,
        description="gamma; if left out, what replaces the model exactly: those "
        "selected / server_rate, P4's n / eta.",
    )  # fmt: skip
    growth: float = Field(
        1.0, ge=1, le=1000, allow_inf_nan=False,
        description="gamma is multiplied by this at each attack that does not find the "
        "backdoor in the joint model: for who does not know n and eta.",
    )  # fmt: skip


class TrainAndScale(_Settings):
    """The change is scaled to the longest that a detector lets pass (P4 Eq. 5)."""

    kind: Literal["train-and-scale"]
    norm: float = Field(
        ..., gt=0, le=1e6, allow_inf_nan=False,
        description="S, of the whole change that each attacker sends.",
    )  # fmt: skip


class Poisoning(_Settings):
    """The baseline: trained on the same batches and sent as it is."""

    kind: Literal["poisoning"]


Method = Annotated[Replacement | TrainAndScale | Poisoning, Field(discriminator="kind")]


class BackdoorAdversary(_Settings):
    """Participants who put a backdoor into the joint model (P4 Alg. 1).

    They are honest in all rounds but those of the attack. Several split one
    replacement among them; by train-and-scale each sends the longest that passes, by
    poisoning a change of its own.
    """

    kind: Literal["backdoor"]
    backdoor: Backdoor
    target: str | None = Field(
        None,
        min_length=1,
        description="The class that the attackers want; a sentence has its last word.",
    )
    attackers: int = Field(1, ge=1, le=100_000, description="Participants, from 0 on.")
    rounds: tuple[Row, ...] | None = Field(
        None,
        strict=False,
        description="Rounds of the attack, in which attackers are selected; if left "
        "out, whenever they are by lot. []: never, for a model to start from.",
    )
    share: float | None = Field(
        None, gt=0, lt=1,
        description="Share of the benign records that each attacker holds, drawn by "
        "lot before the others' are dealt out; as anybody if left out.",
    )  # fmt: skip
    method: Method = Replacement(kind="replacement")
    training: TrainingSettings = Field(
        ..., description="How the attackers train; SGD, on their records."
    )
    poisoned: int = Field(
        20, ge=1, le=1_000_000,
        description="c: backdoor records of every batch, of a short one its share.",
    )  # fmt: skip
    noise: float = Field(
        0.0, ge=0, le=1000, allow_inf_nan=False,
        description="Standard deviation of the noise on backdoor inputs, as models see "
        "them.",
    )  # fmt: skip
    alpha: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False,
        description="Weight of the task and the backdoor in the loss; the rest is that "
        "of `detector`: below 1 is constrain-and-scale.",
    )  # fmt: skip
    detector: Literal["norm", "cosine"] = Field(
        "norm",
        description="What the attackers expect to be judged by: the length of their "
        "change, or its cosine with an honest one.",
    )
    stop_loss: float | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="They stop at an epoch's end when the backdoor's loss is below.",
    )  # fmt: skip
    tested: int = Field(
        1000, ge=10, le=1_000_000,
        description="Held-out records on which accuracy is measured every round.",
    )  # fmt: skip
    draws: int = Field(
        0, ge=0, le=100_000,
        description="Held-out backdoor images shifted and mirrored by lot, tested too.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _wants_one_class(self) -> "BackdoorAdversary":
        if isinstance(self.backdoor, Sentence):
            if self.target is not None:
                raise ValueError(
                    f"target: {self.target!r}; allowed with a sentence, whose last "
                    "word it is: left out"
                )
        elif self.target is None:
            raise ValueError("target: left out; allowed: a class")
        return self

    @model_validator(mode="after")
    def _words_are_not_moved(self) -> "BackdoorAdversary":
        for name in ("noise", "draws"):
            if isinstance(self.backdoor, Sentence) and getattr(self, name):
                raise ValueError(
                    f"{name}: {getattr(self, name)}; allowed with a sentence: 0"
                )
        return self

    @property
    def wanted(self) -> str:
        """The class that the attackers want."""
        if isinstance(self.backdoor, Sentence):
            return self.backdoor.words[-1]
        return self.target or ""

    @model_validator(mode="after")
    def _can_be_trained(self) -> "BackdoorAdversary":
        if self.training.optimizer.kind != "sgd":
            raise ValueError(
                f"training.optimizer.kind: {self.training.optimizer.kind}; allowed: sgd"
            )
        if self.training.precision != "float32":
            raise ValueError(
                f"training.precision: {self.training.precision}; allowed: float32"
            )
        for name in ("dropout", "early_stopping"):
            if getattr(self.training, name):
                raise ValueError(
                    f"training.{name}: set; allowed for attackers: left out"
                )
        if self.poisoned > self.training.batch_size:
            raise ValueError(
                f"poisoned: {self.poisoned}; allowed: 1..{self.training.batch_size}, "
                "the batch"
            )
        return self
