"""Accuracy against the number of low bits that carry a secret (P2 Sec. 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whatelse.figures import style
from whatelse.figures.results import AttackResult, named, remarks, shared
from whatelse.figures.settings import LowBits
from whatelse.memorization.settings import LOSSLESS_COST

_MANTISSA = 23
_COSTLY = "#f6dcc9"


@style.context()
def draw(
    settings: LowBits, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a curve for every result: the mean over seeds, and each seed.

    Parameters
    ----------
    settings : LowBits
        What is asked for.
    results : sequence of AttackResult
        At least one, in the order of the legend.

    Returns
    -------
    Figure
        A ring marks the last b that costs nothing in any seed; a cross a b at which
        the secret was not read back exactly in some seed.
    DataFrame
        A row for every result, b and seed (``replicate``; ``mean`` for the average).
    """
    names = [
        f"{label}: free up to b = {plateau(result)}"
        for label, result in zip(named(results), results, strict=True)
    ]
    looks = style.looks(len(results))
    several = len(results) > 1
    seeds = len(results) <= style.MOST_FOR_SEEDS
    tables = [_table(result) for result in results]
    figure, part = style.sheet(
        settings.title,
        shared(results),
        [
            settings.caption,
            *_notes(results, tables, seeds=seeds),
            *remarks(results),
        ],
        height=style.legend_height(names, beside=2.9) if several else 2.9,
    )
    panel = part.subplots()
    for result, table, look in zip(results, tables, looks, strict=True):
        _curve(panel, result, table, look, seeds=seeds)
    most = max(int(table["bits"].max()) for table in tables)
    if not several:
        _region(panel, results[0], looks[0], most)
    if most > _MANTISSA:
        _exponent(panel)
    panel.set_xlim(0.4, most + 0.6)
    panel.set_xticks(range(1, most + 1))
    panel.set_xlabel("b: low bits of each 32-bit parameter that carry the secret")
    panel.set_ylabel("test accuracy (%)")
    panel.autoscale_view(scalex=False)
    low, high = panel.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 2.0) / 2
    panel.set_ylim(max(middle - half, -1.0), min(middle + 1.1 * half, 101.0))
    if several:
        style.legend(part, names, looks)
    return figure, pd.concat(
        [
            pd.DataFrame({**result.identity(), **table})
            for result, table in zip(results, tables, strict=True)
        ],
        ignore_index=True,
    )


def plateau(result: AttackResult) -> int:
    """Return the last b that costs nothing in any seed; 0 if the first one does."""
    values = result.summary["lossless_bits"]["values"]
    return int(min(value or 0 for value in values))


def _table(result: AttackResult) -> pd.DataFrame:
    """Return replicate, bits, test_accuracy, exact: means first, then the seeds."""
    curves = result.curves[["replicate", "bits", "test_accuracy", "exact"]]
    mean = curves.groupby("bits", as_index=False)[["test_accuracy", "exact"]].mean()
    mean.insert(0, "replicate", "mean")
    return pd.concat([mean, curves], ignore_index=True)


def _curve(
    panel: Axes,
    result: AttackResult,
    table: pd.DataFrame,
    look: style.Look,
    *,
    seeds: bool,
) -> None:
    mean = table[table["replicate"] == "mean"]
    bits, accuracy = mean["bits"].to_numpy(), 100 * mean["test_accuracy"].to_numpy()
    if seeds and result.num_seeds > 1:
        for _, own in table[table["replicate"] != "mean"].groupby("replicate"):
            panel.plot(
                own["bits"],
                100 * own["test_accuracy"],
                color=look.color,
                linewidth=0.7,
                alpha=0.4,
            )
    unmodified = result.mean("test_accuracy")
    if unmodified is not None:
        panel.axhline(100 * unmodified, **{**style.GUESSING, "color": look.color})
    panel.plot(
        bits,
        accuracy,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=3,
    )
    last = bits == plateau(result)
    panel.plot(
        bits[last],
        accuracy[last],
        color=look.color,
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgewidth=1.4,
        zorder=4,
    )
    wrong = mean["exact"].to_numpy() < 1
    panel.plot(
        bits[wrong],
        accuracy[wrong],
        color="#c00000",
        linestyle="none",
        marker="x",
        markersize=8,
        markeredgewidth=1.8,
        zorder=5,
    )


def _region(panel: Axes, result: AttackResult, look: style.Look, most: int) -> None:
    """Shade where b costs accuracy, and say so."""
    last = plateau(result)
    if last < most:
        panel.axvspan(last + 0.5, most + 0.6, color=_COSTLY, linewidth=0, zorder=0)
    left = last + 0.5 > most / 2
    panel.annotate(
        f"free up to b = {last}",
        (last + (0.3 if left else 0.7), 0.05),
        xycoords=("data", "axes fraction"),
        ha="right" if left else "left",
        fontsize=9,
        fontweight="bold",
        color=look.color,
    )


def _exponent(panel: Axes) -> None:
    """Mark where bits of the exponent begin."""
    at = _MANTISSA + 0.5
    panel.axvline(at, color=style.GREY, linewidth=0.7, zorder=1)
    for x, words, align in (
        (at - 0.2, "mantissa", "right"),
        (at + 0.2, "exponent too", "left"),
    ):
        panel.annotate(
            words,
            (x, 1.01),
            xycoords=("data", "axes fraction"),
            ha=align,
            fontsize=7,
            color=style.GREY,
        )


def _notes(
    results: Sequence[AttackResult],
    tables: Sequence[pd.DataFrame],
    *,
    seeds: bool,
) -> list[str]:
    notes = []
    if any(result.num_seeds > 1 for result in results):
        faint = ", faint lines are single seeds" if seeds else ""
        notes.append(f"Curves are means over seeds{faint}.")
    notes.append(
        "Ring: the last b up to which every b costs at most "
        f"{100 * LOSSLESS_COST:g} points in every seed"
        + ("; shaded: what costs more." if len(results) == 1 else ".")
    )
    notes.append("Thin dashes: the model before anything was written.")
    wrong = [
        (label, [int(b) for b in np.unique(table["bits"][table["exact"] < 1])])
        for label, table in zip(named(results), tables, strict=True)
    ]
    if any(bits for _, bits in wrong):
        where = "; ".join(
            (f"{label}: " if len(results) > 1 else "")
            + f"b = {', '.join(map(str, bits))}"
            for label, bits in wrong
            if bits
        )
        notes.append(f"Crosses: not decoded exactly in every seed ({where}).")
    else:
        notes.append("The secret was decoded exactly at every b.")
    return notes
