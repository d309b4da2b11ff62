"""Metrics against a variable of the grid, e.g. precision against training-set size."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    is_number,
    labels,
    remarks,
    shared,
    value_words,
    variable_words,
)
from whatelse.figures.settings import Trend

_Y_LABELS = {
    "precision": "precision of the attack",
    "recall": "recall of the attack",
    "accuracy": "accuracy of the attack",
    "auc": "AUC of the attack",
    "best_balanced_accuracy": "balanced accuracy, best threshold",
    "train_accuracy": "train accuracy of the target",
    "test_accuracy": "test accuracy of the target",
    "class_precision_mean": "precision, mean over classes",
    "class_precision_median": "precision, median over classes",
    "class_recall_median": "recall, median over classes",
    "tpr_at_0.1": "true-positive rate at 10% false",
    "tpr_at_0.01": "true-positive rate at 1% false",
    "tpr_at_0.001": "true-positive rate at 0.1% false",
    "tpr_at_0.0001": "true-positive rate at 0.01% false",
    "tpr_at_1e-05": "true-positive rate at 0.001% false",
    "queries": "answers read for each record",
    "synthesis_queries": "queries for each record\nthat shadows learn from",
    "risk_mean": "risk of records, mean",
    "risk_of_exposed": "risk of the most exposed tenth",
    "risk_agreement": "rank correlation of risks\nbetween halves of the models",
    "exposed_share": "share of records at risk",
    "exposed_by_chance": "the same by chance alone",
    "exposure": "exposure of phrases learned from (bits)",
    "exposure_unseen": "exposure of other phrases (bits)",
    "benign_test_accuracy": "test accuracy of the benign model",
    "accuracy_change": "change of test accuracy (points)",
    "bit_error_rate": "bit error rate",
    "mape": "MAPE (grey levels, 0–255)",
    "mape_published": "MAPE, min–max decoder\n(grey levels, 0–255)",
    "mape_floor": "MAPE of an exact reading\n(grey levels, 0–255)",
    "ssim": "SSIM (1: identical)",
    "ssim_published": "SSIM, min–max decoder\n(1: identical)",
    "correlation": "correlation of weights and secret",
    "token_precision": "token precision",
    "token_recall": "token recall",
    "cosine_similarity": "cosine similarity of documents",
    "capacity_used": "share of the capacity used",
    "lossless_bits": "low bits replaced at no cost, of 32",
    "payload_left": "share of the payload left by the first scrub",
    "scrub_change": "change of test accuracy by that scrub (points)",
    "detected": "share of tampered models detected",
    "false_alarms": "share of innocent models flagged",
    "alone_test_accuracy": "test accuracy without an adversary",
    "words_seen": "words in a round, mean",
    "dense_rounds": "share of rounds with a dense gradient",
    "epsilon": "epsilon that is promised",
    "epsilon_lower": "lower bound on epsilon",
    "epsilon_exceeded": "share of bounds above epsilon",
    "task_correlation": "correlation of task and property",
    "task_pearson": "Pearson's r of task and property",
    "task_majority": "accuracy for the task, majority",
    "score_with": "score of updates with the property",
    "score_without": "score of updates without it",
    "score_outside": "score of updates before and after",
    "score_run": "mean score of a run",
    "property_probe": "accuracy for the property, hidden layers",
    "property_probe_random": "the same, random weights",
    "property_majority": "the same, majority",
    "property_gain": "least gain over the majority, probe",
    "property_gain_random": "least gain over random weights, probe",
    "property_gain_neighbours": "least gain over the majority, k-NN",
    "property_gain_neighbours_random": "least gain over random weights, k-NN",
    "task_probe": "accuracy for the task, last layer",
    "task_probe_first": "accuracy for the task, first layer",
    "attribute_accuracy": "accuracy for the attribute",
    "attribute_majority": "accuracy for the attribute, majority",
    "decensored_accuracy": "accuracy for the attribute, de-censored",
    "backdoor_before": "backdoor accuracy before",
    "backdoor_after": "backdoor accuracy right after",
    "backdoor_mean": "backdoor accuracy, mean over rounds",
    "backdoor_lowest": "least backdoor accuracy since",
    "backdoor_final": "backdoor accuracy at the end",
    "drawn_before": "backdoor accuracy before, shifted",
    "drawn_after": "backdoor accuracy right after, shifted",
    "drawn_lowest": "least backdoor accuracy since, shifted",
    "drawn_final": "backdoor accuracy at the end, shifted",
    "drawn_mean": "backdoor accuracy, mean over rounds, shifted",
    "spill_before": "ordinary records given the label, before",
    "spill_after": "ordinary records given the label, right after",
    "own_backdoor": "backdoor accuracy of the attackers' model",
    "own_main": "accuracy of the attackers' model",
    "main_before": "accuracy before",
    "main_after": "accuracy right after",
    "main_final": "accuracy at the end",
    "main_change": "change of accuracy (points)",
    "rounds_kept": "rounds that half is there",
    "norm_ratio": "length of malicious changes (benign: 1)",
    "taken": "share of malicious changes taken",
}
_CHANGES = ("accuracy_change", "scrub_change", "main_change")
_LEVELS = (0.0, 255.0)
_SIGNED = (-1.0, 1.0)
_BITS = (0.0, np.inf)
_GAINS = (
    "property_gain", "property_gain_random", "property_gain_neighbours",
    "property_gain_neighbours_random",
)  # fmt: skip
_RANGES = {
    **dict.fromkeys((*_CHANGES, *_GAINS), _SIGNED),
    "mape": _LEVELS,
    "mape_published": _LEVELS,
    "mape_floor": _LEVELS,
    "ssim": _SIGNED,
    "ssim_published": _SIGNED,
    "correlation": _SIGNED,
    "task_pearson": _SIGNED,
    "risk_agreement": _SIGNED,
    "lossless_bits": (0.0, 31.0),
    "exposure": _BITS,
    "exposure_unseen": _BITS,
}
# Axes are never narrower, so that noise does not loom.
_LEAST_SPANS = {
    **dict.fromkeys(_CHANGES, 0.01),
    **dict.fromkeys(("mape", "lossless_bits", "exposure", "exposure_unseen"), 4.0),
}
_UNBOUNDED = (
    "epsilon", "epsilon_lower", "words_seen", "rounds_kept", "norm_ratio", "queries",
    "synthesis_queries",
)  # fmt: skip
_WHOLE = ("detected", "false_alarms")  # from none of the models to all of them
_X_LABELS = {
    "members": "members (records in the training set)",
    "classes": "number of classes",
    "records": "records in the data set",
    "shadows": "number of shadow models",
    "references": "number of reference models",
    "bits": "low bits replaced, b of 32",
    "strength": "strength of the penalty",
    "inputs": "synthetic records",
    "attackers": "participants who attack",
    "epsilon": "epsilon that is promised",
}


@dataclass(frozen=True)
class _Series:
    """Results that one line joins, in the order of `x`."""

    label: str
    results: tuple[AttackResult, ...]


@style.context()
def draw(
    settings: Trend, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for every metric, with a line for every series of results.

    Parameters
    ----------
    settings : Trend
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        Means over seeds joined by lines, their 95% intervals, a point for each seed.
    DataFrame
        A row for every result and metric (``replicate`` is ``mean``) and one for
        each of its seeds.

    Raises
    ------
    UserError
        If a result has no such variable, or two of a line share its value.
    """
    series = _series(settings.x, results)
    axis = _Axis(settings, results)
    looks = style.looks(len(series))
    columns = min(len(settings.metrics), 3)
    rows = -(-len(settings.metrics) // columns)
    names = [line.label for line in series]
    axes_height = (3.0 if columns < 3 else 2.6) * rows
    has_legend = len(series) > 1
    figure, part = style.sheet(
        settings.title,
        shared(results, without={settings.x}),
        [
            settings.caption,
            *_notes(settings, results),
            *(_unseen(settings, series) if "detected" in settings.metrics else ()),
            *remarks(results),
        ],
        height=style.legend_height(names, beside=axes_height)
        if has_legend
        else axes_height,
    )
    panels = part.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(settings.metrics) :]:
        panel.set_axis_off()
    for panel, metric in zip(panels, settings.metrics, strict=False):
        chance = 0.0 if metric in _CHANGES else guessing(metric, results)
        if chance is not None:
            style.baseline(panel, chance)
        for index, (line, look) in enumerate(zip(series, looks, strict=True)):
            shift = index - (len(series) - 1) / 2
            _line(panel, line, metric, look, axis, shift=shift)
        axis.finish(panel, points=460 / columns - 45)
        panel.set_ylabel(_Y_LABELS[metric])
        _limit(panel, metric)
    for panel in panels[
        max(len(settings.metrics) - columns, 0) : len(settings.metrics)
    ]:
        # with nothing beneath it
        panel.set_xlabel(textwrap.fill(axis.label, 24 if columns == 3 else 80))
    if has_legend:
        style.legend(part, names, looks)
    return figure, _table(settings, series)


