"""What layers separate records by: a map of each, and probes (P3 Fig. 3)."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from whatelse.errors import UserError
from whatelse.figures import style
from whatelse.figures.results import AttackResult, remarks, shared
from whatelse.figures.settings import Layers
from whatelse.figures.sketch import LINE, TEXT, Sketch

_REPLICATE = 0
_MOST = 5  # maps in a row
_MAP, _PROBES, _LEGEND = 1.55, 2.35, 0.9  # inches
_NUMBERS = 0.66  # inches of the head of the numbers
_LACKS, _HAS, _TASK = (look.color for look in style.looks(3))
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")
_MODELS = {"trained": "-", "random weights": ":"}
_NEAR: dict[str, dict[str, Any]] = {
    model: {"linestyle": "none", "marker": "o", "markerfacecolor": "none", **more}
    for model, more in (
        ("trained", {}),
        ("random weights", {"color": style.GREY, "markersize": 3.5}),
    )
}
_COLUMNS = ("property", "task")
_PROBE_WORDS = {"linear": "probe", "neighbours": "k-NN"}


@style.context()
def draw(
    settings: Layers, results: Sequence[AttackResult]
) -> tuple[Figure, pd.DataFrame]:
    """Draw the maps of every layer above the probes.

    Parameters
    ----------
    settings : Layers
        What is asked for.
    results : sequence of AttackResult
        Exactly one.

    Returns
    -------
    Figure
        Held-out records by t-SNE of each layer's features (marker: task, colour:
        property); below, accuracy of linear probes (lines) and of nearest neighbours
        (points) over layers, for both, with random weights and the majority beside;
        at the foot the same as numbers.
    DataFrame
        The probes' accuracies.

    Raises
    ------
    UserError
        If there is more than one result.
    """
    if len(results) != 1:
        raise UserError(
            f"attacks: {len(results)} results; allowed: one, at one point of its grid"
        )
    (result,) = results
    curves = result.curves[result.curves["replicate"] == _REPLICATE]
    curves = curves.astype({"layer": str})  # some nets number their layers
    scores = result.scores[result.scores["replicate"] == _REPLICATE]
    names = list(dict.fromkeys(scores["layer"]))
    columns = min(len(names), _MOST)
    rows = -(-len(names) // columns)
    picture = _MAP * rows + _PROBES + _LEGEND
    numbers = _NUMBERS + LINE * (len(names) + 1) + 0.05
    figure, whole = style.sheet(
        settings.title,
        shared(results),
        [settings.caption, *_notes(result), *remarks(results)],
        height=picture + numbers,
    )
    parts: Any = whole.subfigures(2, 1, height_ratios=[picture, numbers], hspace=0)
    part, foot = parts
    grid = part.add_gridspec(
        rows + 1, 2 * columns, height_ratios=[*[_MAP] * rows, _PROBES]
    )
    words = _layer_words(names)
    classes = sorted(set(scores["task"]))
    for place, name in enumerate(names):
        left = 2 * (place % columns)
        panel = part.add_subplot(grid[place // columns, left : left + 2])
        _map(panel, scores[scores["layer"] == name], classes)
        panel.set_title(words[name], parse_math=False)
    first = None
    for place, column in enumerate(_COLUMNS):
        panel = part.add_subplot(
            grid[rows, place * columns : (place + 1) * columns], sharey=first
        )
        _probes(panel, curves[curves["column"] == column], column, words)
        if first is None:
            first = panel
            panel.set_ylabel("accuracy (%)")
    for handles, side, title in (
        (_of_maps(_class_words(result, classes)), "left", "maps"),
        (_of_probes(), "right", "curves"),
    ):
        part.legend(
            handles=handles, loc=f"outside lower {side}", ncols=2, title=title,
            alignment="left",
        )  # fmt: skip
    _numbers(Sketch(foot, numbers), curves, words)
    table = curves.drop(columns="replicate")
    return figure, pd.DataFrame({**result.identity(), "replicate": _REPLICATE, **table})


def _of_maps(classes: Sequence[str]) -> list[Line2D]:
    """Return the samples of the legend of maps."""
    marks: dict[str, Any] = {"linestyle": "none", "marker": "s"}
    return [
        *(Line2D([], [], **{**marks, "marker": _MARKERS[index]}, color=style.GREY,
                 label=f"task: {value}")
          for index, value in enumerate(classes[: len(_MARKERS)])),
        Line2D([], [], **marks, color=_HAS, label="has the property"),
        Line2D([], [], **marks, color=_LACKS, label="lacks it"),
    ]  # fmt: skip


def _of_probes() -> list[Line2D]:
    """Return the samples of the legend of accuracies."""
    return [
        Line2D([], [], color="black", label="linear probe"),
        Line2D([], [], **_NEAR["trained"], color="black", label="k-NN"),
        Line2D(
            [], [], color="black", linestyle=":", label="linear probe, random weights"
        ),
        Line2D([], [], **_NEAR["random weights"], label="k-NN, random weights"),
        Line2D([], [], **style.GUESSING, label="majority"),
    ]  # fmt: skip


def _class_words(result: AttackResult, classes: Sequence[int]) -> list[str]:
    """Return what the task's classes are called, by number where nothing is known."""
    names = result.metrics.get("class_names") or ()
    return [
        str(names[value]) if value < len(names) else f"class {value}"
        for value in classes
    ]


