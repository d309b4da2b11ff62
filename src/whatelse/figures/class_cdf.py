"""Empirical CDF of the attack's precision and recall over classes (P1 Figs. 4-7)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import AttackResult, is_ordered, labels, remarks, shared
from whatelse.figures.settings import ClassCDF


@style.context()
def draw(
    settings: ClassCDF, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw one curve for every result, pooled over its seeds.

    Parameters
    ----------
    settings : ClassCDF
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        Two panels, precision and recall. A marker shows the median over classes.
    DataFrame
        A row for every result, seed and class.
    """
    data = pd.concat([_classes(result) for result in results], ignore_index=True)
    names = labels(results)
    several = len(results) > 1
    few = len(results) <= style.MOST_FOR_SEEDS
    looks = style.looks(len(results), ordered=is_ordered(results))
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [
            settings.caption,
            "Fraction of classes at or below each value"
            + ("; marker: median over classes." if few else "."),
            _pooling(results, few=few),
            _left_out(data),
            *remarks(results),
        ],
        height=style.legend_height(names, beside=2.75) if several else 2.75,
    )
    panels = part.subplots(1, 2, sharey=True)
    for panel, measure in zip(panels, ("precision", "recall"), strict=True):
        for index, (result, look) in enumerate(zip(results, looks, strict=True)):
            level = 0.5 if few else (index + 1) / (len(results) + 1)
            _curve(panel, result, measure, look, level=level, seeds=few)
        panel.set_xlabel(f"{measure} of the attack on a class")
        least = data[measure].min()
        panel.set_xlim(
            max(np.floor(10 * least) / 10, 0) - 0.02 if least < 1 else 0.9, 1.02
        )
        panel.set_ylim(0, 1.02)
        panel.label_outer()
    panels[0].set_ylabel("cumulative fraction of classes")
    if several:
        style.legend(part, names, looks)
    return figure, data


def ecdf(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of an empirical CDF on [0, 1], drawn with ``steps-post``.

    Parameters
    ----------
    values : sequence of float
        At least one, each in [0, 1].

    Returns
    -------
    x, y : ndarray, shape (len(values) + 2,)
        From (0, 0) to (1, 1); y is the fraction of values <= x.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    heights = np.arange(1, len(ordered) + 1) / len(ordered)
    return np.r_[0.0, ordered, 1.0], np.r_[0.0, heights, 1.0]


def _curve(
    panel: Axes,
    result: AttackResult,
    measure: str,
    look: style.Look,
    *,
    level: float,
    seeds: bool,
) -> None:
    by_seed = [_values(replicate, measure) for replicate in result.replicates]
    pooled = [value for values in by_seed for value in values]
    if not pooled:
        return
    if seeds and len(by_seed) > 1:
        for values in by_seed:
            if values:
                panel.step(
                    *ecdf(values),
                    where="post",
                    color=look.color,
                    linewidth=0.7,
                    alpha=0.3,
                )
    panel.step(
        *ecdf(pooled),
        where="post",
        color=look.color,
        linestyle=look.linestyle,
        linewidth=1.6 if seeds else 1.1,
    )
    panel.plot(
        [np.quantile(pooled, level)],
        [level],
        color=look.color,
        marker=look.marker,
        markersize=7 if seeds else 6,
        markeredgecolor="white",
        clip_on=False,
        zorder=4,
    )


def _values(replicate: dict[str, Any], measure: str) -> list[float]:
    rates = (row[measure] for row in replicate["per_class"])
    return [rate["value"] for rate in rates if rate is not None]


def _classes(result: AttackResult) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **result.identity(),
                "replicate": replicate["replicate"],
                "class": row["class"],
                "class_name": row["name"],
                "class_members": row["members"],
                "class_non_members": row["non_members"],
                "precision": (row["precision"] or {}).get("value"),
                "recall": (row["recall"] or {}).get("value"),
            }
            for replicate in result.replicates
            for row in replicate["per_class"]
        ]
    )


def _pooling(results: Sequence[AttackResult], *, few: bool) -> str:
    if all(result.num_seeds == 1 for result in results):
        return ""
    pooled = "Curves pool the classes of all seeds"
    return f"{pooled}{', faint lines are single seeds' if few else ''}."


def _left_out(data: pd.DataFrame) -> str:
    """Return how many classes have no precision, if any."""
    missing = int(data["precision"].isna().sum())
    if not missing:
        return ""
    return (
        f"Precision is undefined, and left out, in {missing} of {len(data)} cases: "
        "the attack called no record of the class a member."
    )
