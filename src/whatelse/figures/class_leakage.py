"""How far the members of each class are told."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import ClassLeakage
from whatelse.measures.spread import spread

_MOST = 40  # classes


@style.context()
def draw(
    settings: ClassLeakage, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw AUC and true-positive rate of every class.

    Parameters
    ----------
    settings : ClassLeakage
        What is asked for.
    results : sequence of AttackResult
        At least one, of the same classes, in the order of the legend.

    Returns
    -------
    Figure
        Two panels with a line for every class: means over seeds and 95% intervals.
    DataFrame
        A row for every result and class.

    Raises
    ------
    UserError
        If classes differ or are too many, or the attack has no such rate.
    """
    tables = [_table(settings, result) for result in results]
    names = tables[0]["class_name"].tolist()
    if any(table["class_name"].tolist() != names for table in tables):
        raise UserError(
            "attacks: of different classes; allowed: attacks on one data set"
        )
    if len(names) > _MOST:
        raise UserError(
            f"attacks: {len(names)} classes; allowed: at most {_MOST} (class_cdf draws "
            "any number)"
        )
    looks = style.looks(len(results))
    labels = named(results)
    beside = max(2.2, 0.75 + (0.10 + 0.085 * len(results)) * len(names))
    several = len(results) > 1
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(settings, results, tables), *remarks(results)],
        height=style.legend_height(labels, beside=beside) if several else beside,
    )
    panels = part.subplots(1, 2, sharey=True)
    for index, (table, look) in enumerate(zip(tables, looks, strict=True)):
        shift = 0.6 * ((index + 0.5) / len(results) - 0.5)
        for panel, measure in zip(panels, ("auc", "tpr"), strict=True):
            _line(panel, table, measure, look, shift)
    members = tables[0]["class_members"]
    ticks = [f"{name} ({int(n):,})" for name, n in zip(names, members, strict=True)]
    panels[0].set_yticks(range(len(names)), ticks, parse_math=False, fontsize=7.2)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_ylabel("class (members a seed)")
    panels[0].set_xlabel("AUC within the class")
    panels[0].axvline(0.5, **style.GUESSING)
    panels[1].set_xlabel(f"members found at {100 * settings.rate:g}% false positives")
    panels[1].axvline(settings.rate, **style.GUESSING)
    panels[1].set_xlim(left=-0.004)
    if several:
        style.legend(part, labels, looks)
    return figure, pd.concat(tables, ignore_index=True)


def _line(
    panel: Axes, table: pd.DataFrame, measure: str, look: style.Look, shift: float
) -> None:
    for place, row in table.iterrows():
        if pd.isna(row[measure]):
            continue
        y = float(place) + shift  # type: ignore[arg-type]
        panel.plot(
            [row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=look.color,
            linewidth=1.1,
        )  # fmt: skip
        panel.plot(
            [row[measure]], [y], color=look.color, marker=look.marker, markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip


def _table(settings: ClassLeakage, result: AttackResult) -> pd.DataFrame:
    name = f"{settings.rate:g}"
    rows = []
    by_class: dict[int, list[dict[str, Any]]] = {}
    # a class of few records is not in every replicate
    for replicate in result.replicates:
        for row in replicate["per_class"]:
            by_class.setdefault(row["class"], []).append(row)
    for _, own in sorted(by_class.items()):
        row = own[0]
        if name not in row["tpr_at_fpr"]:
            known = ", ".join(row["tpr_at_fpr"])
            raise UserError(
                f"rate: {name} is no false-positive rate of attack {result.name!r}; "
                f"allowed: {known}"
            )
        found = {
            "auc": [one["auc"] for one in own],
            "tpr": [one["tpr_at_fpr"][name] for one in own],
        }
        rows.append(
            {
                **result.identity(), "class": row["class"], "class_name": row["name"],
                "class_members": row["members"],
                "class_non_members": row["non_members"],
                **{
                    f"{measure}{end}": value
                    for measure, rates in found.items()
                    for end, value in _interval(rates).items()
                },
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _interval(rates: Sequence[dict[str, Any] | None]) -> dict[str, float | None]:
    """Return a mean with its interval: over seeds, or of one seed over records."""
    known = [rate for rate in rates if rate and "value" in rate]
    if not known:
        return {"": None, "_low": None, "_high": None}
    if len(rates) == 1:
        return {
            "": known[0]["value"],
            "_low": known[0]["low"],
            "_high": known[0]["high"],
        }
    found = spread([rate["value"] for rate in known])
    low, high = found["low"], found["high"]
    return {
        "": found["mean"],
        "_low": None if low is None else max(low, 0.0),
        "_high": None if high is None else min(high, 1.0),
    }


def _notes(
    settings: ClassLeakage, results: Sequence[AttackResult],
    tables: Sequence[pd.DataFrame],
) -> list[str]:  # fmt: skip
    notes = ["Dashed: an attack that only guesses."]
    counts = {result.num_seeds for result in results}
    if counts != {1}:
        notes.append("Marks and bars: means over seeds and their 95% t-intervals.")
    if 1 in counts:
        notes.append(
            "Bars of a single seed: 95% over its records (DeLong; Clopper–Pearson, "
            "given the threshold)."
        )
    notes.append(
        "Members found: at one threshold for all classes, so that classes with few "
        "records need none of their own."
    )
    refused = [table["attack"].iloc[0] for table in tables if table["tpr"].isna().all()]
    if refused:
        notes.append(
            f"{', '.join(dict.fromkeys(refused))}: non-members do not resolve "
            f"{100 * settings.rate:g}%."
        )
    return notes
