"""Per-record risk: planted exposures come out, chance is not mistaken for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from core_samples import train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.findings import Findings
from whatelse.membership import risk
from whatelse.membership.settings import Risk
from whatelse.models.signals import Signals
from whatelse.records import read_json
from whatelse.training.plan import draw_plan

SIZE = 60  # records in a half
RECORDS = 2 * SIZE + 150  # with a population


def data(folder: Path, kind: str = "rows", records: int = RECORDS) -> Any:
    """Pictures, rows or rows of words, with a group that a quarter belongs to."""
    rng = np.random.default_rng(0)
    more: dict[str, Any] = {}
    inputs: Any = rng.normal(size=(records, 3)).astype(np.float32)
    if kind == "pictures":
        inputs = rng.integers(0, 255, (records, 1, 2, 2)).astype(np.uint8)
    if kind == "words":
        inputs = (np.arange(records * 3).reshape(records, 3) % 3).astype(np.uint16)
        more = {"vocabulary": ["some", "words"]}
    write_dataset(
        folder,
        inputs=inputs,
        labels=np.arange(records) % 4,
        info={"name": "toy", "title": "Toy", "class_names": list("abcd"), **more},
        settings={"source": "npz"},
        attributes={
            "old": np.arange(records) % 4 == 1,
            "person": [f"p{number}" for number in range(records)],
        },
    )
    return open_dataset(folder)


def signals(models: range, leak: Any, replicate: int = 0) -> Signals:
    """Margins that differ by record and model, and by `leak` for what was seen."""
    records = RECORDS
    label = np.arange(records) % 4
    plan = draw_plan(
        label, models, members=SIZE, non_members=None, seed=3, replicate=replicate,
        halves=True,
    )  # fmt: skip
    rng = np.random.default_rng([5, replicate, models.start])
    margin = 5 * np.random.default_rng(5).normal(size=records)
    margin = margin + rng.normal(size=(len(models), records)) + leak * plan.train
    return Signals(
        model=plan.models, train=plan.train, correct=margin > 0,
        values=margin[..., None].astype(np.float32), pool=plan.test[0], label=label,
        about={
            "name": "toy", "title": "Toy", "records": records, "classes": 4,
            "class_names": list("abcd"), "stand_in_for": None, "remarks": [],
        },
    )  # fmt: skip


def run(
    folder: Path, leak: Any, *, references: int = 32, targets: int = 4,
    kind: str = "rows", **settings: Any,
) -> Findings:  # fmt: skip
    given = json.dumps({"kind": "membership.risk", "shown": 5, **settings})
    return risk.evaluate(
        Risk.model_validate_json(given),
        [signals(range(1), leak, replicate=r) for r in range(targets)],
        signals(range(1, references + 1), leak),
        data(folder / f"data-{kind}", kind),
        seed=1,
    )


def exposed() -> np.ndarray:
    """A leak of some records only."""
    leak = np.zeros(RECORDS)
    leak[::9] = 6.0
    return leak


def test_planted_records_are_the_most_exposed(tmp_path: Path) -> None:
    leak = exposed()
    found = run(tmp_path, leak)
    rows = found.scores.sort_values("place")
    planted = leak[rows["record"]] > 0
    assert planted[: planted.sum()].all()
    assert (rows["risk"][planted] > 0.99).all()
    assert rows["risk"][~planted].mean() == pytest.approx(0.5, abs=0.03)
    assert rows["shift"][planted].mean() == pytest.approx(6, abs=0.3)
    measures = found.metrics["replicates"][0]["risk"]
    assert measures["risk_of_exposed"]["value"] > 0.9
    # 11% leak, and of others one in forty is above .5 by chance
    assert measures["exposed_share"]["value"] == pytest.approx(0.13, abs=0.06)
    assert measures["exposed_by_chance"]["value"] < 0.08


def test_a_risk_is_the_area_over_models(tmp_path: Path) -> None:
    found = run(tmp_path, 1.0)
    every = [*(signals(range(1), 1.0, r) for r in range(4)), signals(range(1, 33), 1.0)]
    margin = np.concatenate([own.values[..., 0] for own in every])
    train = np.concatenate([own.train for own in every])
    for _, row in found.scores.head(20).iterrows():
        record = int(row["record"])
        expected = roc_auc_score(train[:, record], margin[:, record])
        assert row["risk"] == pytest.approx(expected, abs=1e-12)
        assert row["low"] < row["risk"] < row["high"] or row["risk"] == 1
        assert row["models_with"] == train[:, record].sum()
        assert row["models_with"] + row["models_without"] == 36


def test_halves_of_the_models_are_independent(tmp_path: Path) -> None:
    rows = run(tmp_path, exposed()).scores
    there = signals(range(1, 33), exposed())
    second = np.arange(32) // 2 % 2 == 1
    first = [*(signals(range(1), exposed(), r) for r in (0, 2)), there]
    margin = np.concatenate([first[0].values, first[1].values, there.values[~second]])
    train = np.concatenate([first[0].train, first[1].train, there.train[~second]])
    record = int(rows["record"].iloc[7])
    expected = roc_auc_score(train[:, record], margin[:, record, 0])
    assert rows["first_half"].iloc[7] == pytest.approx(expected, abs=1e-12)


def test_without_a_leak_nothing_repeats(tmp_path: Path) -> None:
    """What comes out on top by one half of the models does not by the other."""
    found = run(tmp_path, 0.0)
    measures = found.metrics["replicates"][0]["risk"]
    assert found.scores["risk"].max() > 0.65  # by chance
    assert measures["risk_of_exposed"]["value"] == pytest.approx(0.5, abs=0.08)
    agreement = measures["risk_agreement"]
    assert agreement["low"] < 0 < agreement["high"]
    assert measures["exposed_share"]["value"] < 0.08
    # chance alone looks the same
    np.testing.assert_allclose(found.curves["risk"], found.curves["chance"], atol=0.12)


def test_the_rank_correlation_is_scipys(tmp_path: Path) -> None:
    found = run(tmp_path, exposed())
    expected = spearmanr(found.scores["first_half"], found.scores["second_half"])
    agreement = found.metrics["replicates"][0]["risk"]["risk_agreement"]
    assert agreement["value"] == pytest.approx(expected.statistic)
    assert risk.rank_correlation(np.ones(9), np.ones(9))["value"] == 0.0
    whole = risk.rank_correlation(np.arange(9.0), np.arange(9.0))
    assert whole["value"] == pytest.approx(1)


def test_both_controls_hold_with_a_leak_and_without(tmp_path: Path) -> None:
    for leak in (0.0, exposed(), 3.0):
        controls = run(tmp_path, leak).metrics["replicates"][0]["controls"]
        assert controls["negative"]["p_value"] > 0.01
        assert controls["negative"]["auc"]["value"] == pytest.approx(0.5, abs=0.06)
        assert controls["positive"]["auc"]["low"] > 0.75


def test_the_negative_control_is_level_over_many_draws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = data(tmp_path / "data")
    small = 0
    asked = Risk(kind="membership.risk")
    there, targets = signals(range(1, 17), 3.0), [signals(range(1), 3.0)]
    for seed in range(60):
        found = risk.evaluate(asked, targets, there, whole, seed=seed)
        control = found.metrics["replicates"][0]["controls"]["negative"]
        small += control["p_value"] < 0.1
    assert small <= 13  # 6 expected, deviation 2.3


def test_classes_and_groups_are_those_of_the_records(tmp_path: Path) -> None:
    leak = np.where(np.arange(RECORDS) % 4 == 1, 5.0, 0.0)
    report = run(tmp_path, leak, groups=["old"]).metrics["replicates"][0]
    by_class = {row["name"]: row for row in report["per_class"]}
    assert by_class["b"]["risk"]["value"] > 0.98
    for name in "acd":
        assert by_class[name]["risk"]["low"] < 0.5 < by_class[name]["risk"]["high"]
    young, old = report["per_group"]["old"]
    assert (young["name"], old["name"]) == ("False", "True")
    assert old["risk"] == by_class["b"]["risk"]
    assert old["records"] + young["records"] == 2 * SIZE


def test_a_group_of_one_has_no_interval() -> None:
    alone = risk._of_group(pd.Series([0.7]))
    assert alone == {"records": 1, "risk": None, "highest": 0.7}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["young"], "no attribute 'young'; allowed: old, person"),
        (["person"], "'person' has 120 values; allowed: at most 50"),
    ],
)
def test_groups_that_cannot_be(tmp_path: Path, groups: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, 0.0, groups=groups)


def test_both_ends_are_kept_as_they_are(tmp_path: Path) -> None:
    found = run(tmp_path, exposed(), kind="pictures").scores
    kept = found["picture"].notna()
    assert kept.sum() == 10
    assert sorted(found["place"][kept]) == [*range(1, 6), *range(116, 121)]
    assert found["shape"][kept].unique().tolist() == ["1,2,2"]
    words = run(tmp_path, exposed(), kind="words").scores["words"].dropna()
    assert words.iloc[0] in ("some words", "words", "some") or " " in words.iloc[0]
    assert set(" ".join(words).split()) == {"some", "words"}


def test_a_row_is_described_by_what_is_unusual(tmp_path: Path) -> None:
    inputs = np.zeros((50, 3), dtype=np.float32)
    inputs[:25, 1] = 1  # half of them
    inputs[7, 2] = 4  # one
    write_dataset(
        tmp_path / "odd",
        inputs=inputs,
        labels=np.arange(50) % 2,
        info={
            "name": "odd", "title": "Odd", "class_names": ["a", "b"],
            "feature_names": ["never", "often", "once"],
        },
        settings={"source": "npz"},
    )  # fmt: skip
    (said,) = risk._unusual(open_dataset(tmp_path / "odd"), np.array([7]))
    assert said == "once = 4, often = 1, never = 0"


def test_too_few_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in no model of a half of them"):
        run(tmp_path, 0.0, references=2, targets=1)


def test_the_verb_reads_signals_and_data(tmp_path: Path) -> None:
    data(tmp_path / "data")
    folders = {}
    for name, models in (("target", "0:1"), ("references", "1:9")):
        spec = train_spec(split="halves", members=SIZE)
        code = train_block(tmp_path, tmp_path / "data", models, name=name, spec=spec)
        assert code == 0
        folders[name] = str(tmp_path / f"{name}-signals")
        asked = {"kind": "signals", "release": {"kind": "probabilities"}}
        code = main(
            [
                "query", "--spec", json.dumps(asked), "--data", str(tmp_path / "data"),
                "--block", str(tmp_path / name), "--out", folders[name],
                "--device", "cpu",
            ]
        )  # fmt: skip
        assert code == 0
    spec = {
        "study": "s", "name": "risk", "grid": {}, "seed": 1,
        "settings": {"kind": "membership.risk", "shown": 3, "groups": ["old"]},
    }  # fmt: skip
    code = main(
        [
            "attack", "--spec", json.dumps(spec), "--out", str(tmp_path / "out"),
            "--input", "signals.0", folders["target"],
            "--input", "references", folders["references"],
            "--input", "data", str(tmp_path / "data"),
        ]
    )  # fmt: skip
    assert code == 0
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["summary"]["risk_mean"]["count"] == 1
    assert pd.read_parquet(tmp_path / "out" / "scores.parquet")["words"].count() == 6
