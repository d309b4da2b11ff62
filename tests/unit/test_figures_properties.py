"""Figures of the properties question: what is drawn, said, refused, and its bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_samples import assert_fits
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import TypeAdapter

from whatelse.errors import UserError
from whatelse.figures import (
    attribute_table,
    layers,
    property_table,
    results,
    roc,
    settings,
    style,
    timeline,
)
from whatelse.measures.spread import spread
from whatelse.records import file_digest, write_json

MODULES: dict[str, Any] = {
    "attribute_table": attribute_table, "layers": layers,
    "property_table": property_table, "roc": roc, "timeline": timeline,
}  # fmt: skip
SETTINGS: TypeAdapter[Any] = TypeAdapter(settings.FigureSettings)
DATASET: dict[str, Any] = {
    "name": "toy", "title": "Toy", "stand_in_for": None, "remarks": [],
}  # fmt: skip


def write(
    folder: Path, kind: str, name: str, summary: dict[str, list[float]],
    scores: pd.DataFrame, curves: pd.DataFrame, grid: dict[str, Any] | None = None,
    remarks: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    folder.mkdir(parents=True)
    count = len(next(iter(summary.values())))
    write_json(
        folder / "metrics.json",
        {
            "kind": kind, "name": name, "grid": grid or {},
            "dataset": {**DATASET, "remarks": [*DATASET["remarks"], *remarks]},
            "class_names": ["below"],
            "replicates": [{"replicate": n} for n in range(count)],
            "summary": {metric: spread(values) for metric, values in summary.items()},
        },
    )  # fmt: skip
    scores.to_parquet(folder / "scores.parquet", index=False)
    curves.to_csv(folder / "curves.csv", index=False)
    return folder


def make_passive(
    folder: Path, name: str = "passive", *, runs: bool = False, **grid: Any
) -> Path:
    """Updates of 200 iterations; every second has the property, from 100 to 199."""
    iteration = np.arange(200)
    has_it = (iteration % 2 == 0) & (iteration >= 100)
    scores = pd.DataFrame(
        {
            "iteration": iteration, "has_it": has_it,
            "score": np.where(has_it, 0.8, 0.3), "replicate": 0,
            "asked": iteration >= 100,
        }
    )  # fmt: skip
    summary = {
        "auc": [0.95, 0.97], "task_correlation": [0.01, 0.02],
        "task_pearson": [-0.01, -0.02], "task_majority": [0.55, 0.56],
        "alone_test_accuracy": [0.9, 0.91],
        "train_accuracy": [0.9, 0.91], "test_accuracy": [0.88, 0.89],
        "score_with": [0.8, 0.8], "score_without": [0.3, 0.3],
        "score_run": [0.6, 0.6],
    }  # fmt: skip
    if runs:
        del summary["auc"]
    curves = pd.DataFrame(
        {"replicate": 0, "fpr": [0.0, 0.0, 1.0], "tpr": [0.0, 1.0, 1.0],
         "threshold": [np.inf, 0.8, 0.3]}
    )  # fmt: skip
    return write(folder, "properties.passive", name, summary, scores, curves, grid)


def make_membership(folder: Path, name: str, dense: float, **grid: Any) -> Path:
    summary = {
        "precision": [0.9, 0.92], "recall": [1.0, 1.0], "dense_rounds": [dense] * 2,
        "test_accuracy": [0.88, 0.89],
    }  # fmt: skip
    table = pd.DataFrame({"replicate": [0]})
    remarks = (f"in {dense:.0%} of the rounds more words moved",) if dense else ()
    kind = "properties.membership"
    return write(folder, kind, name, summary, table, table, grid, remarks)


def make_layers(folder: Path, depth: int = 3) -> Path:
    rng = np.random.default_rng(0)
    names = [str(number) for number in range(depth)]
    scores = pd.concat(
        [
            pd.DataFrame(
                {
                    "layer": name, "x": rng.random(40), "y": rng.random(40),
                    "replicate": 0, "record": np.arange(40), "task": np.arange(40) % 2,
                    "has_it": np.arange(40) // 2 % 2,
                }
            )
            for name in names
        ]
    )  # fmt: skip
    curves = pd.DataFrame(
        [
            {
                "model": model, "depth": number, "layer": name, "column": column,
                "convolutional": number < depth - 1,
                "linear": 0.9 - 0.1 * number, "majority": 0.7,
                "neighbours": 0.75 if model == "trained" else 0.625, "replicate": 0,
            }
            for model in ("trained", "random weights")
            for number, name in enumerate(names)
            for column in ("task", "property")
        ]
    )  # fmt: skip
    summary = {
        "property_probe": [0.8], "property_probe_random": [0.75],
        "task_correlation": [0.25],
    }  # fmt: skip
    return write(folder, "properties.layers", "look", summary, scores, curves)


def make_representation(folder: Path, name: str = "race", *more: str) -> Path:
    summary = {
        "test_accuracy": [0.9, 0.92], "attribute_accuracy": [0.6, 0.62],
        "attribute_majority": [0.4, 0.41], **{other: [0.5, 0.52] for other in more},
    }  # fmt: skip
    table = pd.DataFrame({"replicate": [0]})
    return write(folder, "properties.representation", name, summary, table, table)


MAKE = {
    "layers": make_layers, "attribute_table": make_representation,
    "property_table": make_passive, "roc": make_passive, "timeline": make_passive,
}  # fmt: skip


def draw(kind: str, folders: list[Path], **more: Any) -> tuple[Figure, pd.DataFrame]:
    names = list(dict.fromkeys(results.AttackResult(path).name for path in folders))
    asked = SETTINGS.validate_python(
        {"kind": kind, "attacks": names, "title": "A title", **more}
    )
    loaded = results.load(folders, asked.attacks, asked.draws)
    figure, data = MODULES[kind].draw(asked, loaded)
    return figure, data


def said(figure: Figure) -> str:
    found = [item.get_text() for item in figure.findobj(Text)]  # type: ignore[attr-defined]
    return " ".join(" ".join(text for text in found if text).split())


def test_a_timeline_says_when(tmp_path: Path) -> None:
    figure, data = draw("timeline", [make_passive(tmp_path / "a")], window=20)
    assert_fits(figure)
    with_it, without = data[data["has_it"]], data[~data["has_it"]]
    assert with_it["start"].tolist() == [100, 120, 140, 160, 180]
    assert with_it["mean"].tolist() == pytest.approx([0.8] * 5)
    assert without["count"].tolist() == [20] * 5 + [10] * 5
    words = said(figure)
    assert "the target's batches have it" in words
    assert "Means over 20 iterations." in words
    assert "Replicate 0 alone." in words
    assert "AUC 0.950" in words  # of that replicate
    (panel,) = (axes for part in figure.subfigs for axes in part.axes)
    # nothing is drawn where nothing had the property
    line = next(own for own in panel.lines if own.get_linestyle() == "-")
    assert min(np.asarray(line.get_xdata())) == 110


def test_a_roc_is_of_updates_while_the_property_could_occur(tmp_path: Path) -> None:
    folder = make_passive(tmp_path / "a")
    figure, data = draw("roc", [folder])
    assert_fits(figure)
    words = said(figure)
    assert "AUC 0.960 ± 0.014" in words
    assert "1 / number of updates without the property" in words
    # 50 of the 100 updates from 100 on
    told = results.told_apart(results.AttackResult(folder))
    assert told["member"].tolist() == [True, False] * 50
    assert roc.resolution(results.AttackResult(folder)) == pytest.approx(1 / 50)
    assert (data["tpr"] == 1).all()
    # of one seed the band is over its updates: 50 of 50 at no false call of 50
    (mean,) = (data[data["replicate"] == "mean"],)
    low = mean["low"].to_numpy()
    assert low[-1] == pytest.approx((0.025 / 2) ** (1 / 50))
    with pytest.raises(UserError, match="'passive' tells runs apart and has no ROC"):
        draw("roc", [make_passive(tmp_path / "b", runs=True)])


def test_the_table_has_correlation_accuracy_and_auc(tmp_path: Path) -> None:
    folders = [make_passive(tmp_path / str(n), participants=n) for n in (8, 4)]
    figure, data = draw("property_table", folders)
    assert_fits(figure)
    assert data["participants"].tolist() == [4, 8]
    assert data["auc_mean"].tolist() == pytest.approx([0.96, 0.96])
    words = said(figure)
    for text in (
        "corr.", "AUC", "0.960", "± 0.014", "88.50", "Cramer's V", "-0.015", "55.50",
    ):  # fmt: skip
        assert text in words
    assert "score_run_mean" not in data


def test_the_table_of_whole_runs_has_their_scores(tmp_path: Path) -> None:
    figure, data = draw("property_table", [make_passive(tmp_path / "a", runs=True)])
    assert_fits(figure)
    assert data["score_run_mean"].tolist() == pytest.approx([0.6])
    assert "auc_mean" not in data


def test_the_table_of_members_names_the_rows_with_a_dense_gradient(
    tmp_path: Path,
) -> None:
    """It is those rows' alone, and not true of the table as a whole."""
    folders = [
        make_membership(tmp_path / "8", "members", 0.0, batch_size=8),
        make_membership(tmp_path / "64", "members", 0.25, batch_size=64),
        make_membership(tmp_path / "d", "decayed", 1.0),
    ]
    figure, data = draw("property_table", folders)
    assert_fits(figure)
    assert data["dense_rounds_mean"].tolist() == [0.0, 0.25, 1.0]
    words = said(figure)
    assert "Dense rounds:" in words
    assert "decayed: in 100% of the rounds" in words
    assert "members · batch size 64: in 25% of the rounds" in words
    assert "In 100%" not in words
    # nothing is said of it where there is none
    figure, data = draw("property_table", folders[:1])
    assert "dense_rounds_mean" not in data
    assert "ense rounds" not in said(figure)


