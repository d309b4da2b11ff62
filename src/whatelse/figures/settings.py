"""What a figure may be asked to show: the settings of every kind of figure.

Pure descriptions, checked by pydantic; the study grammar and the command line read
the same classes. Drawing is done by ``whatelse.figures.<kind>``.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from whatelse.errors import UserError
from whatelse.measures.names import Metric

# Attacks that say member or not; risks of records are no such test.
_TESTS = (
    "membership.shadow",
    "membership.user",
    "membership.threshold",
    "membership.lira",
    "membership.rmia",
    "membership.attack-p",
    "membership.attack-r",
    "membership.label-only",
    "membership.gradient-norm",
)


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({item for item in value if value.count(item) > 1})
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return value


def refuse_undrawn(draws: tuple[str, ...], name: str, kind: str) -> None:
    """Refuse an attack of a kind that a figure cannot draw.

    Raises
    ------
    UserError
        If the kind begins with none of `draws`.
    """
    if not kind.startswith(draws):
        allowed = [f"{own}*" if own.endswith(".") else own for own in draws]
        raise UserError(
            f"attacks: {name!r} is of kind {kind}, which this figure cannot draw; "
            f"allowed: {', '.join(allowed)}"
        )


class Figure(BaseModel):
    """What every kind of figure is told.

    ``draws`` is how the kinds of attack begin that can be drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    draws: ClassVar[tuple[str, ...]] = ("",)

    attacks: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Names of the study's attacks that are drawn, in the order of "
            "the legend; an attack over a grid brings one curve for every grid point.",
        ),
    ]
    title: Annotated[
        str, Field(min_length=1, description="What the figure shows, in a few words.")
    ]
    caption: Annotated[
        str,
        Field(description="One more sentence, printed under the picture."),
    ] = ""

    _attacks_are_distinct = field_validator("attacks")(_distinct)


class ClassCDF(Figure):
    """Empirical CDF of per-class precision and recall (P1 Figs. 4-7)."""

    draws = _TESTS

    kind: Annotated[
        Literal["class_cdf"],
        Field(
            description="Empirical cumulative distribution of the attack's precision "
            "and recall over classes, one curve for every attack and grid point (P1 "
            "Figs. 4 to 7): further to the right is a stronger attack."
        ),
    ]


class ClassGap(Figure):
    """The attack's precision on classes against the target's gap (P1 Fig. 11)."""

    draws = _TESTS

    kind: Annotated[
        Literal["class_gap"],
        Field(
            description="The attack's precision on each class against the difference "
            "of the target's train and test accuracy within it, a mark for every "
            "class, attack and grid point (P1 Fig. 11)."
        ),
    ]


class Uncertainty(Figure):
    """How sure the target is of members and of others (P1 Fig. 12)."""

    draws = ("membership.shadow", "membership.threshold")

    kind: Annotated[
        Literal["uncertainty"],
        Field(
            description="Histograms of the true class's probability and of the "
            "entropy of the target's answers, for members and non-members, a row for "
            "every attack and grid point (P1 Fig. 12)."
        ),
    ]


class Trend(Figure):
    """A metric against a variable of the grid (P1: precision against size)."""

    kind: Annotated[
        Literal["trend"],
        Field(
            description="Metrics against a variable of the grid: the mean over seeds "
            "with its 95% interval, and a point for every seed."
        ),
    ]
    x: Annotated[
        str,
        Field(
            min_length=1,
            description="The grid variable on the horizontal axis, e.g. 'members'. "
            "'classes' and 'records' are taken from the data set where the grid does "
            "not name them. Values that are no numbers become categories.",
        ),
    ]
    metrics: Annotated[
        tuple[Metric, ...],
        Field(
            min_length=1,
            max_length=6,
            description="What is drawn: one panel for every metric, in this order.",
        ),
    ]
    x_label: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Label of the horizontal axis; the default comes from 'x'.",
        ),
    ] = None
    x_scale: Annotated[
        Literal["linear", "log"],
        Field(description="Scale of the horizontal axis ('log' needs values > 0)."),
    ] = "linear"
    x_unit: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="What the horizontal axis counts in: 1200 shows synthetic "
            "records, m, as m/n of n = 1,200 true ones. Of numbers alone.",
        ),
    ] = 1.0

    _metrics_are_distinct = field_validator("metrics")(_distinct)


class ROC(Figure):
    """ROC curves, linear and log-log."""

    draws = (*_TESTS, "membership.audit", "properties.passive", "properties.membership")

    kind: Annotated[
        Literal["roc"],
        Field(
            description="ROC curves on linear and on logarithmic axes, one for every "
            "attack and grid point: the mean over seeds, each seed faintly, and a 95% "
            "band; bands and seeds of up to four curves. Of property inference (P3 "
            "Fig. 7) over updates."
        ),
    ]


