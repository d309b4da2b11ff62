"""Risks of records: their distribution, their agreement, and who bears them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, remarks, shared
from whatelse.figures.settings import Risk

_BLUE, _ORANGE = (look.color for look in style.looks(2))
_MOST = 24  # groups that have a line of their own


@style.context()
def draw(
    settings: Risk, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw the risks of an attack's records.

    Parameters
    ----------
    settings : Risk
        What is asked for.
    results : sequence of AttackResult
        One.

    Returns
    -------
    Figure
        Risks in falling order, one half of the models against the other, means of
        groups.
    DataFrame
        A row for every group.

    Raises
    ------
    UserError
        If there are several results, or there is no such group.
    """
    result = only(results)
    report = result.replicates[0]
    groups = _groups(settings, result)
    shown = groups if len(groups) <= _MOST else _ends(groups)
    height = max(2.75, 0.9 + 0.155 * len(shown))
    figure, part = style.sheet(
        settings.title,
        told(result),
        [settings.caption, *_notes(report, groups, shown), *remarks(results)],
        height=height,
    )
    falling, halves, means = part.subplots(1, 3, width_ratios=[1, 1, 1])
    _falling(falling, result.curves)
    _halves(halves, result, report["risk"]["risk_agreement"])
    _means(means, shown, settings.by)
    return figure, pd.DataFrame(
        [
            {
                **result.identity(), "by": settings.by, "group": group["name"],
                "records": group["records"], "highest": group["highest"],
                **{f"risk_{end}": (group["risk"] or {}).get(end) for end in _ENDS},
            }
            for group in groups
        ]
    )  # fmt: skip


_ENDS = ("value", "low", "high")


def only(results: Sequence[AttackResult]) -> AttackResult:
    """Return the only result.

    Raises
    ------
    UserError
        If there are several.
    """
    if len(results) > 1:
        names = ", ".join(result.folder.name for result in results)
        raise UserError(
            f"attacks: {len(results)} results ({names}); allowed: one, an attack "
            "without a grid"
        )
    return results[0]


def told(result: AttackResult) -> str:
    """Return the data, and how many models tell of its records."""
    words, _, _ = shared([result]).rpartition(" · ")
    records = len(result.scores)
    return f"{words} · {records:,} records, {result.replicates[0]['models']} models"


def _groups(settings: Risk, result: AttackResult) -> list[dict[str, Any]]:
    report = result.replicates[0]
    if settings.by == "class":
        found: list[dict[str, Any]] = report["per_class"]
        return found
    if settings.by not in report["per_group"]:
        known = ["class", *report["per_group"]]
        raise UserError(
            f"by: attack {result.name!r} has no groups by {settings.by!r}; allowed: "
            f"{', '.join(known)}"
        )
    return list(report["per_group"][settings.by])


def _ends(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups of the highest and of the lowest means."""
    known = [group for group in groups if group["risk"]]
    ranked = sorted(known, key=lambda group: -float(group["risk"]["value"]))
    return [*ranked[: _MOST // 2], *ranked[-_MOST // 2 :]]


def _falling(panel: Axes, curves: pd.DataFrame) -> None:
    share = 100 * curves["share"]
    panel.fill_between(
        share, curves["low"], curves["high"], color=_BLUE, alpha=0.16, linewidth=0
    )
    panel.plot(share, curves["risk"], color=_BLUE, label="risk, 95% interval")
    panel.plot(
        share, curves["chance"], color=style.GREY, linestyle=(0, (1.2, 1.2)),
        label="by chance alone",
    )  # fmt: skip
    style.baseline(panel, 0.5)
    panel.set_xlim(0, 100)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("records, most exposed first (%)")
    panel.set_ylabel("risk (AUC over models)")
    panel.set_title("risk of each record")
    panel.legend(loc="lower left", handlelength=1.8)


def _halves(panel: Axes, result: AttackResult, agreement: dict[str, float]) -> None:
    scores = result.scores
    panel.plot([0, 1], [0, 1], **style.GUESSING)
    panel.plot(
        scores["first_half"], scores["second_half"], linestyle="none", marker="o",
        markersize=2.2, markeredgewidth=0, color=_BLUE, alpha=_strength(len(scores)),
        rasterized=len(scores) > 5000,
    )  # fmt: skip
    low, high, value = (agreement[end] for end in ("low", "high", "value"))
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel("risk by one half of the models")
    panel.set_ylabel("by the other half")
    panel.set_title(f"rank correlation {value:.2f} [{low:.2f}, {high:.2f}]")


def _strength(count: int) -> float:
    return float(np.clip(300 / count, 0.05, 0.6))


def _means(panel: Axes, groups: Sequence[dict[str, Any]], by: str) -> None:
    for place, group in enumerate(groups):
        risk = group["risk"]
        if risk is None:
            continue
        panel.plot([risk["low"], risk["high"]], [place, place], color=_ORANGE)
        panel.plot(
            [risk["value"]], [place], color=_ORANGE, marker="s", markersize=4,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    names = [f"{group['name'][:14]} ({group['records']:,})" for group in groups]
    panel.set_yticks(range(len(groups)), names, parse_math=False, fontsize=7)
    panel.set_ylim(len(groups) - 0.4, -0.6)
    low, high = panel.get_xlim()
    middle, half = (low + high) / 2, max(high - low, 0.1) / 2
    panel.set_xlim(middle - half, middle + half)
    panel.axvline(0.5, **style.GUESSING)
    panel.set_xlabel("mean risk, 95% interval")
    panel.set_title(f"by {by} (records)")


def _notes(
    report: dict[str, Any], groups: Sequence[Any], shown: Sequence[Any]
) -> list[str]:
    risk = {name: found["value"] for name, found in report["risk"].items()}
    notes = [
        "Risk of a record: the chance that a model trained on it is surer of it than "
        "one that was not; dashed: .5, it leaves no trace.",
        f"The interval lies above .5 for {100 * risk['exposed_share']:.1f}% of the "
        f"records, by chance alone for "
        f"{100 * risk['exposed_by_chance']:.1f}%.",
        "Chance: records that no model had, or under memberships of others. The most "
        "exposed tenth by either half of the models has a mean risk of "
        f"{risk['risk_of_exposed']:.2f} by the other; all: {risk['risk_mean']:.2f}.",
        "Means: t-intervals over the records of a group, models as they are.",
    ]
    if len(shown) < len(groups):
        notes.append(
            f"Of {len(groups)} groups, those with the highest and lowest means."
        )
    if any(group["risk"] is None for group in shown):
        notes.append("A group of one record has no interval and is not drawn.")
    return notes