def guessing(metric: str, results: Sequence[AttackResult]) -> float | None:
    """Return what an attack reaches that knows nothing, or None where it varies.

    AUC and bit error rate: 0.5. Precision: the share of members among the records
    attacked. Accuracy: the share of the larger group. P1 attacks as many members as
    non-members, so that these are 0.5 too.
    """
    if metric in ("auc", "bit_error_rate"):
        return 0.5
    if metric not in ("precision", "accuracy", "class_precision_mean"):
        return None
    shares = []
    for result in results:
        for replicate in result.replicates:
            classes = replicate.get("per_class") or ()
            members = sum(row["members"] for row in classes)
            others = sum(row["non_members"] for row in classes)
            if members + others:
                shares.append(members / (members + others))
    if not shares or max(shares) - min(shares) > 0.005:
        return None
    share = float(np.mean(shares))
    return max(share, 1 - share) if metric == "accuracy" else share


class _Axis:
    """The horizontal axis: where values stand, and how far apart things are drawn."""

    def __init__(self, settings: Trend, results: Sequence[AttackResult]) -> None:
        self._name = settings.x
        self.label = settings.x_label or _X_LABELS.get(
            settings.x, variable_words(settings.x)
        )
        found = [result.variable(settings.x) for result in results]
        self._categories: list[Any] | None = None
        self._unit = settings.x_unit
        if not all(is_number(value) for value in found):
            self._categories = list(dict.fromkeys(found))
            self._values = [float(n) for n in range(len(self._categories))]
        else:
            self._values = sorted({float(value) / self._unit for value in found})
        self._log = settings.x_scale == "log" and self._categories is None
        if self._log and self._values[0] <= 0:
            raise UserError(
                f"x_scale: 'log' needs {settings.x} > 0, got {self._values[0]:g}"
            )
        low, high = self._scaled(self._values[0]), self._scaled(self._values[-1])
        self._span = (high - low) or (1.0 if self._log else abs(low) or 1.0)

    def place(self, result: AttackResult) -> float:
        """Return the position of a result."""
        value = result.variable(self._name)
        if self._categories:
            return float(self._categories.index(value))
        return float(value) / self._unit

    def finish(self, panel: Axes, *, points: float) -> None:
        """Set scale, limits and ticks; the panel is about `points` wide."""
        low = self._scaled(self._values[0]) - 0.09 * self._span
        # More room on the right, where the seeds stand beside their mean.
        high = self._scaled(self._values[-1]) + 0.15 * self._span
        if self._log:
            panel.set_xscale("log")
            low, high = 10**low, 10**high
        panel.set_xlim(low, high)
        if self._categories:
            texts = [value_words(value) for value in self._categories]
            slanted = max(len(text) for text in texts) * 5 + 6 > points / len(texts)
            panel.set_xticks(
                self._values,
                texts,
                rotation=30 if slanted else 0,
                ha="right" if slanted else "center",
            )
        else:
            ticks = self._ticks(points)
            panel.set_xticks(ticks, [f"{value:,.12g}" for value in ticks])
            panel.set_xticks([], minor=True)

    def _scaled(self, value: float) -> float:
        return float(np.log10(value)) if self._log else float(value)

    def _ticks(self, points: float) -> list[float]:
        """Return the values that occur, less those too close for their text."""
        kept: list[float] = []
        for value in reversed(self._values):
            if kept:
                gap = (self._scaled(kept[-1]) - self._scaled(value)) / self._span
                characters = (len(f"{value:,.12g}") + len(f"{kept[-1]:,.12g}")) / 2
                if gap * points / 1.18 < 5 * characters + 3:
                    continue
            kept.append(value)
        return kept[::-1]


