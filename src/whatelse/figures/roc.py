"""ROC curves on linear and on logarithmic axes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import (
    AttackResult,
    is_ordered,
    labels,
    non_members,
    remarks,
    shared,
    told_apart,
)
from whatelse.figures.settings import ROC
from whatelse.measures.roc import Curve, band

_UNITS = {False: "records", True: "updates"}
_OTHERS = {False: "non-members", True: "updates without the property"}


@style.context()
def draw(settings: ROC, results: Sequence[AttackResult]) -> tuple[Figure, pd.DataFrame]:
    """Draw one curve for every result, averaged over its seeds.

    Seeds are averaged vertically: the mean true-positive rate at each false-positive
    rate. The logarithmic axes begin at 1 / number of non-members, the least rate
    that the sample resolves. There few curves have a band: the t-interval of the mean
    over seeds, or of a single seed ``whatelse.measures.roc.band``, over its records.

    Parameters
    ----------
    settings : ROC
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        Two panels: linear axes and logarithmic axes.
    DataFrame
        A row for every result, seed (``replicate``; ``mean`` for the average) and
        false-positive rate; the average with the 95% band.

    Raises
    ------
    UserError
        If a result has no ROC, as it tells whole runs apart.
    """
    for result in results:
        if result.mean("auc") is None:
            raise UserError(
                f"attacks: {result.name!r} tells runs apart and has no ROC; allowed: "
                "attacks that tell records or batches apart"
            )
    looks = style.looks(len(results), ordered=is_ordered(results))
    names = [
        f"{label}: AUC {_auc(result)}"
        for label, result in zip(labels(results), results, strict=True)
    ]
    few = len(results) <= style.MOST_FOR_SEEDS
    resolved = [resolution(result) for result in results]
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [
            settings.caption,
            *_notes(results, few=few),
            *remarks(results),
        ],
        height=style.legend_height(names, beside=3.62),
    )
    linear, logarithmic = part.subplots(1, 2)
    frames = []
    for index, result in enumerate(results):
        look, least = looks[index], resolved[index]
        marks = (0.1 + 0.15 * index / len(results), 0.3)
        at = np.unique(np.r_[np.linspace(0, 1, 201), np.geomspace(least, 1, 121)])
        seeds = [
            interpolate(curve["fpr"].to_numpy(), curve["tpr"].to_numpy(), at)
            for _, curve in result.curves.groupby("replicate", sort=True)
        ]
        mean = np.mean(seeds, axis=0)
        low, high = _band(result, seeds, at)
        if few:
            for seed in seeds if len(seeds) > 1 else ():
                _curve(linear, at, seed, look)
            shown = at >= least
            logarithmic.fill_between(
                at[shown], low[shown], high[shown],
                color=look.color, alpha=0.16, linewidth=0, zorder=0.5,
            )  # fmt: skip
        _curve(linear, at, mean, look, marks=marks)
        _curve(logarithmic, at, mean, look, marks=marks, least=least)
        numbers = sorted(result.curves["replicate"].unique())
        for name, values in zip(["mean", *numbers], [mean, *seeds], strict=True):
            frame = {**result.identity(), "replicate": name, "fpr": at, "tpr": values}
            if name == "mean":
                frame |= {"low": low, "high": high}
            frames.append(pd.DataFrame(frame))
    _finish(linear, logarithmic, min(resolved))
    style.legend(part, names, looks)
    return figure, pd.concat(frames, ignore_index=True)


def interpolate(fpr: np.ndarray, tpr: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the true-positive rate of one ROC curve at some false-positive rates.

    Parameters
    ----------
    fpr, tpr : ndarray, shape (num_points,)
        The curve, both rising from 0 to 1.
    at : ndarray
        False-positive rates in [0, 1].

    Returns
    -------
    ndarray, shape as `at`
        Linear between points, as tied scores ask for; where the curve rises
        vertically, its top.
    """
    rates, last = np.unique(fpr[::-1], return_index=True)
    return np.interp(at, rates, tpr[::-1][last])


def resolution(result: AttackResult) -> float:
    """Return 1 / number of non-members, for the seed that has the fewest."""
    return 1 / max(non_members(result), 2)


def _band(
    result: AttackResult, seeds: Sequence[np.ndarray], at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95% band of a curve at some false-positive rates."""
    if len(seeds) > 1:
        reach = stdtrit(len(seeds) - 1, 0.975) / np.sqrt(len(seeds))
        reach = reach * np.std(seeds, axis=0, ddof=1)
        mean = np.mean(seeds, axis=0)
        return np.maximum(mean - reach, 0), np.minimum(mean + reach, 1)
    curve = Curve(*(result.curves[name].to_numpy() for name in Curve._fields))
    others = non_members(result)
    return band(curve, len(told_apart(result)) - others, others, at)


def _curve(
    panel: Axes,
    fpr: np.ndarray,
    tpr: np.ndarray,
    look: style.Look,
    *,
    marks: tuple[float, float] | None = None,
    least: float = 0.0,
) -> None:
    shown = (fpr >= least) & (tpr > 0) if least else slice(None)
    x, y = fpr[shown], tpr[shown]
    if not least:
        x, y = np.r_[0.0, x], np.r_[0.0, y]
    if marks is None:  # one seed, behind the mean
        panel.plot(x, y, color=look.color, linewidth=0.7, alpha=0.3)
        return
    panel.plot(
        x,
        y,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markevery=marks,
        markeredgecolor="white",
        markeredgewidth=0.6,
    )


def _finish(linear: Axes, logarithmic: Axes, least: float) -> None:
    for panel, start in ((linear, 0.0), (logarithmic, least)):
        panel.plot([start, 1.0], [start, 1.0], **style.GUESSING)
        panel.set_xlabel("false-positive rate")
        panel.set_ylabel("true-positive rate")
        panel.set_box_aspect(1)
        panel.set_anchor("N")
    linear.set_xlim(-0.02, 1.02)
    linear.set_ylim(-0.02, 1.02)
    linear.set_title("linear axes")
    logarithmic.set_xscale("log")
    logarithmic.set_yscale("log")
    logarithmic.set_xlim(least, 1.12)
    logarithmic.set_ylim(least, 1.12)
    logarithmic.set_title("logarithmic axes: few false positives")


def _auc(result: AttackResult) -> str:
    spread = result.summary["auc"]
    if spread["std"] is not None:
        return f"{spread['mean']:.3f} ± {spread['std']:.3f}"
    rate = result.replicates[0]["attack"]["auc"]
    return f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


def _notes(results: Sequence[AttackResult], *, few: bool) -> list[str]:
    units = {"asked" in result.scores for result in results}
    # of property inference, updates
    what = " or ".join(name for own, name in _UNITS.items() if own in units)
    others = " or ".join(name for own, name in _OTHERS.items() if own in units)
    notes = ["Dashed: an attack that only guesses."]
    counts = {result.num_seeds for result in results}
    if counts != {1}:
        faint = ", faint lines on the left are single seeds" if few else ""
        notes.append(
            f"Curves are means over seeds{faint}; AUC: mean ± standard deviation "
            "over seeds."
        )
    if 1 in counts:
        notes.append(f"AUC of a single seed: with its 95% interval over {what}.")
    notes.append(f"Logarithmic axes begin at 1 / number of {others}.")
    if few and counts != {1}:
        notes.append(
            "Bands: 95% t-interval of the mean over seeds, at each false-positive rate "
            "by itself."
        )
    if few and 1 in counts:
        notes.append(
            f"Band of a single seed: 95% over its {what}, Clopper–Pearson for both "
            "rates, at each false-positive rate by itself."
        )
    return notes
