"""Settings of the membership attacks."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from whatelse.findings import AttackSpec
from whatelse.models.settings import Queries
from whatelse.training.settings import Adam, TrainingSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NeuralAttackModel(_Settings):
    """A small net, trained for all classes at once by the ensemble trainer."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=2, le=4096)], ...] = Field(
        (64,),
        strict=False,
        description="P1 has one layer of 64 ReLU units; [] is the softmax regression "
        "of the authors' released code.",
    )
    # The released code has rate .01 and 50 epochs too.
    training: TrainingSettings = TrainingSettings(
        optimizer=Adam(kind="adam", learning_rate=1e-2), epochs=50, batch_size=128
    )


class Forest(_Settings):
    """scikit-learn's random forest."""

    kind: Literal["random-forest"]
    trees: int = Field(100, ge=1, le=10_000)
    min_leaf: int = Field(5, ge=1, le=10_000, description="Fewest rows in a leaf.")


class Boosting(_Settings):
    """scikit-learn's histogram gradient boosting."""

    kind: Literal["gradient-boosting"]
    rounds: int = Field(100, ge=1, le=10_000)
    learning_rate: float = Field(0.1, gt=0, le=1)


class _Attack(_Settings):
    false_positive_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.1, 0.01, 0.001),
        strict=False,
        description="Where the true-positive rate is given; those that the number of "
        "non-members cannot resolve are refused.",
    )

    def for_control(self) -> Self:
        """Return the settings of the positive control, which has half of the rows."""
        return self


class Shadow(_Attack):
    """P1's attack: models trained on shadows tell members by the output vector."""

    kind: Literal["membership.shadow"]
    attack_model: Annotated[
        NeuralAttackModel | Forest | Boosting, Field(discriminator="kind")
    ] = NeuralAttackModel()
    min_rows: int = Field(
        10,
        ge=1,
        le=10**9,
        description="Fewest rows of each kind (in, out) that a class's attack model is "
        "trained on.",
    )
    sparse_classes: Literal["refuse", "pool"] = Field(
        "refuse",
        description="A class with fewer rows stops the attack, or shares a model that "
        "is trained on the rows of all classes.",
    )

    def for_control(self) -> Self:
        """Return the settings of the positive control, which has half of the rows.

        A class with enough rows for the attack may have too few there: it is pooled.
        """
        half = max(1, self.min_rows // 2)
        return self.model_copy(update={"min_rows": half, "sparse_classes": "pool"})


class User(_Attack):
    """The audit of users of a language model (Song & Shmatikov, KDD 2019).

    A linear support-vector machine, trained on users of shadows, tells from a histogram
    of the ranks of a user's words whether the model learned from this user.
    """

    kind: Literal["membership.user"]
    bins: int = Field(100, ge=2, le=10_000, description="Of the histogram of ranks.")
    scale: Literal["linear", "log"] = Field(
        "linear", description="Of the bins: the paper's are of one width."
    )
    penalty: float = Field(
        1.0, gt=0, le=1e6, allow_inf_nan=False,
        description="C of the support-vector machine.",
    )  # fmt: skip


class Exposure(_Settings):
    """How far phrases were memorised (Carlini et al., USENIX Security 2019)."""

    kind: Literal["membership.exposure"]
    alternatives: int = Field(
        9999, ge=99, le=10_000_000,
        description="Other random phrases that each is ranked among; exposure is at "
        "most the logarithm to base 2 of one more.",
    )  # fmt: skip


class Threshold(_Attack):
    """The loss threshold (Yeom et al. 2018): no shadows needed.

    The score is the log-probability of the true class; the decision compares the loss
    with the target's mean training loss.
    """

    kind: Literal["membership.threshold"]


_REFERENCES = Field(
    None,
    ge=2,
    le=100_000,
    multiple_of=2,
    description="How many of the entry's reference models are used; all if left out.",
)


SHARE_VARIANCE = 64
"""Reference models; of fewer, all records share one variance (LiRA's paper)."""


class _Reference(_Attack):
    """An attack that compares a target with reference models, record by record."""

    references: int | None = _REFERENCES

    @property
    def least_references(self) -> int:
        """The fewest reference models that it can do with."""
        return 2

    @property
    def needs_population(self) -> bool:
        """Whether it compares with records that no model was trained on."""
        return True


_LEVEL = Field(
    0.05,
    gt=0,
    lt=1,
    description="Share of non-members that the decision is to call members.",
)


class Lira(_Reference):
    """The likelihood-ratio attack (Carlini et al. 2022)."""

    kind: Literal["membership.lira"]
    mode: Literal["online", "offline"] = Field(
        "online",
        description="online: reference models with and without the record. offline: "
        "those without it alone, in the paper's one-sided test.",
    )
    variance: Literal["auto", "per-example", "global"] = Field(
        "auto",
        description="Of each record's own, or one for all. auto: global with fewer "
        "than 64 reference models, as the paper advises.",
    )
    estimator: Literal["paper", "released-code"] = Field(
        "paper",
        description="released-code: medians; deviations over n; a global one about the "
        "mean of all records, online that of members for non-members too; the offline "
        "score is the two-sided density.",
    )
    level: float = _LEVEL
    queries: Queries = Queries()

    @property
    def released_code(self) -> bool:
        """Whether estimates are those of the authors' code."""
        return self.estimator == "released-code"

    def one_variance(self, references: int) -> bool:
        """Whether one variance serves all records."""
        if self.variance == "auto":
            return references < SHARE_VARIANCE
        return self.variance == "global"

    @property
    def least_references(self) -> int:
        """The fewest reference models: two values of a kind vary, one does not."""
        one = self.released_code and self.variance != "per-example"
        return 2 if one else 4

    @property
    def needs_population(self) -> bool:
        """For the offline decision alone."""
        return self.mode == "offline"


class Rmia(_Reference):
    """The robust attack (Zarifzadeh et al. 2024): records against the population."""

    kind: Literal["membership.rmia"]
    mode: Literal["online", "offline"] = Field(
        "online",
        description="online: reference models with and without the record. offline: "
        "those without it alone.",
    )
    gamma: float = Field(
        2.0, ge=1, le=1e6,
        description="How much likelier than another record's a record's answer must "
        "be to count.",
    )  # fmt: skip
    a: float = Field(
        0.3, ge=0, le=1,
        description="How far probabilities of models without a record stand for those "
        "of all: 1 fully. The paper has .3 for CIFAR-10, .6 for CIFAR-100, .2 for "
        "Purchase-100.",
    )  # fmt: skip
    level: float = _LEVEL
    queries: Queries = Queries()

    def for_control(self) -> Self:
        """Return the settings of the positive control, whose leak has a size."""
        return self.model_copy(update={"gamma": 1.0})


class AttackP(_Reference):
    """The population attack (Ye et al. 2022): one loss threshold, set on others."""

    kind: Literal["membership.attack-p"]
    level: float = _LEVEL

    @property
    def least_references(self) -> int:
        """None: they serve the negative control alone."""
        return 0


class AttackR(_Reference):
    """The reference attack (Ye et al. 2022): a loss threshold for each record."""

    kind: Literal["membership.attack-r"]
    level: float = _LEVEL

    @property
    def least_references(self) -> int:
        """The fewest: a share of one or two models does not find a planted leak."""
        return 8

    @property
    def needs_population(self) -> bool:
        """No: each record has its own threshold."""
        return False


class _OfCanaries(_Attack):
    """An attack that bounds epsilon from below, by canaries."""

    delta: float = Field(
        1e-5, gt=0, lt=1,
        description="At which epsilon is bounded; that of `training.privacy` to be "
        "compared with it.",
    )  # fmt: skip
    confidence: float = Field(
        0.95, gt=0, lt=1,
        description="One minus the chance that the bound is above a true epsilon.",
    )  # fmt: skip


class Audit(_OfCanaries):
    """The audit of one model (Steinke, Nasr & Jagielski 2023), for each replicate.

    Canaries with the highest scores are guessed to be in, as many with the lowest to be
    out; there is no guess about the others. Each share of canaries is tried, at a
    confidence that allows for all of them.
    """

    kind: Literal["membership.audit"]
    guesses: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.02, 0.1, 0.3, 1.0),
        strict=False,
        min_length=1,
        description="Shares of the canaries that are guessed about.",
    )

    @property
    def least_models(self) -> int:
        """The fewest of a replicate: one; shadows tell how hard a canary is."""
        return 1