def _series(x: str, results: Sequence[AttackResult]) -> list[_Series]:
    """Group results into lines: everything but `x` (and what follows it) is equal."""
    from_dataset = any(x not in result.grid for result in results)
    names = {result.dataset["name"] for result in results}
    without = {x, *_followers(x, results)}
    groups: dict[tuple[Any, ...], list[AttackResult]] = {}
    for result in results:
        rest = {key: value for key, value in result.grid.items() if key not in without}
        if from_dataset:
            # The data set is what changes along x, so it cannot tell lines apart.
            rest = {key: value for key, value in rest.items() if value not in names}
        dataset = None if from_dataset else result.dataset["name"]
        key = (result.name, dataset, *sorted((k, repr(v)) for k, v in rest.items()))
        groups.setdefault(key, []).append(result)
    for group in groups.values():
        values = [result.variable(x) for result in group]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise UserError(
                f"x: {len(twice)} results of attack {group[0].name!r} have the same "
                f"{x} = {value_words(twice[0])}; choose a variable that tells them "
                "apart"
            )
        if all(is_number(value) for value in values):
            group.sort(key=lambda result: float(result.variable(x)))
    heads = [group[0] for group in groups.values()]
    return [
        _Series(label, tuple(group))
        for label, group in zip(
            labels(heads, without=without), groups.values(), strict=True
        )
    ]