class Table(Figure):
    """Accuracy of the target and success of the attack (P1 Table II form)."""

    draws = _TESTS

    kind: Annotated[
        Literal["table"],
        Field(
            description="A row for every attack and grid point: the target's train "
            "and test accuracy, then accuracy, precision, recall, AUC and the "
            "true-positive rate at 1% and 0.1% false ones of the attack, or other "
            "`metrics`, as mean and standard deviation over seeds."
        ),
    ]
    metrics: Annotated[
        tuple[
            Literal[
                "train_accuracy",
                "test_accuracy",
                "accuracy",
                "precision",
                "recall",
                "auc",
                "best_balanced_accuracy",
                "tpr_at_0.1",
                "tpr_at_0.01",
                "tpr_at_0.001",
                "tpr_at_0.0001",
                "tpr_at_1e-05",
            ],
            ...,
        ],
        Field(
            min_length=1,
            max_length=8,
            description="The columns, from left to right: accuracies of the target "
            "before what is of the attack.",
        ),
    ] = (
        "train_accuracy",
        "test_accuracy",
        "accuracy",
        "precision",
        "recall",
        "auc",
        "tpr_at_0.01",
        "tpr_at_0.001",
    )

    _metrics_are_distinct = field_validator("metrics")(_distinct)


class PrivacyTable(Figure):
    """What privacy costs, and what attacks and audits find of it."""

    draws = ("membership.",)

    kind: Annotated[
        Literal["privacy_table"],
        Field(
            description="A row for every attack and grid point: the target's accuracy, "
            "AUC and true-positive rate at 1% false ones, the epsilon that its "
            "training promises and the lower bound on it, as mean and standard "
            "deviation over seeds."
        ),
    ]


class ClassLeakage(Figure):
    """How far the members of each class are told (AUC, TPR at a low FPR)."""

    draws = _TESTS

    kind: Annotated[
        Literal["class_leakage"],
        Field(
            description="For every class the attack's AUC within it, and the share of "
            "its members found at a false-positive rate over all classes, with 95% "
            "intervals: over seeds, or of a single seed over its records."
        ),
    ]
    rate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="The false-positive rate, one of the attack's "
            "`false_positive_rates`.",
        ),
    ] = 0.01


class _OneRisk(Figure):
    draws = ("membership.risk",)

    attacks: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=1, description="One `membership.risk`."),
    ]


class Risk(_OneRisk):
    """Risks of records, how far they repeat, and who bears them."""

    kind: Annotated[
        Literal["risk"],
        Field(
            description="Risks in falling order with 95% intervals over models and "
            "what chance alone gives; those by one half of the models against those by "
            "the other; means by class or group."
        ),
    ]
    by: Annotated[
        str,
        Field(
            min_length=1,
            description="'class', or one of the `groups` of the attack.",
        ),
    ] = "class"


class RiskSheet(_OneRisk):
    """The most and the least exposed records."""

    kind: Annotated[
        Literal["risk_sheet"],
        Field(
            description="The most exposed records above the least exposed ones: "
            "pictures, or rows of what they hold, each with its class and risk."
        ),
    ]
    columns: Annotated[int, Field(ge=1, le=16, description="Pictures of a row.")] = 8
    rows: Annotated[
        int,
        Field(
            ge=1,
            le=24,
            description="Rows of pictures of either end; where records are no images, "
            "`columns` x `rows` lines.",
        ),
    ] = 1


class Reconstructions(Figure):
    """Pictures that were hidden in models, and what came out (P2 Sec. 6)."""

    draws = ("memorization.decode",)

    kind: Annotated[
        Literal["reconstructions"],
        Field(
            description="Hidden pictures above what was decoded, two rows for every "
            "attack and grid point: the first ones in the order of hiding, never "
            "chosen by quality."
        ),
    ]
    columns: Annotated[
        int, Field(ge=1, le=24, description="Pictures of a row, from the first.")
    ] = 12
    replicate: Annotated[
        int, Field(ge=0, description="The seed that is shown, from 0.")
    ] = 0


class Weights(Figure):
    """Histograms of weights, tampered and benign (P2 Sec. 6)."""

    draws = ("memorization.decode",)

    kind: Annotated[
        Literal["weights"],
        Field(
            description="How the weights of the tampered model and of the benign one "
            "are distributed, a panel for every attack and grid point; first seed."
        ),
    ]
    y_scale: Annotated[
        Literal["linear", "log"],
        Field(description="Scale of the vertical axis; 'log' shows the tails."),
    ] = "linear"


class MemoryTable(Figure):
    """Accuracy of the model, and how well its secret was read (P2's tables)."""

    draws = ("memorization.decode",)

    kind: Annotated[
        Literal["memory_table"],
        Field(
            description="A row for every attack and grid point: the model's test "
            "accuracy and its change to a benign model, then bit errors, MAPE, SSIM "
            "or tokens and the records hidden, as mean and standard deviation over "
            "seeds."
        ),
    ]


