"""The attack's precision on a class against how far the target overfits it."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, is_ordered, labels, remarks, shared
from whatelse.figures.settings import ClassGap

_MEASURES = ("train_accuracy", "test_accuracy", "precision")


@style.context()
def draw(
    settings: ClassGap, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a mark for every result and class (P1 Fig. 11).

    Parameters
    ----------
    settings : ClassGap
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        One panel; a mark is the mean over seeds.
    DataFrame
        A row for every result and class.

    Raises
    ------
    UserError
        If nothing is known of the target's accuracy.
    """
    data = pd.concat([_classes(result) for result in results], ignore_index=True)
    known = data.dropna(subset=["gap", "precision"])
    if known.empty:
        raise UserError(
            "attacks: neither has classes of which the target's accuracy and the "
            "attack's precision are known; allowed: attacks on a target's answers"
        )
    names, several = labels(results), len(results) > 1
    looks = style.looks(len(results), ordered=is_ordered(results))
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [
            settings.caption,
            "A mark for every class: means over seeds. Dashed: guessing. "
            + _correlation(known),
            _left_out(len(data) - len(known), len(data)),
            *remarks(results),
        ],
        height=style.legend_height(names, beside=3.0) if several else 3.0,
    )
    panel = part.subplots()
    parts = data.groupby("result", sort=False)
    for (_, own), look in zip(parts, looks, strict=True):
        panel.plot(
            own["gap"], own["precision"], linestyle="", color=look.color,
            marker=look.marker, markersize=5, markeredgecolor="white",
            markeredgewidth=0.5, alpha=0.85,
        )  # fmt: skip
    style.baseline(panel, 0.5)
    panel.set_xlabel("train accuracy - test accuracy of the target, within the class")
    panel.set_ylabel("precision of the attack")
    if several:
        style.legend(part, names, [replace(look, linestyle="") for look in looks])
    return figure, data.drop(columns="result")


def _classes(result: AttackResult) -> pd.DataFrame:
    rows = [
        {
            "class": row["class"], "class_name": row["name"],
            **{name: (row.get(name) or {}).get("value") for name in _MEASURES},
        }
        for replicate in result.replicates
        for row in replicate["per_class"]
    ]  # fmt: skip
    means = (
        pd.DataFrame(rows)
        .astype(dict.fromkeys(_MEASURES, float))
        .groupby(["class", "class_name"], as_index=False)[[*_MEASURES]]
        .mean()
    )
    means["gap"] = means["train_accuracy"] - means["test_accuracy"]
    for place, (name, value) in enumerate(result.identity().items()):
        means.insert(place, name, value)
    return means.assign(result=result.folder.name)


def _correlation(known: pd.DataFrame) -> str:
    """Return how far the order of the gaps is that of the precisions."""
    if known["gap"].nunique() < 2 or known["precision"].nunique() < 2:
        return ""
    found = float(spearmanr(known["gap"], known["precision"]).statistic)
    return f"Spearman's rank correlation over all marks: {found:.2f}."


def _left_out(missing: int, of: int) -> str:
    if not missing:
        return ""
    return (
        f"Left out: {missing} of {of} classes, of which accuracy or precision is not "
        "known."
    )