def _followers(x: str, results: Sequence[AttackResult]) -> set[str]:
    """Return which variables have one value for every value of `x`, in every attack.

    Entries that differ in several fields at once, e.g. in data and epochs, have such. A
    full grid has none: each value of one stands by each of another.
    """
    values: dict[str, dict[tuple[str, str], set[str]]] = {}
    for result in results:
        place = (result.name, repr(result.grid.get(x)))
        for key, value in result.grid.items():
            values.setdefault(key, {}).setdefault(place, set()).add(repr(value))
    return {
        key
        for key, at in values.items()
        if all(len(own) == 1 for own in at.values())
        # not one that tells attacks apart and stays within each
        and len({(name, *own) for (name, _), own in at.items()})
        > len({name for name, _ in at})
    }


def _line(
    panel: Axes,
    line: _Series,
    metric: str,
    look: style.Look,
    axis: _Axis,
    *,
    shift: float,
) -> None:
    known = [result for result in line.results if _spread(result, metric)]
    spreads = [_spread(result, metric) for result in known]
    places = [axis.place(result) for result in known]
    beside = _moved(panel, 9 * shift)
    panel.plot(
        places,
        [spread["mean"] for spread in spreads],
        transform=beside,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markeredgecolor="white",
        markeredgewidth=0.6,
        markersize=6.5,
        zorder=3,
    )
    for result, spread, place in zip(known, spreads, places, strict=True):
        low, high = _interval(result, metric)
        values = [value for value in spread["values"] if value is not None]
        heights = [spread["mean"], low, high, *values]
        # moved coordinates do not count for the axis' limits by themselves
        panel.update_datalim([(place, y) for y in heights if y is not None])
        if low is not None and high is not None:
            panel.errorbar(
                [place],
                [spread["mean"]],
                [[spread["mean"] - low], [high - spread["mean"]]],
                transform=beside,
                color=look.color,
                capsize=3,
                elinewidth=1.2,
                zorder=2.5,
            )
        if len(values) > 1:
            panel.plot(
                [place] * len(values),
                values,
                transform=_moved(panel, 9 * shift + 6),
                color=look.color,
                linestyle="none",
                marker=look.marker,
                markerfacecolor="none",
                markersize=3.2,
                markeredgewidth=0.6,
                alpha=0.7,
                zorder=2,
            )


def _moved(panel: Axes, points: float) -> Transform:
    """Return data coordinates moved to the right by some points of the page."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    shift = ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
    return panel.transData + shift


def _spread(result: AttackResult, metric: str) -> dict[str, Any]:
    """Return a metric's spread over seeds, or {} where it is not known."""
    spread = result.summary.get(metric)
    return spread if spread and spread.get("mean") is not None else {}


def _interval(result: AttackResult, metric: str) -> tuple[float | None, float | None]:
    """Return the 95% interval: of the mean over seeds, or of one seed's counts."""
    if result.num_seeds > 1:
        spread = _spread(result, metric)
        return spread["low"], spread["high"]
    for part in result.replicates[0].values():
        rate = part.get(metric) if isinstance(part, dict) else None
        if isinstance(rate, dict):
            return rate.get("low"), rate.get("high")
    return None, None