class LowBits(Figure):
    """Accuracy against the number of low bits replaced (P2 Sec. 6)."""

    draws = ("memorization.low-bits",)

    kind: Annotated[
        Literal["low_bits"],
        Field(
            description="Test accuracy against the number b of low bits that carry "
            "the secret: the mean over seeds, each seed, and the last b that costs "
            "nothing."
        ),
    ]


class ScrubTable(Figure):
    """What scrubs leave of the payload, and what they cost."""

    draws = ("memorization.scrub",)

    kind: Annotated[
        Literal["scrub_table"],
        Field(
            description="A row for every scrub, three columns for every attack and "
            "grid point: payload left, its fidelity, and change of test accuracy; "
            "means over seeds."
        ),
    ]


class PropertyTable(Figure):
    """How well properties, or members, were inferred (P3 Tables 2 and 3)."""

    draws = ("properties.passive", "properties.membership")

    kind: Annotated[
        Literal["property_table"],
        Field(
            description="A row for every attack and grid point: the property's "
            "correlation with the task, the AUC of telling batches that have it (or "
            "precision and recall of telling members), and the joint model's accuracy, "
            "as mean and standard deviation over seeds."
        ),
    ]


class AttributeTable(Figure):
    """What representations tell of an attribute (ICLR 2020, Table 2)."""

    draws = ("properties.representation",)

    kind: Annotated[
        Literal["attribute_table"],
        Field(
            description="A row for every attack and grid point: accuracy for the task, "
            "for the attribute, and for it after de-censoring, beside the majority."
        ),
    ]


class Timeline(Figure):
    """When a property occurs, by the attack's scores (P3 Fig. 5)."""

    draws = ("properties.passive",)

    kind: Annotated[
        Literal["timeline"],
        Field(
            description="The attack's score of each update as a mean over a window of "
            "iterations, and when the target's batches had the property; first seed."
        ),
    ]
    window: Annotated[
        int, Field(ge=1, le=100_000, description="Iterations that a point averages.")
    ] = 20


class Layers(Figure):
    """What layers separate records by (P3 Fig. 3)."""

    draws = ("properties.layers",)

    kind: Annotated[
        Literal["layers"],
        Field(
            description="t-SNE of every layer's features (marker: task, colour: "
            "property) above the accuracy of probes for both, beside a net with "
            "random weights and the majority; one attack, first seed."
        ),
    ]


class Rounds(Figure):
    """Main and backdoor accuracy over rounds (P4 Fig. 4)."""

    draws = ("backdoors.",)

    kind: Annotated[
        Literal["rounds"],
        Field(
            description="The main task's accuracy and the backdoor's over the rounds, "
            "a curve for every attack and grid point: the mean over seeds, and each "
            "seed faintly."
        ),
    ]
    backdoor: Annotated[
        Literal["backdoor", "drawn"],
        Field(
            description="Whether held-out backdoor records are tested as they are, or "
            "images shifted and mirrored by lot (`draws` of the adversary)."
        ),
    ] = "backdoor"


class Updates(Figure):
    """What a server sees of benign and malicious changes (P4 Sec. 4.3)."""

    draws = ("backdoors.",)

    kind: Annotated[
        Literal["updates"],
        Field(
            description="Length of every change against its cosine with the mean of "
            "the others, benign and malicious, a panel for every attack and grid point."
        ),
    ]


class BackdoorTable(Figure):
    """What attacks and defences do to main and backdoor accuracy (P4)."""

    draws = ("backdoors.",)

    kind: Annotated[
        Literal["backdoor_table"],
        Field(
            description="A row for every attack and grid point: main and backdoor "
            "accuracy before and after the attack, and what the server took of it, as "
            "mean and standard deviation over seeds."
        ),
    ]


class BackdoorSheet(Figure):
    """Backdoor images with what the model says before and after (P4 Fig. 2)."""

    draws = ("backdoors.",)

    kind: Annotated[
        Literal["backdoor_sheet"],
        Field(
            description="Held-out backdoor images, and the class that the model names "
            "before the attack and right after."
        ),
    ]
    columns: Annotated[int, Field(ge=1, le=24, description="Pictures of a row.")] = 10
    rows: Annotated[int, Field(ge=1, le=24, description="Rows of an attack.")] = 3
    replicate: Annotated[
        int, Field(ge=0, description="The seed that is shown, from 0.")
    ] = 0


FigureSettings = Annotated[
    ClassCDF
    | ClassGap
    | Uncertainty
    | Trend
    | ROC
    | Table
    | PrivacyTable
    | ClassLeakage
    | Risk
    | RiskSheet
    | Reconstructions
    | Weights
    | MemoryTable
    | LowBits
    | ScrubTable
    | PropertyTable
    | AttributeTable
    | Timeline
    | Layers
    | Rounds
    | Updates
    | BackdoorTable
    | BackdoorSheet,
    Field(discriminator="kind"),
]
"""The settings of any figure; ``kind`` says which."""


def shown_by(settings: Figure) -> str:
    """Return what this kind of figure shows: the description of its ``kind``."""
    return str(type(settings).model_fields["kind"].description)
