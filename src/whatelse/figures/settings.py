"""What a figure may be asked to show: the settings of every kind of figure.

Pure descriptions, checked by pydantic; the study grammar and the command line read
the same classes. Drawing is done by ``whatelse.figures.<kind>``.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from whatelse.measures.names import Metric


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({item for item in value if value.count(item) > 1})
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return value


class Figure(BaseModel):
    """What every kind of figure is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    kind: Annotated[
        Literal["class_cdf"],
        Field(
            description="Empirical cumulative distribution of the attack's precision "
            "and recall over classes, one curve for every attack and grid point."
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

    _metrics_are_distinct = field_validator("metrics")(_distinct)


class ROC(Figure):
    """ROC curves, linear and log-log."""

    kind: Annotated[
        Literal["roc"],
        Field(
            description="ROC curves on linear and on logarithmic axes, one for every "
            "attack and grid point: the mean over seeds, and each seed faintly."
        ),
    ]


class Table(Figure):
    """Accuracy of the target and success of the attack (P1 Table II form)."""

    kind: Annotated[
        Literal["table"],
        Field(
            description="A row for every attack and grid point: the target's train "
            "and test accuracy, then accuracy, precision, recall and AUC of the "
            "attack, as mean and standard deviation over seeds."
        ),
    ]


FigureSettings = Annotated[ClassCDF | Trend | ROC | Table, Field(discriminator="kind")]
"""The settings of any figure; ``kind`` says which."""