def _limit(panel: Axes, metric: str) -> None:
    """Keep the vertical axis where values can be, and not so tight that noise looms."""
    if not np.isfinite(panel.dataLim.y0):
        panel.set_yticks([])
        panel.text(0.5, 0.5, "not known", ha="center", transform=panel.transAxes)
        return
    panel.autoscale_view(scalex=False)
    low, high = panel.get_ylim()
    least, most = _RANGES.get(metric, (0.0, 1.0))
    if metric in _UNBOUNDED:
        return
    name = "mape" if most == _LEVELS[1] else metric
    middle, half = (low + high) / 2, max(high - low, _LEAST_SPANS.get(name, 0.1)) / 2
    low = max(middle - half, least - 0.06 * half)
    high = min(middle + half, most + 0.06 * half)
    if metric in _WHOLE:
        low, high = -0.03, 1.03
    panel.set_ylim(low, high)
    ticks = [
        at for at in panel.get_yticks() if max(low, least) <= at <= min(high, most)
    ]
    if metric in _CHANGES:  # in points, as it is spoken of
        panel.set_yticks(ticks, [_signed(100 * at) for at in ticks])
    else:
        panel.set_yticks(ticks)


def _signed(value: float) -> str:
    value = round(value, 6)
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _notes(settings: Trend, results: Sequence[AttackResult]) -> list[str]:
    counts = {result.num_seeds for result in results}
    notes = []
    if counts != {1}:
        notes.append(
            "Line and bar: mean over seeds and its 95% t-interval; small open "
            "marks: the seeds."
        )
    single = [result for result in results if result.num_seeds == 1]
    if any(
        _interval(own, name)[0] is not None
        for own in single
        for name in settings.metrics
    ):
        what = "records or bits" if "bit_error_rate" in settings.metrics else "records"
        notes.append(f"Bars of a single seed: 95% interval over its {what}.")
    chances = {guessing(metric, results) for metric in settings.metrics} - {None}
    if chances:
        words = ", ".join(f"{chance:.2g}" for chance in sorted(chances))  # type: ignore[type-var]
        notes.append(f"Dashed: an attack that only guesses ({words}).")
    if "accuracy_change" in settings.metrics:
        notes.append(
            "Change of accuracy: tampered minus benign, in percentage points; dashed: "
            "none."
        )
    return notes


def _unseen(settings: Trend, series: Sequence[_Series]) -> list[str]:
    """Say where a detector sees no tampered model, or not every one."""
    notes = []
    known = [line for line in series if _spread(line.results[0], "detected")]
    for line in known:
        head = f"{line.label}: " if len(series) > 1 else ""
        shares = [
            _spread(result, "detected").get("mean", np.nan) for result in line.results
        ]
        for words, places in (
            ("no model", [share == 0 for share in shares]),
            ("some models, not all,", [0 < share < 1 for share in shares]),
        ):
            at = [
                _shown(settings, result.variable(settings.x))
                for result, here in zip(line.results, places, strict=True)
                if here
            ]
            if at:
                axis = variable_words(settings.x)
                notes.append(f"{head}{words} detected at {axis} {', '.join(at)}.")
    return notes or ["Every tampered model is detected." for _ in known[:1]]


def _shown(settings: Trend, value: Any) -> str:
    return value_words(value / settings.x_unit if is_number(value) else value)


def _table(settings: Trend, series: Sequence[_Series]) -> pd.DataFrame:
    rows = []
    for line in series:
        for result in line.results:
            for metric in settings.metrics:
                spread = _spread(result, metric)
                if not spread:
                    continue
                low, high = _interval(result, metric)
                head = {
                    **result.identity(),
                    settings.x: result.variable(settings.x),
                    "metric": metric,
                }
                rows.append(
                    {
                        **head,
                        "replicate": "mean",
                        "value": spread["mean"],
                        "low": low,
                        "high": high,
                    }
                )
                for replicate, value in zip(
                    result.replicates, spread["values"], strict=True
                ):
                    rows.append(
                        {
                            **head,
                            "replicate": replicate["replicate"],
                            "value": value,
                            "low": None,
                            "high": None,
                        }
                    )
    return pd.DataFrame(rows)