class Epsilon(_OfCanaries):
    """The bound over independently trained models (Jagielski et al. 2020).

    One canary and a threshold are chosen on half of a replicate's models; each of the
    other half is one trial. A model never counts twice.
    """

    kind: Literal["membership.epsilon"]

    @property
    def least_models(self) -> int:
        """The fewest of a replicate: half of them must find a planted leak."""
        return 80


class LabelOnly(_Reference):
    """By labels alone (Choquette-Choo et al. 2021): right, and right when disturbed."""

    kind: Literal["membership.label-only"]
    level: float = _LEVEL
    queries: Queries = Queries()

    @property
    def least_references(self) -> int:
        """None: they serve the negative control alone."""
        return 0

    @property
    def needs_population(self) -> bool:
        """For the decision of several queries alone."""
        return self.queries.count > 1


class GradientNorm(_Reference):
    """White box: members' losses have short gradients (Nasr et al. 2019)."""

    kind: Literal["membership.gradient-norm"]
    calibrated: bool = Field(
        False,
        description="Each record's by LiRA's ratio of two normal distributions of its "
        "log length; else one threshold for all.",
    )
    level: float = _LEVEL
    gradients: ClassVar[bool] = True

    @property
    def least_references(self) -> int:
        """As LiRA where calibrated; else they serve the negative control alone."""
        return 4 if self.calibrated else 0

    @property
    def needs_population(self) -> bool:
        """For the one threshold; calibrated, no more than LiRA."""
        return not self.calibrated


class Risk(_Settings):
    """Per-record risk: how well membership of each record is told, over many models."""

    kind: Literal["membership.risk"]
    references: int | None = _REFERENCES
    shown: int = Field(
        24, ge=1, le=1000,
        description="Of the most and of the least exposed records, so many are kept as "
        "they are, to be shown.",
    )  # fmt: skip
    groups: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        strict=False,
        description="Attributes of the data set: risks are given by their values too, "
        "as they are by class.",
    )
    queries: ClassVar[Queries] = Queries()

    @property
    def least_references(self) -> int:
        """The fewest: each half of the pairs needs two values of a kind."""
        return 8


ReferenceAttack = Lira | Rmia | AttackP | AttackR | LabelOnly | GradientNorm
MembershipAttack = Annotated[
    Shadow
    | User
    | Exposure
    | Threshold
    | Lira
    | Rmia
    | AttackP
    | AttackR
    | LabelOnly
    | GradientNorm
    | Audit
    | Epsilon
    | Risk,
    Field(discriminator="kind"),
]


def settings_of(spec: AttackSpec) -> Any:
    """Return the settings of a resolved attack, checked by its kind."""
    return TypeAdapter(MembershipAttack).validate_python(spec.settings)
