"""Settings of the membership attacks."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

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


class Threshold(_Attack):
    """The loss threshold (Yeom et al. 2018): no shadows needed.

    The score is the log-probability of the true class; the decision compares the loss
    with the target's mean training loss.
    """

    kind: Literal["membership.threshold"]


MembershipAttack = Annotated[Shadow | Threshold, Field(discriminator="kind")]
