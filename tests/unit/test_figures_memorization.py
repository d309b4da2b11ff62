"""Figures of the memorization question: what is drawn, said, refused, and its bytes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_samples import (
    assert_fits,
    make_attack,
    make_decode,
    make_detect,
    make_low_bits,
    make_scrub,
)
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import TypeAdapter, ValidationError

from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.figures import (
    low_bits,
    memory_table,
    reconstructions,
    results,
    scrub_table,
    settings,
    sketch,
    trend,
    weights,
)
from whatelse.records import canonical_json, file_digest

MODULES: dict[str, Any] = {
    "low_bits": low_bits,
    "memory_table": memory_table,
    "reconstructions": reconstructions,
    "scrub_table": scrub_table,
    "trend": trend,
    "weights": weights,
}
SETTINGS: TypeAdapter[Any] = TypeAdapter(settings.FigureSettings)
SCRUBS = {
    "nothing": (1.0, 0.0, 0.0),
    "low 16 bits to zero": (0.0, 0.5, -0.001),
    "rounded to bf16": (0.5, 0.25, 0.002),
}
STAND_IN = {"name": "faces", "title": "Faces", "stand_in_for": "LFW"}


def draw(kind: str, folders: list[Path], **more: Any) -> tuple[Figure, pd.DataFrame]:
    names = list(dict.fromkeys(results.AttackResult(path).name for path in folders))
    asked = SETTINGS.validate_python(
        {"kind": kind, "attacks": names, "title": "A title", **more}
    )
    loaded = results.load(folders, asked.attacks, asked.draws)
    figure, data = MODULES[kind].draw(asked, loaded)
    return figure, data


def texts(figure: Figure) -> list[str]:
    found = [item.get_text() for item in figure.findobj(Text)]  # type: ignore[attr-defined]
    return [text for text in found if text]


def said(figure: Figure) -> str:
    return " ".join(" ".join(texts(figure)).split())


# --- words


def test_numbers_as_they_are_spoken_of() -> None:
    changes = [results.points(value) for value in (-0.0042, 0.01, 0.0, -0.00001)]
    assert changes == ["−0.42", "+1.00", "0.00", "0.00"]
    shares = [results.percent(value) for value in (0.97556, 0.0, 0.00001, 1.0)]
    assert shares == ["97.56", "0", "<0.01", "100.00"]
    errors = [results.grey_levels(value) for value in (7.7077, 0.0, 0.01)]
    assert errors == ["7.7", "0", "<0.1"]


def test_the_name_comes_first_then_what_differs(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / "a", name="lsb"),
        make_decode(tmp_path / "b", name="sign", grid={"strength": 1.5, "epochs": 9}),
        make_decode(tmp_path / "c", name="sign", grid={"strength": 2, "epochs": 9}),
    ]
    loaded = [results.AttackResult(folder) for folder in folders]
    assert results.named(loaded) == [
        "lsb", "sign · 9 epochs · strength 1.5", "sign · 9 epochs · strength 2"
    ]  # fmt: skip
    assert results.named(loaded[1:]) == ["sign · strength 1.5", "sign · strength 2"]
    assert results.named(loaded[1:2]) == ["sign"]


def test_a_label_breaks_between_its_parts() -> None:
    lines = sketch.wrap_parts("sign · 9 epochs · strength 1.5", 16)
    assert lines == ["sign · 9 epochs", "strength 1.5"]
    assert sketch.wrap_parts("one two three", 8) == ["one two", "three"]


# --- reconstructions


def test_the_first_records_are_shown_in_the_order_of_the_file(tmp_path: Path) -> None:
    folder = make_decode(
        tmp_path / "a", name="correlated", noise=4, decoders=("robust", "published")
    )
    figure, data = draw("reconstructions", [folder], columns=3, replicate=1)
    assert data["record"].tolist() == [119, 118, 117]
    assert set(data["decoder"]) == {"robust"}
    assert set(data["replicate"]) == {1}
    assert data["mape_of_all"].tolist() == [4, 4, 4]
    assert data["records"].tolist() == [20, 20, 20]
    np.testing.assert_allclose(data["accuracy_change"], 0.91 - 0.925)
    hidden, decoded = figure.subfigs[1].axes
    assert len(hidden.images) == len(decoded.images) == 3
    shown = np.asarray(hidden.images[1].get_array())
    np.testing.assert_array_equal(shown, 1 + np.arange(30).reshape(6, 5))
    np.testing.assert_array_equal(np.asarray(decoded.images[1].get_array()), shown + 4)
    assert hidden.images[0].get_clim() == (0, 255)
    words = said(figure)
    assert "the first 3 of 20 records hidden, in the order of hiding" in words
    assert "none selected; replicate 1" in words
    assert "accuracy −1.50 points MAPE 4.0" in words
    assert "Decoder of correlated: robust." in words


def test_mape_is_over_all_records_not_over_those_shown(tmp_path: Path) -> None:
    folder = make_decode(tmp_path / "a", records=4, num_seeds=1)
    scores = pd.read_parquet(folder / "scores.parquet")
    scores["mape"] = [0.0, 0.0, 8.0, 16.0]
    scores.to_parquet(folder / "scores.parquet")
    figure, data = draw("reconstructions", [folder], columns=2)
    assert data["mape"].tolist() == [0, 0]
    assert data["mape_of_all"].tolist() == [6, 6]
    assert "MAPE 6.0" in texts(figure)


def test_attacks_with_fewer_records_or_other_sizes_share_a_page(
    tmp_path: Path,
) -> None:
    folders = [
        make_decode(tmp_path / "a", name="few", records=2, shape=(8, 8)),
        make_decode(tmp_path / "b", name="many", records=30, shape=(62, 47)),
        make_decode(tmp_path / "c", name="large", records=30, shape=(300, 200)),
    ]
    figure, data = draw("reconstructions", folders)
    assert data.groupby("attack").size().to_dict() == {
        "few": 2, "many": 12, "large": 12
    }  # fmt: skip
    assert "(few: of 2, many: of 30, large: of 30)" in said(figure)
    assert_fits(figure)


def test_text_and_replicates_that_are_not_there_are_refused(tmp_path: Path) -> None:
    news = make_decode(tmp_path / "a", name="news", shape=(20,))
    with pytest.raises(UserError, match=r"'news' hid text; allowed: .* pictures$"):
        draw("reconstructions", [news])
    digits = make_decode(tmp_path / "b", name="lsb")
    with pytest.raises(UserError, match=r"'lsb' has no replicate 5; allowed: 0, 1$"):
        draw("reconstructions", [digits], replicate=5)


# --- weights


def test_histograms_by_hand(tmp_path: Path) -> None:
    folder = make_decode(
        tmp_path / "a", name="sign", carrier={"kind": "sign", "strength": 50.0}
    )
    figure, data = draw("weights", [folder])
    assert data["low"].tolist() == [-1, 0]
    assert data["high"].tolist() == [0, 1]
    assert data["tampered"].tolist() == [0.75, 0.25]
    assert data["benign"].tolist() == [0.5, 0.5]
    assert data["overlap"].tolist() == [0.75, 0.75]  # .5 + .25
    assert set(data["replicate"]) == {0}
    assert "sign · strength 50" in texts(figure)
    assert "75.0% overlap" in texts(figure)
    assert "Replicate 0 alone." in said(figure)


def test_weights_on_a_logarithmic_axis(tmp_path: Path) -> None:
    folders = [make_decode(tmp_path / name, name=name) for name in ("a", "b", "c")]
    figure, _ = draw("weights", folders, y_scale="log")
    panel = figure.subfigs[1].axes[0]
    assert panel.get_yscale() == "log"
    low, high = panel.get_ylim()
    assert 0 < low < 25  # per cent
    assert high > 75


def test_weights_without_a_benign_model_are_refused(tmp_path: Path) -> None:
    folder = make_decode(tmp_path / "a")
    curves = pd.read_csv(folder / "curves.csv")
    curves[curves["model"] == "tampered"].to_csv(folder / "curves.csv", index=False)
    with pytest.raises(UserError, match=r"curves.csv: tampered and benign weights"):
        draw("weights", [folder])


# --- the table


def test_memory_table_by_hand(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / "a", name="lsb"),
        make_decode(
            tmp_path / "b", name="correlated", noise=20,
            decoders=("robust", "published"),
        ),
    ]  # fmt: skip
    figure, data = draw("memory_table", folders)
    assert data["mape_mean"].tolist() == [0, 20]
    assert data["mape_published_mean"].isna().tolist() == [True, False]
    np.testing.assert_allclose(data["accuracy_change_mean"], -0.02)
    assert not any(
        name.startswith(("token", "cosine", "mape_floor")) for name in data.columns
    )
    assert data["capacity_used_mean"].tolist() == [0.75, 0.75]
    found = texts(figure)
    assert found.count("90.50") == found.count("−2.00") == 2
    assert found.count("12.50") == 2  # bit errors
    # of .90 and .91, once under the accuracy, once under its change
    assert found.count("± 0.71") == 4
    assert "30.0" in found
    assert found.count("75.00") == 2
    assert "Capacity used: " in said(figure)
    assert "min–max" in found
    assert "tokens" not in found
    assert "–: does not apply." in said(figure)


def test_memory_table_of_texts_beside_pictures(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / "a", name="lsb", mape_floor=[7.5, 7.5]),
        make_decode(tmp_path / "b", name="news", shape=(9,), dataset={"name": "news"}),
    ]
    figure, data = draw("memory_table", folders)
    assert data["token_precision_mean"].tolist()[1] == 0.5
    assert data["mape_mean"].isna().tolist() == [False, True]
    found = texts(figure)
    assert {"50.00", "40.00", "0.300", "75.00", "7.5"} < {*found}
    assert_fits(figure)


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    figure, data = draw("memory_table", [make_decode(tmp_path / "a", num_seeds=1)])
    assert not any(text.startswith("±") for text in texts(figure))
    assert data["test_accuracy_std"].isna().all()


# --- low bits


def test_the_plateau_holds_in_every_seed(tmp_path: Path) -> None:
    folder = make_low_bits(tmp_path / "a", last=(19, 18))
    figure, data = draw("low_bits", [folder])
    mean = data[data["replicate"] == "mean"].set_index("bits")["test_accuracy"]
    np.testing.assert_allclose(mean[[1, 18, 19, 20]], [0.9, 0.9, 0.88, 0.84])
    assert len(data) == 3 * 23
    words = said(figure)
    assert "free up to b = 18" in words
    assert "decoded exactly at every b" in words
    ring = [
        np.asarray(line.get_xdata()).tolist()
        for line in figure.subfigs[1].axes[0].lines
        if line.get_markersize() == 11
    ]
    assert ring == [[18]]


def test_bits_of_the_exponent_are_marked(tmp_path: Path) -> None:
    folder = make_low_bits(tmp_path / "a", last=(21,), most=27)
    figure, data = draw("low_bits", [folder])
    assert data["bits"].max() == 27
    panel = figure.subfigs[1].axes[0]
    assert panel.get_xlim()[1] > 27
    assert "exponent too" in texts(figure)
    assert_fits(figure)
    shorter, _ = draw("low_bits", [make_low_bits(tmp_path / "b")])
    assert "exponent too" not in texts(shorter)


def test_what_was_not_read_back_is_marked(tmp_path: Path) -> None:
    folders = [
        make_low_bits(tmp_path / "a", name="a", wrong=(4, 5)),
        make_low_bits(tmp_path / "b", name="b", last=(23,)),
    ]
    figure, data = draw("low_bits", folders)
    wrong = data[(data["replicate"] == "mean") & (data["exact"] < 1)]
    assert wrong["bits"].tolist() == [4, 5]
    assert "not decoded exactly in every seed (a: b = 4, 5)" in said(figure)
    labels = figure.subfigs[1].legends[0].get_texts()
    assert [label.get_text() for label in labels] == [
        "a: free up to b = 18", "b: free up to b = 23"
    ]  # fmt: skip


# --- scrubs


def test_scrub_table_by_hand(tmp_path: Path) -> None:
    other = {"nothing": (1.0, 31.0, 0.0), "noise of 0.1 std": (0.96, 40.0, -0.02)}
    folders = [
        make_scrub(tmp_path / "a", SCRUBS),
        make_scrub(tmp_path / "b", other, name="correlated", fidelity="mape"),
    ]
    figure, data = draw("scrub_table", folders)
    assert data["scrub"].tolist() == [*SCRUBS, *other]
    # the second seed has lost another point
    np.testing.assert_allclose(
        data["accuracy_change"], [-0.005, -0.006, -0.003, -0.005, -0.025]
    )
    assert data["seeds"].tolist() == [2] * 5
    found = texts(figure)
    assert found.count("100") == 2
    assert {"50.0", "25.0", "40.0", "−0.60", "−2.50"} < {*found}
    assert found.count("–") == 3 * (2 + 1)  # scrubs that the other did not try
    assert "–: not tried." in said(figure)
    shades = [
        patch.get_facecolor()
        for patch in figure.subfigs[1].patches + figure.subfigs[1].artists
        if patch.get_zorder() == 0.5
    ]
    # one gone, three unharmed, and the legend's two
    assert len(shades) == 4 + 2
    assert len(set(shades)) == 2


def test_ten_scrubs_of_six_attacks_fit(tmp_path: Path) -> None:
    words = "clipped to the central 99.5%"
    scrubs = {f"{words[:-1]}{n}%": (n / 10, n / 20, -n / 100) for n in range(10)}
    folders = [
        make_scrub(
            tmp_path / str(n), scrubs, name="sign-encoding",
            grid={"strength": n, "epochs": 100 * n},
        )
        for n in range(1, 7)
    ]  # fmt: skip
    figure, data = draw("scrub_table", folders)
    assert len(data) == 60
    found = texts(figure)
    assert found.count("sign-encoding") == 6
    assert found.count("strength 6") == 1
    assert_fits(figure)


# --- trend


def test_trend_of_memorization_has_units_and_no_guessing(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / f"{n}", grid={"strength": n}, noise=n) for n in (1, 9)
    ]
    metrics = ["mape", "accuracy_change", "bit_error_rate", "ssim"]
    figure, data = draw("trend", folders, x="strength", metrics=metrics)
    panels = figure.subfigs[1].axes
    labels = [panel.get_ylabel() for panel in panels]
    assert labels[0] == "MAPE (grey levels, 0–255)"
    assert labels[1] == "change of test accuracy (points)"
    flat = [
        {
            float(line.get_ydata()[0])
            for line in panel.lines
            if line.get_linestyle() == "--"
        }
        for panel in panels[:4]
    ]
    assert flat == [set(), {0.0}, {0.5}, set()]
    assert panels[0].get_ylim()[1] > 9
    low, high = panels[1].get_ylim()
    assert low < -0.02 < high
    ticks = [text.get_text() for text in panels[1].get_yticklabels()]
    assert {"−2", "0"} < {*ticks}
    rows = data[(data["metric"] == "accuracy_change") & (data["replicate"] == "mean")]
    np.testing.assert_allclose(rows["value"].astype(float), -0.02)


@pytest.mark.parametrize("metric", sorted(trend._Y_LABELS))
def test_every_metric_can_be_drawn(metric: str, tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / f"{n}", grid={"inputs": n}, num_seeds=1) for n in (1, 2)
    ]
    figure, _ = draw("trend", folders, x="inputs", metrics=[metric])
    assert_fits(figure)
    assert "an attack that only guesses" not in said(figure) or metric in (
        "auc", "bit_error_rate"
    )  # fmt: skip


def test_one_seed_shows_the_interval_over_bits(tmp_path: Path) -> None:
    folder = make_decode(tmp_path / "a", grid={"inputs": 1}, num_seeds=1)
    figure, data = draw("trend", [folder], x="inputs", metrics=["bit_error_rate"])
    rate = results.AttackResult(folder).replicates[0]["fidelity"]["bit_error_rate"]
    assert data["low"].iloc[0] == rate["low"]
    assert "its records or bits" in said(figure)


def test_what_nobody_saw_is_written_under_the_curve(tmp_path: Path) -> None:
    shares = {
        (16, False): (1.0, 1.0), (16, True): (0.0, 0.0), (18, False): (1.0, 1.0),
        (18, True): (0.0, 0.0), (20, False): (1.0, 1.0), (20, True): (1.0, 0.0),
    }  # fmt: skip
    folders = {
        (bits, encrypt): make_detect(
            tmp_path / f"{bits}{encrypt}", grid={"bits": bits, "encrypt": encrypt},
            detected=own,
        )
        for (bits, encrypt), own in shares.items()
    }  # fmt: skip
    more: dict[str, Any] = {"x": "bits", "metrics": ["detected", "false_alarms"]}
    words = said(draw("trend", [*folders.values()], **more)[0])
    assert "encrypt yes: no model detected at bits 16, 18." in words
    assert "encrypt yes: some models, not all, detected at bits 20." in words
    assert "encrypt no:" not in words
    plain = [folder for (_, encrypt), folder in folders.items() if not encrypt]
    words = said(draw("trend", plain, **more)[0])
    assert "Every tampered model is detected." in words
    more["metrics"] = ["false_alarms"]
    assert "detected." not in said(draw("trend", plain, **more)[0])


def test_readers_have_nothing_to_detect(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / "a", name="read", grid={"strength": 1.0}),
        make_detect(tmp_path / "b", grid={"strength": 1.0}, detected=(0.0,)),
    ]
    figure, data = draw(
        "trend", folders, x="strength", metrics=["mape", "detected"]
    )  # fmt: skip
    assert "audit: no model detected at strength 1." in said(figure)
    assert "read:" not in said(figure)
    known = data[data["replicate"] == "mean"][["attack", "metric"]].to_numpy().tolist()
    assert known == [["read", "mape"], ["audit", "detected"]]


def test_an_axis_may_count_in_other_units(tmp_path: Path) -> None:
    folders = [
        make_decode(tmp_path / f"{n}", grid={"inputs": n}) for n in (300, 1200, 3600)
    ]
    figure, data = draw(
        "trend", folders, x="inputs", x_unit=1200, metrics=["mape"]
    )  # fmt: skip
    (panel,) = figure.subfigs[1].axes
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0.25", "1", "3"]
    means = [line for line in panel.lines if len(np.asarray(line.get_xdata())) == 3]
    assert np.asarray(means[0].get_xdata()).tolist() == [0.25, 1, 3]
    assert data["inputs"].unique().tolist() == [300, 1200, 3600]
    seen = make_detect(tmp_path / "d", grid={"inputs": 300}, detected=(0.0,))
    figure, _ = draw("trend", [seen], x="inputs", x_unit=1200, metrics=["detected"])
    assert "no model detected at inputs 0.25." in said(figure)


def test_what_follows_the_axis_makes_no_lines(tmp_path: Path) -> None:
    """Entries with a number of epochs for each m are one line, by encryption two."""
    grids = [
        {"models": f"abused-{n}", "inputs": n, "encrypt": encrypt}
        for n in (300, 1200)
        for encrypt in (False, True)
    ]
    folders = [
        make_decode(tmp_path / str(place), grid=grid)
        for place, grid in enumerate(grids)
    ]
    figure, _ = draw("trend", folders, x="inputs", metrics=["mape"])
    (legend,) = figure.subfigs[1].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "encrypt no", "encrypt yes"
    ]  # fmt: skip
    one, _ = draw("trend", folders[::2], x="inputs", metrics=["mape"])
    assert one.subfigs[1].legends == []


def test_what_tells_attacks_apart_is_said(tmp_path: Path) -> None:
    folders = [
        make_decode(
            tmp_path / f"{name}{n}", name=name, grid={"inputs": n, "words": words}
        )
        for name, words in (("few", 2), ("many", 9))
        for n in (300, 1200)
    ]
    figure, _ = draw("trend", folders, x="inputs", metrics=["mape"])
    (legend,) = figure.subfigs[1].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "2 words · few", "9 words · many"
    ]  # fmt: skip


def test_every_metric_has_a_label() -> None:
    plain = {"kind": "trend", "attacks": ["a"], "title": "T", "x": "members"}
    for metric in trend._Y_LABELS:
        SETTINGS.validate_python({**plain, "metrics": [metric]})
    with pytest.raises(ValidationError) as caught:
        SETTINGS.validate_python({**plain, "metrics": ["psnr"]})
    allowed = str(caught.value.errors()[0]["ctx"]["expected"])
    assert allowed.count(" or ") == 1
    names = allowed.replace(" or ", ", ").replace("'", "").split(", ")
    assert sorted(names) == sorted(trend._Y_LABELS)


# --- what may be drawn, and what every kind must do


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Folders of each kind of figure, of two attacks on a stand-in."""
    folder = tmp_path_factory.mktemp("samples")
    decoded = [
        make_decode(folder / "a", name="lsb", dataset=STAND_IN),
        make_decode(folder / "b", name="sign", dataset=STAND_IN, noise=9),
    ]
    return {
        "reconstructions": decoded,
        "weights": decoded,
        "memory_table": decoded,
        "low_bits": [make_low_bits(folder / "c")],
        "scrub_table": [make_scrub(folder / "d", SCRUBS)],
    }