def _layer_words(names: Sequence[str]) -> dict[str, str]:
    """Return what layers are called: by number, the last one is the output."""
    last = len(names) - 1
    return {
        name: "output" if depth == last else f"layer {depth + 1}"
        for depth, name in enumerate(names)
    }


def _map(panel: Axes, own: pd.DataFrame, classes: Sequence[int]) -> None:
    for index, value in enumerate(classes):
        for has_it, color in ((0, _LACKS), (1, _HAS)):
            part = own[(own["task"] == value) & (own["has_it"] == has_it)]
            panel.scatter(
                part["x"],
                part["y"],
                s=7,
                marker=_MARKERS[index % len(_MARKERS)],
                color=color,
                linewidths=0,
                alpha=0.75,
                zorder=2 + has_it,
            )
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)


def _probes(panel: Axes, own: pd.DataFrame, column: str, words: dict[str, str]) -> None:
    color = _HAS if column == "property" else _TASK
    for model, dashes in _MODELS.items():
        rows = own[own["model"] == model].sort_values("depth")
        panel.plot(rows["depth"], 100 * rows["linear"], color=color, linestyle=dashes)
        panel.plot(
            rows["depth"], 100 * rows["neighbours"],
            **{"color": color, **_NEAR[model]},
        )  # fmt: skip
    names = [words[layer] for layer in rows["layer"]]
    panel.set_xticks(np.arange(len(names)), names)
    panel.margins(x=0.09)
    style.baseline(panel, 100 * float(own["majority"].iloc[0]))
    panel.set_title(f"telling the {column}")


def _numbers(sketch: Sketch, curves: pd.DataFrame, words: dict[str, str]) -> None:
    """Write a row of accuracies for every layer, and the majority's."""
    found = curves.set_index(["column", "model", "layer"])[[*_PROBE_WORDS]]
    cells: dict[Any, float] = found.stack().to_dict()
    heads = list(itertools.product(_COLUMNS, _MODELS, _PROBE_WORDS))
    left, right = TEXT + 0.9, style.WIDTH - TEXT
    width = (right - left) / len(heads)
    edges = [left + width * (place + 1) for place in range(len(heads))]
    sketch.rule(0.04, heavy=True)
    for place, (column, model, probe) in enumerate(heads):
        first = probe == "linear"
        if first and model == "trained":
            middle = edges[place] + width
            sketch.text(middle, 0.18, f"telling the {column} (%)", ha="center")
            start, stop = edges[place] - width + 0.15, edges[place + 3]
            sketch.rule(0.23, start=start, stop=stop)
        if first:
            sketch.text(edges[place] + 0.05, 0.38, model, ha="center", color=style.GREY)
        sketch.text(
            edges[place], 0.54, _PROBE_WORDS[probe], ha="right", fontweight="bold"
        )
    sketch.rule(0.60)
    y = _NUMBERS - 0.05
    for number, (layer, label) in enumerate(words.items()):
        if number % 2:
            sketch.shade(y, LINE)
        sketch.text(TEXT, y + LINE * 0.78, label)
        for edge, (column, model, probe) in zip(edges, heads, strict=True):
            value = 100 * cells[column, model, layer, probe]
            sketch.text(edge, y + LINE * 0.78, f"{value:.1f}", ha="right")
        y += LINE
    sketch.rule(y + 0.01)
    sketch.text(TEXT, y + LINE * 0.85, "majority")
    for column, edge in zip(_COLUMNS, edges[:: len(heads) // 2], strict=True):
        value = 100 * float(curves.loc[curves["column"] == column, "majority"].iloc[0])
        sketch.text(edge, y + LINE * 0.85, f"{value:.1f}", ha="right")


def _notes(result: AttackResult) -> list[str]:
    correlation = result.mean("task_correlation")
    trained, drawn = (result.mean(f"property_probe{end}") for end in ("", "_random"))
    below = result.curves[result.curves["depth"] < result.curves["depth"].max()]
    which = "convolutional layers" if below["convolutional"].any() else "hidden layers"
    several = f"Replicate {_REPLICATE} alone." if result.num_seeds > 1 else ""
    return [
        "" if trained is None or drawn is None else f"Linear probes of {which} tell "
        f"the property of {100 * trained:.1f}%, with random weights of "
        f"{100 * drawn:.1f}%{', mean over seeds' if several else ''}.",
        several,
        "Maps: t-SNE of 50 principal components at most; only neighbourhoods mean "
        "anything.",
        "" if correlation is None else "Correlation of task and property in "
        f"these records: {correlation:.3f}.",
    ]  # fmt: skip