def test_a_table_says_what_else_differs_from_models_alone(tmp_path: Path) -> None:
    figure, _ = draw("property_table", [make_passive(tmp_path / "a")])
    assert "of the arrangement as well as of the adversary" in said(figure)


def test_the_table_of_representations(tmp_path: Path) -> None:
    folders = [
        make_representation(tmp_path / "a"),
        make_representation(tmp_path / "b", "censored", "decensored_accuracy"),
    ]
    figure, data = draw("attribute_table", folders)
    assert_fits(figure)
    assert data["decensored_accuracy_mean"].isna().tolist() == [True, False]
    words = said(figure)
    for text in ("61.00", "51.00", "De-censored:", "–: does not apply."):
        assert text in words


@pytest.mark.parametrize("depth", [2, 5, 7])
def test_layers_are_mapped_and_probed(tmp_path: Path, depth: int) -> None:
    figure, data = draw("layers", [make_layers(tmp_path / "a", depth)])
    assert_fits(figure)
    panels = [axes for part in style.parts_of(figure) for axes in part.axes]
    assert len(panels) == depth + 2
    words = said(figure)
    # every number stands beside the picture: of layers, nets, probes and columns
    numbers = [item.get_text() for item in figure.findobj(Text)]  # type: ignore[attr-defined]
    assert numbers.count("75.0") == 2 * depth  # k-NN of the trained net
    assert numbers.count("62.5") == 2 * depth  # and with random weights
    assert numbers.count("90.0") == 4  # probes of the first layer
    assert numbers.count("70.0") >= 2  # the majority
    # k-NN of both nets is drawn, hollow
    for panel in panels[-2:]:
        near = [line for line in panel.lines if line.get_marker() == "o"]
        assert [set(line.get_ydata()) for line in near] == [{75.0}, {62.5}]
        assert {line.get_markerfacecolor() for line in near} == {"none"}
        assert near[1].get_color() == style.GREY
    assert f"layer {depth - 1}" in words
    assert f"layer {depth} " not in words  # the last one is the output
    assert "Correlation of task and property in these records: 0.250." in words
    assert "convolutional layers tell the property of 80.0%" in words
    assert "with random weights of 75.0%" in words
    # by name, and by number where there is none
    assert "task: below" in words
    assert "task: class 1" in words
    assert len(data) == 2 * depth * 2
    assert set(data["layer"]) == set(map(str, range(depth)))


