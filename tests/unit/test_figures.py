"""Figures: what is drawn and said, that it fits, and that bytes are reproducible."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_samples import assert_fits, make_attack
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import TypeAdapter, ValidationError

from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.figures import (
    class_cdf,
    class_gap,
    class_leakage,
    results,
    roc,
    settings,
    style,
    table,
    trend,
    uncertainty,
)
from whatelse.measures.roc import Curve, band
from whatelse.records import canonical_json, file_digest, read_json, write_json

RETAIL = {"name": "retail", "title": "Retail baskets", "stand_in_for": "Purchase-100"}
# of membership; the others: test_figures_memorization.py
MODULES = {
    "class_cdf": class_cdf,
    "class_gap": class_gap,
    "class_leakage": class_leakage,
    "roc": roc,
    "table": table,
    "trend": trend,
    "uncertainty": uncertainty,
}
SETTINGS: TypeAdapter[Any] = TypeAdapter(settings.FigureSettings)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One attack at three training-set sizes, given in the order 400, 1000, 100."""
    folder = tmp_path_factory.mktemp("sizes")
    return [
        make_attack(folder / f"shadow-{size}", grid={"members": size}, gap=gap)
        for size, gap in ((400, 0.4), (1000, 0.2), (100, 1.5))
    ]


@pytest.fixture(scope="module")
def samples(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[Path]
) -> dict[str, list[Path]]:
    """Every situation that a figure must survive, by name."""
    folder = tmp_path_factory.mktemp("samples")
    return {
        "sizes": sizes,
        "one seed": [make_attack(folder / "seed", grid={"members": 9}, num_seeds=1)],
        "no grid": [make_attack(folder / "plain", dataset=RETAIL)],
        "no target": [
            make_attack(folder / "external", grid={"members": 9}, target=False)
        ],
        "precision null": [make_attack(folder / "null", grid={"members": 9}, gap=0.0)],
        "perfect": [make_attack(folder / "perfect", grid={"members": 9}, gap=50.0)],
        "twelve": [
            make_attack(
                folder / f"twelve-{size}",
                grid={"members": size},
                dataset=RETAIL,
                num_seeds=2,
                gap=1000 / size,
            )
            for size in range(1000, 13000, 1000)
        ],
        "twelve long": [
            make_attack(
                folder / f"long-{size}",
                grid={"members": 9, "how_the_target_is_defended": f"defence {size} $_"},
                dataset=RETAIL,
                num_seeds=1,
            )
            for size in range(12)
        ],
    }


def spec(kind: str, **more: Any) -> Any:
    own = {"x": "members", "metrics": ["precision", "auc"]} if kind == "trend" else {}
    plain = {"kind": kind, "attacks": ["shadow"], "title": "A title", **own, **more}
    return SETTINGS.validate_python(plain)


def draw(kind: str, folders: list[Path], **more: Any) -> tuple[Figure, pd.DataFrame]:
    asked = spec(kind, **more)
    loaded = results.load(folders, asked.attacks)
    return MODULES[kind].draw(asked, loaded)  # type: ignore[attr-defined]


def texts(figure: Figure) -> list[str]:
    found = [item.get_text() for item in figure.findobj(Text)]  # type: ignore[attr-defined]
    return [text for text in found if text]


# --- settings


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"attacks": []}, "at least 1 item"),
        ({"attacks": ["a", "a"]}, "named more than once: a"),
        ({"kind": "pie"}, "pie"),
        ({"colour": "red"}, "Extra inputs"),
        ({"title": ""}, "at least 1 character"),
        ({"kind": "trend", "x": "members", "metrics": ["f1"]}, "'class_recall_median'"),
        ({"kind": "trend", "metrics": ["auc"]}, "Field required"),
        ({"kind": "table", "metrics": ["exposure"]}, "'best_balanced_accuracy'"),
        ({"kind": "table", "metrics": ["auc", "auc"]}, "named more than once: auc"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], finding: str) -> None:
    plain = {"kind": "roc", "attacks": ["a"], "title": "T", **change}
    with pytest.raises(ValidationError, match=finding):
        SETTINGS.validate_python(plain)