KINDS = sorted({*MODULES} - {"trend"})


@pytest.mark.parametrize("kind", KINDS)
def test_everything_fits_on_the_page(kind: str, samples: dict[str, list[Path]]) -> None:
    figure, data = draw(kind, samples[kind], caption="A caption of my own.")
    assert len(data) > 0
    assert_fits(figure)
    words = said(figure)
    assert "A caption of my own." in words
    assert "2 seeds" in words
    if len(samples[kind]) > 1:
        assert "stand-in for LFW" in words


@pytest.mark.parametrize("kind", KINDS)
def test_verb_writes_the_same_bytes_again(
    kind: str, tmp_path: Path, samples: dict[str, list[Path]]
) -> None:
    names = [results.AttackResult(path).name for path in samples[kind]]
    plain = {"kind": kind, "attacks": names, "title": "T"}
    text = canonical_json({"study": "s", "name": "f", "settings": plain})
    folders = [str(path) for path in samples[kind]]
    for run in ("one", "two"):
        out = str(tmp_path / run)
        assert (
            main(["figure", "--spec", text, "--attacks", *folders, "--out", out]) == 0
        )
    for name in ("data.csv", "figure.pdf", "figure.png", "record.json"):
        one, two = (file_digest(tmp_path / run / name) for run in ("one", "two"))
        assert one == two, name


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("class_cdf", r"membership\.gradient-norm"),
        ("roc", r"properties\.membership"),
        ("table", r"membership\.gradient-norm"),
        ("reconstructions", r"memorization\.decode"),
        ("weights", r"memorization\.decode"),
        ("memory_table", r"memorization\.decode"),
        ("low_bits", r"memorization\.low-bits"),
        ("scrub_table", r"memorization\.scrub"),
    ],
)
def test_attacks_of_another_kind_are_refused(
    kind: str, allowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_detect(tmp_path / "a")
    plain = {"kind": kind, "attacks": ["audit"], "title": "T"}
    text = canonical_json({"study": "s", "name": "f", "settings": plain})
    out = tmp_path / "out"
    code = main(["figure", "--spec", text, "--attacks", str(folder), "--out", str(out)])
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: attacks: 'audit' is of kind memorization.detect")
    assert re.search(rf"; allowed: (.*, )?{allowed}$", line)
    assert not out.exists()


def test_trend_draws_attacks_of_any_kind(tmp_path: Path) -> None:
    folders = [make_attack(tmp_path / "a", num_seeds=2), make_detect(tmp_path / "b")]
    metrics = ["auc", "detected", "false_alarms"]
    figure, data = draw("trend", folders, x="classes", metrics=metrics)
    mean = data[data["replicate"] == "mean"].set_index("metric")["value"]
    assert mean["detected"] == 0.5
    assert mean["false_alarms"] == pytest.approx(0.05)
    assert_fits(figure)