def test_layers_of_one_net_alone(tmp_path: Path) -> None:
    folder = make_layers(tmp_path / "a")
    result = results.AttackResult(folder)
    asked = SETTINGS.validate_python(
        {"kind": "layers", "attacks": ["look"], "title": "T"}
    )
    with pytest.raises(UserError, match="2 results; allowed: one"):
        layers.draw(asked, [result, result])


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_figures_repeat_to_the_byte(kind: str, tmp_path: Path) -> None:
    folder = MAKE[kind](tmp_path / "a")
    digests = []
    for number in range(2):
        out = tmp_path / str(number)
        out.mkdir()
        style.save(*draw(kind, [folder]), out)
        digests.append([file_digest(out / f"figure.{end}") for end in ("png", "pdf")])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("timeline", r"properties\.passive"),
        ("property_table", r"properties\.passive, properties\.membership"),
        ("layers", r"properties\.layers"),
        ("attribute_table", r"properties\.representation"),
    ],
)
def test_attacks_of_another_kind_are_refused(
    kind: str, allowed: str, tmp_path: Path
) -> None:
    folder = (make_passive if kind == "layers" else make_layers)(tmp_path / "a")
    with pytest.raises(UserError, match=f"cannot draw; allowed: {allowed}$"):
        draw(kind, [folder])