def test_kinds_are_the_modules_that_draw() -> None:
    choices = SETTINGS.json_schema()["discriminator"]["mapping"]
    for kind in choices:
        assert callable(importlib.import_module(f"whatelse.figures.{kind}").draw)
    assert {*MODULES} < {*choices}


def test_settings_import_nothing_heavy() -> None:
    code = (
        "import sys, whatelse.figures.settings, whatelse.figures.command\n"
        "print({'matplotlib', 'pandas', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_drawing_changes_no_global_state(sizes: list[Path]) -> None:
    code = (
        "import sys, matplotlib as mpl\n"
        "before = dict(mpl.rcParams)\n"
        "from whatelse.figures import results, roc, settings\n"
        "asked = settings.ROC(kind='roc', attacks=['shadow'], title='T')\n"
        "roc.draw(asked, results.load(sys.argv[1:], asked.attacks))\n"
        "print(dict(mpl.rcParams) == before, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, sizes)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


# --- results: order and words


def test_numbers_are_ordered_by_size_and_words_as_given(
    tmp_path: Path, sizes: list[Path]
) -> None:
    assert [r.grid["members"] for r in results.load(sizes, ["shadow"])] == [
        100,
        400,
        1000,
    ]
    words = [
        make_attack(tmp_path / f"{n}", grid={"defence": word}, num_seeds=1)
        for n, word in enumerate(["none", "l2", "dropout"])
    ]
    loaded = results.load(words, ["shadow"])
    assert [r.grid["defence"] for r in loaded] == ["none", "l2", "dropout"]


def test_attacks_come_in_the_order_of_the_settings(tmp_path: Path) -> None:
    folders = [
        make_attack(tmp_path / name, name=name, num_seeds=1) for name in ("a", "b", "c")
    ]
    loaded = results.load(folders, ["c", "a", "b"])
    assert [result.name for result in loaded] == ["c", "a", "b"]


def test_missing_and_unasked_attacks_are_refused(sizes: list[Path]) -> None:
    with pytest.raises(UserError, match="no result of 'lira'"):
        results.load(sizes, ["shadow", "lira"])
    with pytest.raises(UserError, match="'shadow', which this figure does not draw"):
        results.load(sizes, ["lira"])


def test_labels_say_what_differs_and_no_more(tmp_path: Path, sizes: list[Path]) -> None:
    loaded = results.load(sizes, ["shadow"])
    expected = ["100 members", "400 members", "1,000 members"]
    assert results.labels(loaded) == expected
    assert results.labels(loaded[:1]) == ["location"]
    other = results.AttackResult(
        make_attack(tmp_path / "r", dataset=RETAIL, grid={"members": 100}, num_seeds=1)
    )
    assert results.labels([loaded[0], other]) == [
        "location",
        "retail, stand-in for Purchase-100",
    ]
    assert results.shared([loaded[0], other]) == (
        "location; retail (stand-in for Purchase-100) · 100 members · 1 to 3 seeds"
    )
    assert results.shared([other]) == (
        "Retail baskets (stand-in for Purchase-100) · 100 members · one seed"
    )


def test_a_remark_is_repeated_once_with_the_data_it_is_about(tmp_path: Path) -> None:
    about = {"a": ["edition 2", "small"], "b": ["edition 2"]}
    loaded = [
        results.AttackResult(
            make_attack(
                tmp_path / name, dataset={"name": name, "remarks": said}, num_seeds=1
            )
        )
        for name, said in about.items()
    ]
    assert results.remarks(loaded) == ["Edition 2.", "a: small."]


def test_order_is_seen_only_along_one_number(tmp_path: Path, sizes: list[Path]) -> None:
    loaded = results.load(sizes, ["shadow"])
    assert results.is_ordered(loaded)
    other = make_attack(
        tmp_path / "x", grid={"members": 7}, dataset=RETAIL, num_seeds=1
    )
    assert not results.is_ordered([*loaded, results.AttackResult(other)])


# --- the numbers behind the curves


def test_ecdf_by_hand() -> None:
    x, y = class_cdf.ecdf([0.8, 0.5, 0.5, 1.0])
    np.testing.assert_array_equal(x, [0, 0.5, 0.5, 0.8, 1, 1])
    np.testing.assert_array_equal(y, [0, 0.25, 0.5, 0.75, 1, 1])


def test_roc_interpolation_by_hand() -> None:
    # rises to .5 at fpr 0 and from .5 to .75 at .4: the top of each rise counts
    fpr, tpr = np.array([0, 0, 0.4, 0.4, 1.0]), np.array([0, 0.5, 0.5, 0.75, 1.0])
    at = np.array([0, 0.2, 0.4, 0.7, 1.0])
    np.testing.assert_allclose(
        roc.interpolate(fpr, tpr, at), [0.5, 0.625, 0.75, 0.875, 1.0]
    )


def test_two_valued_scores_keep_their_area() -> None:
    # TPR .728 at FPR .4: AUC = (1 + .728 - .4) / 2 = .664
    at = np.linspace(0, 1, 1001)
    curve = roc.interpolate(np.array([0, 0.4, 1]), np.array([0, 0.728, 1]), at)
    assert np.trapezoid(curve, at) == pytest.approx(0.664, abs=1e-6)


def test_roc_table_holds_the_mean_of_its_seeds(sizes: list[Path]) -> None:
    _, data = draw("roc", sizes)
    for _, part in data.groupby("members"):
        wide = part.pivot(index="fpr", columns="replicate", values="tpr").astype(float)
        np.testing.assert_allclose(wide["mean"], wide[[0, 1, 2]].mean(axis=1))
        assert wide.index[[0, -1]].tolist() == [0.0, 1.0]
        assert wide["mean"].iloc[-1] == 1.0


def test_resolution_counts_the_non_members_of_one_seed(sizes: list[Path]) -> None:
    # ten classes of twenty non-members in each of three seeds
    assert roc.resolution(results.AttackResult(sizes[0])) == pytest.approx(1 / 200)


def test_logarithmic_axes_begin_at_the_resolution(sizes: list[Path]) -> None:
    figure, _ = draw("roc", sizes)
    logarithmic = figure.subfigs[1].axes[1]
    assert logarithmic.get_xlim()[0] == pytest.approx(1 / 200)
    for line in logarithmic.lines:
        assert np.asarray(line.get_xdata()).min() >= 1 / 200 - 1e-12


def test_guessing_follows_the_share_of_members(tmp_path: Path) -> None:
    folder = make_attack(tmp_path / "a", num_seeds=1)
    result = results.AttackResult(folder)
    for metric in ("auc", "precision", "accuracy"):
        assert trend.guessing(metric, [result]) == 0.5
    assert trend.guessing("recall", [result]) is None
    for row in result.replicates[0]["per_class"]:
        row["members"] = 3 * row["non_members"]
    assert trend.guessing("precision", [result]) == 0.75
    assert trend.guessing("accuracy", [result]) == 0.75
    balanced = results.AttackResult(folder)
    assert trend.guessing("precision", [result, balanced]) is None


def test_trend_table_repeats_the_metrics(sizes: list[Path]) -> None:
    _, data = draw("trend", sizes, metrics=["auc", "test_accuracy"])
    result = results.AttackResult(sizes[0])  # 400 members
    rows = data[(data["members"] == 400) & (data["metric"] == "auc")]
    spread = result.summary["auc"]
    mean = rows[rows["replicate"] == "mean"].iloc[0]
    assert [mean["value"], mean["low"], mean["high"]] == [
        spread["mean"],
        spread["low"],
        spread["high"],
    ]
    assert rows[rows["replicate"] != "mean"]["value"].tolist() == spread["values"]


def test_one_seed_shows_the_interval_over_records(samples: dict[str, Any]) -> None:
    _, data = draw("trend", samples["one seed"], metrics=["precision"])
    result = results.AttackResult(samples["one seed"][0])
    rate = result.replicates[0]["attack"]["precision"]
    assert data["low"].iloc[0] == rate["low"]


def test_trend_takes_classes_from_the_data_set(tmp_path: Path) -> None:
    folders = [
        make_attack(
            tmp_path / f"{count}",
            grid={"data": f"retail{count}"},
            num_classes=count,
            dataset={**RETAIL, "name": f"retail{count}"},
        )
        for count in (20, 2, 10)
    ]
    figure, data = draw("trend", folders, x="classes")
    assert data["classes"].unique().tolist() == [2, 10, 20]
    panel = figure.subfigs[1].axes[0]
    means = [line for line in panel.lines if len(np.asarray(line.get_xdata())) == 3]
    assert np.asarray(means[0].get_xdata()).tolist() == [2, 10, 20]
    assert figure.subfigs[1].legends == []


def test_trend_shows_bits_beyond_one(tmp_path: Path) -> None:
    """All seeds at the most that can be measured: neither empty nor narrow."""
    folder = make_attack(tmp_path / "a", grid={"copies": 4})
    metrics = read_json(folder / "metrics.json")
    metrics["summary"]["exposure"] = {
        "mean": 13.3, "std": 0.0, "count": 3, "low": 13.3, "high": 13.3,
        "values": [13.3] * 3,
    }  # fmt: skip
    write_json(folder / "metrics.json", metrics)
    figure, _ = draw("trend", [folder], x="copies", metrics=["exposure"])
    low, high = figure.subfigs[1].axes[0].get_ylim()
    assert low < 13.3 < high
    assert high - low > 3


def test_trend_along_words(tmp_path: Path) -> None:
    folders = [
        make_attack(tmp_path / word, grid={"defence": word}, num_seeds=2)
        for word in ("none", "top-3", "l2")
    ]
    figure, _ = draw("trend", folders, x="defence")
    ticks = figure.subfigs[1].axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["none", "top-3", "l2"]


def test_trend_refuses_what_it_cannot_draw(tmp_path: Path, sizes: list[Path]) -> None:
    with pytest.raises(UserError, match=r"no variable 'epochs'; it has .*members"):
        draw("trend", sizes, x="epochs")
    same = [
        make_attack(tmp_path / name, dataset={"name": name}, num_seeds=1)
        for name in ("a", "b")
    ]
    with pytest.raises(UserError, match="have the same classes = 10"):
        draw("trend", same, x="classes")
    zero = make_attack(tmp_path / "zero", grid={"l2": 0.0}, num_seeds=1)
    with pytest.raises(UserError, match="needs l2 > 0, got 0"):
        draw("trend", [zero], x="l2", x_scale="log")


def test_undefined_precision_is_left_out_and_counted(samples: dict[str, Any]) -> None:
    figure, data = draw("class_cdf", samples["precision null"])
    assert data["precision"].isna().sum() == 6  # classes 0 and 1 in three seeds
    assert "undefined, and left out, in 6 of 30 cases" in " ".join(
        " ".join(texts(figure)).split()
    )


def test_table_says_what_is_not_known(samples: dict[str, Any]) -> None:
    figure, data = draw("table", [*samples["no target"], *samples["no grid"]])
    assert texts(figure).count("–") == 2
    said = " ".join(texts(figure))
    assert "–: not known, or the sample cannot tell." in " ".join(said.split())
    assert data["train_accuracy_mean"].isna().tolist() == [True, False]
    figure, data = draw("table", samples["no target"])
    assert "train_accuracy_mean" not in data  # nobody's is known
    assert data["auc_mean"].notna().all()


def test_rates_that_few_false_positives_set_are_marked(tmp_path: Path) -> None:
    # 200 non-members: two of them at 1%; 600: six
    few = make_attack(tmp_path / "few")
    figure, data = draw("table", [few])
    assert texts(figure).count("*") == 1
    assert "fewer than 5 false positives" in " ".join(" ".join(texts(figure)).split())
    assert "tpr_at_0.001_mean" not in data
    many = make_attack(tmp_path / "many", per_class=60)
    figure, data = draw("table", [many])
    assert texts(figure).count("*") == 0
    result = results.AttackResult(many)
    assert data["tpr_at_0.01_mean"].item() == result.mean("tpr_at_0.01")


def test_a_table_has_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    attack = make_attack(tmp_path / "attack", per_class=60)
    metrics = ["test_accuracy", "tpr_at_0.001", "best_balanced_accuracy"]
    figure, data = draw("table", [attack], metrics=metrics)
    assert [name for name in data if name.endswith("_mean")] == [
        "test_accuracy_mean", "best_balanced_accuracy_mean",
    ]  # fmt: skip
    found = results.AttackResult(attack).mean("best_balanced_accuracy")
    assert data["best_balanced_accuracy_mean"].item() == found
    said = " ".join(" ".join(texts(figure)).split())
    assert f"{found:.3f}" in said
    # 600 non-members do not resolve 0.1%: no column, and no word of rates
    assert "which no adversary knows" in said
    assert "TPR" not in said
    figure, data = draw("table", [attack], metrics=["tpr_at_0.01", "tpr_at_0.1"])
    assert list(data.filter(like="_mean")) == ["tpr_at_0.01_mean", "tpr_at_0.1_mean"]
    assert " ".join(" ".join(texts(figure)).split()).count("TPR: true-positive") == 1


@pytest.mark.parametrize("queries", [1.0, 18.0])
def test_table_counts_queries(tmp_path: Path, queries: float) -> None:
    plain, made = (make_attack(tmp_path / name) for name in ("plain", "made"))
    for folder, asked in ((plain, {}), (made, {"synthesis_queries": 35.31})):
        metrics = read_json(folder / "metrics.json")
        for name, value in {"queries": queries, **asked}.items():
            metrics["summary"][name] = {
                "mean": value, "std": 0.0 if value == queries else 2.5, "count": 3,
                "low": value - 1, "high": value + 1, "values": [value] * 3,
            }  # fmt: skip
        for own, count in zip(
            metrics["replicates"], (75240, 91504, 80000), strict=True
        ):
            if asked:
                own["shadow_data"] = {"records": 2400, "queries": count}
        metrics["name"] = folder.name
        write_json(folder / "metrics.json", metrics)
    figure, data = draw("table", [plain, made], attacks=["plain", "made"])
    assert_fits(figure)
    said = " ".join(" ".join(texts(figure)).split())
    assert "made: 2,400 records, 75,240 to 91,504 queries a seed." in said
    assert "plain: " not in said
    assert "–: does not apply, not known" in said
    assert {"35.3", "± 2.5"} <= set(texts(figure))
    assert texts(figure).count("18") == (2 if queries == 18 else 0)
    assert ("One answer of the target is read for each record." in said) == (
        queries == 1
    )
    assert data["synthesis_queries_mean"].isna().tolist() == [True, False]


def test_the_band_of_several_seeds_is_the_interval_of_their_mean(
    sizes: list[Path],
) -> None:
    _, data = draw("roc", sizes[:1])
    wide = data.pivot(index="fpr", columns="replicate", values="tpr").astype(float)
    mean = data[data["replicate"] == "mean"].set_index("fpr")
    reach = 4.302653 * wide[[0, 1, 2]].std(axis=1) / 3**0.5
    expected = (wide["mean"] - reach).clip(lower=0)
    np.testing.assert_allclose(mean["low"], expected, atol=1e-6)
    np.testing.assert_allclose(
        mean["high"], (wide["mean"] + reach).clip(upper=1), atol=1e-6
    )
    assert data.loc[data["replicate"] != "mean", "low"].isna().all()


def test_the_band_of_one_seed_is_over_its_records(samples: dict[str, Any]) -> None:
    figure, data = draw("roc", samples["one seed"])
    curves = results.AttackResult(samples["one seed"][0]).curves
    curve = Curve(*(curves[name].to_numpy() for name in Curve._fields))
    mean = data[data["replicate"] == "mean"]
    low, high = band(curve, 200, 200, mean["fpr"].to_numpy())
    np.testing.assert_array_equal(mean["low"], low)
    np.testing.assert_array_equal(mean["high"], high)
    assert "Clopper–Pearson for both rates" in " ".join(" ".join(texts(figure)).split())


def test_twelve_curves_have_no_bands(samples: dict[str, Any]) -> None:
    figure, _ = draw("roc", samples["twelve"])
    assert not figure.subfigs[1].axes[1].collections
    few, _ = draw("roc", samples["one seed"])
    assert len(few.subfigs[1].axes[1].collections) == 1


def test_classes_are_drawn_as_they_are_reported(sizes: list[Path]) -> None:
    _, data = draw("class_leakage", sizes, rate=0.1)
    result = results.AttackResult(sizes[0])
    rows = data[data["members"] == 400]
    own = [report["per_class"][3] for report in result.replicates]
    row = rows[rows["class"] == 3].iloc[0]
    assert row["auc"] == pytest.approx(np.mean([one["auc"]["value"] for one in own]))
    found = [one["tpr_at_fpr"]["0.1"]["value"] for one in own]
    assert row["tpr"] == pytest.approx(np.mean(found))
    assert row["tpr_low"] <= row["tpr"] <= row["tpr_high"]


def test_classes_are_told_apart_where_a_replicate_lacks_one(tmp_path: Path) -> None:
    folder = make_attack(tmp_path / "few", grid={"members": 9})
    path = folder / "metrics.json"
    metrics = read_json(path)
    lacking = metrics["replicates"][0]["per_class"]
    assert lacking.pop(2)["class"] == 2
    write_json(path, metrics)
    _, data = draw("class_leakage", [folder], rate=0.1)
    assert data["class"].tolist() == sorted([*(row["class"] for row in lacking), 2])
    for number in (2, 3):
        own = [
            row["auc"]["value"]
            for report in metrics["replicates"]
            for row in report["per_class"]
            if row["class"] == number
        ]
        assert len(own) == len(metrics["replicates"]) - (number == 2)
        row = data[data["class"] == number].iloc[0]
        assert row["auc"] == pytest.approx(np.mean(own))


def test_classes_say_what_is_refused(sizes: list[Path]) -> None:
    figure, data = draw("class_leakage", sizes, rate=0.001)
    assert data["tpr"].isna().all()
    assert "non-members do not resolve 0.1%" in " ".join(
        " ".join(texts(figure)).split()
    )
    with pytest.raises(
        UserError, match=r"rate: 0.05 is no .*allowed: 0.001, 0.01, 0.1"
    ):
        draw("class_leakage", sizes, rate=0.05)


def test_gaps_are_of_classes(sizes: list[Path]) -> None:
    figure, data = draw("class_gap", sizes)
    result = results.AttackResult(sizes[0])
    own = [report["per_class"][3] for report in result.replicates]
    row = data[(data["members"] == 400) & (data["class"] == 3)].iloc[0]
    told = [one["precision"]["value"] for one in own]
    assert row["precision"] == pytest.approx(np.mean(told))
    gap = 1.0 - own[0]["test_accuracy"]["value"]
    assert row["gap"] == pytest.approx(gap)
    lines = figure.subfigs[1].axes[0].lines
    marks = [line for line in lines if np.size(line.get_xdata()) == 10]
    assert len(marks) == len(sizes)


def test_answers_are_counted(sizes: list[Path]) -> None:
    _, data = draw("uncertainty", sizes[:1])
    scores = results.AttackResult(sizes[0]).scores
    own = data[data["measure"] == "entropy"]
    assert own["members"].sum() == pytest.approx(1.0)
    first = scores[scores["member"]]["entropy"] < 0.05
    assert own["members"].iloc[0] == pytest.approx(first.mean())


# --- what every kind must do in every situation

SITUATIONS = (
    "sizes",
    "one seed",
    "no grid",
    "no target",
    "precision null",
    "perfect",
    "twelve",
    "twelve long",
)


@pytest.mark.parametrize("kind", sorted(MODULES))
@pytest.mark.parametrize("situation", SITUATIONS)
def test_everything_fits_on_the_page(
    kind: str, situation: str, samples: dict[str, list[Path]]
) -> None:
    more = {}
    if kind == "trend":
        names = {"no grid": "classes", "twelve long": "how_the_target_is_defended"}
        more = {
            "x": names.get(situation, "members"),
            "metrics": ["auc", "precision", "train_accuracy", "test_accuracy"],
        }
    if kind == "uncertainty" and len(samples[situation]) > 6:
        with pytest.raises(UserError, match="12 results; allowed: at most 6"):
            draw(kind, samples[situation])
        return
    figure, data = draw(kind, samples[situation], caption="A caption.", **more)
    assert len(data) > 0
    assert_fits(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    part = figure.subfigs[1]
    axes_width = [axes.get_window_extent(renderer).width for axes in part.axes]
    assert all(width > 0.2 * figure.bbox.width for width in axes_width)


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_stand_in_and_seeds_are_named(
    kind: str, samples: dict[str, list[Path]]
) -> None:
    figure, _ = draw(kind, samples["twelve"][:6])
    said = " ".join(texts(figure))
    assert "stand-in for Purchase-100" in said
    assert "2 seeds" in said


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("ordered", [False, True])
def test_looks_differ_in_grey(count: int, ordered: bool) -> None:
    looks = style.looks(count, ordered=ordered)
    assert len({look.marker for look in looks}) == count
    if count == 3:
        assert len({str(look.linestyle) for look in looks}) == 3
    if ordered and count > 1:
        weights = np.array([0.299, 0.587, 0.114])
        grey = [float(np.dot(look.color[:3], weights)) for look in looks]
        assert grey == sorted(grey)
        assert grey[-1] < 0.75  # still seen on white


# --- the verb


def _figure(
    out: Path, folders: list[Path], stand_ins: dict[str, str] | None = None, **more: Any
) -> int:
    plain = {"kind": "class_cdf", "attacks": ["shadow"], "title": "T", **more}
    spec = {"study": "s", "name": "f", "settings": plain, "stand_ins": stand_ins or {}}
    text = canonical_json(spec)
    paths = [str(folder) for folder in folders]
    return main(["figure", "--spec", text, "--attacks", *paths, "--out", str(out)])


FILES = ("data.csv", "figure.pdf", "figure.png", "record.json")


def test_the_study_says_what_data_stand_in_for(
    tmp_path: Path, sizes: list[Path]
) -> None:
    said = {sizes[0].name: "Purchase"}
    assert _figure(tmp_path / "out", sizes, said, kind="table") == 0
    data = pd.read_csv(tmp_path / "out" / "data.csv")
    assert (data["stand_in_for"] == "Purchase").sum() == 1
    assert data["stand_in_for"].isna().sum() == len(sizes) - 1


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_verb_writes_the_same_bytes_again(
    kind: str, tmp_path: Path, sizes: list[Path]
) -> None:
    own = {"x": "members", "metrics": ["auc"]} if kind == "trend" else {}
    runs = ("one", "two", "three")
    for name in runs:
        assert _figure(tmp_path / name, sizes, kind=kind, **own) == 0
    for name in FILES:
        digests = {file_digest(tmp_path / run / name) for run in runs}
        assert len(digests) == 1, name
    record = read_json(tmp_path / "one" / "record.json")
    assert sorted(record["outputs"]) == sorted(FILES[:-1])
    assert len(record["inputs"]) == 3
    pdf = (tmp_path / "one" / "figure.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType is embedded
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_bytes_do_not_depend_on_hash_seed(tmp_path: Path, sizes: list[Path]) -> None:
    plain = {"kind": "table", "attacks": ["shadow"], "title": "T"}
    text = canonical_json({"study": "s", "name": "f", "settings": plain})
    for seed in ("1", "2"):
        code = "import sys; from whatelse.cli import main; sys.exit(main(sys.argv[1:]))"
        subprocess.run(
            [sys.executable, "-c", code, "figure", "--spec", text, "--attacks"]
            + [str(folder) for folder in sizes]
            + ["--out", str(tmp_path / seed)],
            check=True,
            env={"PYTHONHASHSEED": seed, "HOME": str(tmp_path), "PATH": ""},
            capture_output=True,
        )
    for name in FILES:
        assert file_digest(tmp_path / "1" / name) == file_digest(tmp_path / "2" / name)


def test_verb_names_what_is_wrong_and_leaves_nothing(
    tmp_path: Path, sizes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _figure(out, sizes, attacks=["lira"]) == 2
    assert "error: attacks:" in capsys.readouterr().err
    assert _figure(out, [tmp_path / "nowhere"]) == 2
    assert "metrics.json: no such file" in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert _figure(tmp_path / "file", sizes) == 2
    assert "cannot write here" in capsys.readouterr().err


def test_verb_settles_an_old_folder(tmp_path: Path, sizes: list[Path]) -> None:
    out = tmp_path / "out"
    assert _figure(out, sizes) == 0
    old = read_json(out / "record.json")
    assert _figure(out, sizes[:1]) == 0
    new = read_json(out / "record.json")
    assert new["outputs"]["data.csv"] == file_digest(out / "data.csv")
    assert new["outputs"]["data.csv"] != old["outputs"]["data.csv"]
