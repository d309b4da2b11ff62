"""Settings of the property attacks."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from whatelse.properties.adversary_settings import Property


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Forest(_Settings):
    """scikit-learn's random forest: the paper has 50 trees, its code 100."""

    kind: Literal["random-forest"] = "random-forest"
    trees: int = Field(50, ge=1, le=10_000)
    min_leaf: int = Field(5, ge=1, le=10_000, description="Fewest rows in a leaf.")


class Logistic(_Settings):
    """scikit-learn's logistic regression, the paper's choice for bags of words."""

    kind: Literal["logistic-regression"]
    strength: float = Field(
        1.0, gt=0, le=1e6, description="scikit-learn's C: less is more regular."
    )


class _OfJoint(_Settings):
    """What attacks on joint models have in common."""

    alone: str | None = Field(
        None, min_length=1,
        description="An entry of models like those attacked, without an adversary: "
        "its test accuracy stands beside theirs.",
    )  # fmt: skip


class Passive(_OfJoint):
    """Tells batches with a property by the updates that they gave (P3 Alg. 3).

    A classifier learns from the adversary's own updates and is asked about those that
    it observed; also of the active attack, which differs in training alone. It is
    never asked about iterations that it learned from.
    """

    kind: Literal["properties.passive"]
    features: Literal["magnitudes", "moved"] = Field(
        "magnitudes",
        description="What of an update the classifier is given: how much its weights "
        "moved, or whether they moved at all; of an embedding, none of whose rows are "
        "pooled together, the latter is P3's bag of words.",
    )
    classifier: Annotated[Forest | Logistic, Field(discriminator="kind")] = Forest()


class Membership(_OfJoint):
    """Calls a record a member if all its words were in one batch (P3 Sec. IV-B)."""

    kind: Literal["properties.membership"]
    records: int = Field(
        2000, ge=20, le=100_000,
        description="Records asked about, half of them members.",
    )  # fmt: skip


class Layers(_Settings):
    """Which layers of a classifier tell a property that its task never asked for.

    P3 Fig. 3; overlearning (Song & Shmatikov, ICLR 2020).
    """

    kind: Literal["properties.layers"]
    property: Property
    records: int = Field(
        4000, ge=40, le=20_000,
        description="Held-out records, as many with the property as without: half to "
        "fit probes on, half to test them on.",
    )  # fmt: skip
    mapped: int = Field(
        1000, ge=40, le=20_000,
        description="How many of them are mapped, of the first replicate.",
    )  # fmt: skip


class Fitting(_Settings):
    """How a net of the attack is trained, by Adam."""

    learning_rate: float = Field(1e-3, gt=0, le=1, allow_inf_nan=False)
    epochs: int = Field(50, ge=1, le=10_000)
    batch_size: int = Field(128, ge=1, le=100_000)


class RandomWeights(_Settings):
    """No training at all: what records tell through a net that learned nothing."""

    kind: Literal["random-weights"]


class Adversarial(_Settings):
    """Censoring against an adversary that tries to tell the attribute."""

    kind: Literal["adversarial"]
    gamma: float = Field(1.0, gt=0, le=1000, description="Weight of its gradient.")


class Information(_Settings):
    """Censoring through a noisy bottleneck, a decoder being given the attribute."""

    kind: Literal["information"]
    beta: float = Field(0.01, ge=0, le=1000, description="Weight of the content.")
    reconstruction: float = Field(
        1e-4, ge=0, le=1000, description="Weight of the decoder's error, lambda."
    )


class Representation(_Settings):
    """Tells an attribute from a net's last hidden layer (ICLR 2020, Table 2).

    The model itself is attacked, or one of its architecture that is trained here with
    the attribute censored, whose representations are then de-censored too.
    """

    kind: Literal["properties.representation"]
    attribute: str = Field(
        ..., min_length=1, description="An attribute of the data set, all its values."
    )
    defence: (
        Annotated[
            RandomWeights | Adversarial | Information, Field(discriminator="kind")
        ]
        | None
    ) = None
    fitting: Fitting = Field(
        Fitting(epochs=20), description="Of the censored net, by its own records."
    )
    attacker: Fitting = Field(
        Fitting(), description="Of the attacker's nets, two layers of 256 and 128."
    )


PropertyAttack = Annotated[
    Membership | Passive | Layers | Representation, Field(discriminator="kind")
]
