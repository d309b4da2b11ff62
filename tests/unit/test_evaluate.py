"""What an attack reports: its files, and controls that catch planted faults."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from core_samples import outputs
from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.membership import shadow, threshold
from whatelse.membership.evaluate import Findings, evaluate
from whatelse.membership.settings import MembershipAttack
from whatelse.models.outputs import CONTROL, Outputs, save_outputs
from whatelse.records import read_json

RATE = {"value", "low", "high"}
SPREAD = {"mean", "std", "count", "low", "high", "values"}


def run(*replicates: Outputs, kind: str = "shadow", **changes: Any) -> Findings:
    module: Any = {"shadow": shadow, "threshold": threshold}[kind]
    given = {"kind": f"membership.{kind}", **changes}
    return evaluate(
        module.Scorer,
        TypeAdapter(MembershipAttack).validate_json(json.dumps(given)),
        replicates,
        needs_shadows=module.NEEDS_SHADOWS,
        seed=1,
    )


def controlled(control_leak: float = 0.0, **how: Any) -> Outputs:
    """Outputs with a control model that leaks the target's members by that much."""
    whole = outputs(**how)
    control = outputs(models=(CONTROL,), leak=control_leak, seed=99)
    return Outputs(
        *(
            np.concatenate([getattr(whole, name), getattr(control, name)])
            for name in ("model", "record", "label", "member", "probabilities")
        ),
        about=whole.about,
    )


def one(findings: Findings) -> dict[str, Any]:
    (report,) = findings.metrics["replicates"]
    return report


def test_all_that_metrics_hold() -> None:
    findings = run(
        controlled(leak=2.0), controlled(leak=2.0, seed=1),
        false_positive_rates=[0.1, 0.01],
    )  # fmt: skip
    assert set(findings.metrics) == {"replicates", "summary"}
    assert [r["replicate"] for r in findings.metrics["replicates"]] == [0, 1]
    for report in findings.metrics["replicates"]:
        assert set(report) == {
            "replicate", "target", "attack", "per_class", "controls", "queries",
        }  # fmt: skip
        assert report["queries"] == 1.0  # a row of outputs is one answer
        assert set(report["target"]) == {"train_accuracy", "test_accuracy"}
        attack = report["attack"]
        assert set(attack) == {
            "accuracy", "precision", "recall", "auc", "best_balanced_accuracy",
            "tpr_at_fpr",
        }  # fmt: skip
        for rate in (
            *report["target"].values(),
            *(attack[name] for name in set(attack) - {"tpr_at_fpr"}),
        ):
            assert set(rate) >= RATE
            assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1
        assert set(attack["tpr_at_fpr"]) == {"0.1", "0.01"}
        assert set(attack["tpr_at_fpr"]["0.1"]) >= RATE
        # 60 non-members do not resolve one in a hundred
        assert set(attack["tpr_at_fpr"]["0.01"]) == {"refused"}
        assert "needs at least 100" in attack["tpr_at_fpr"]["0.01"]["refused"]
        assert [c["class"] for c in report["per_class"]] == [0, 1, 2]
        for of_class in report["per_class"]:
            assert set(of_class) == {
                "class", "name", "members", "non_members",
                "precision", "recall", "accuracy", "auc", "tpr_at_fpr",
                "train_accuracy", "test_accuracy",
            }  # fmt: skip
            assert of_class["name"] == f"c{of_class['class']}"
            assert (of_class["members"], of_class["non_members"]) == (20, 20)
        for control in ("positive", "negative"):
            assert set(report["controls"][control]["auc"]) >= RATE
            assert 0 <= report["controls"][control]["p_value"] <= 1
    summary = findings.metrics["summary"]
    assert set(summary) == {
        "train_accuracy", "test_accuracy", "accuracy", "precision", "recall", "auc",
        "best_balanced_accuracy", "class_precision_median", "class_precision_mean",
        "class_recall_median", "class_recall_mean", "tpr_at_0.1", "queries",
    }  # fmt: skip
    for spread in summary.values():
        assert set(spread) == SPREAD
        assert spread["count"] == len(spread["values"]) == 2
    json.dumps(findings.metrics, allow_nan=False)


def test_numbers_are_those_of_the_scores() -> None:
    findings = run(controlled(leak=1.0))
    report, scores = one(findings), findings.scores
    assert list(scores.columns) == [
        "replicate", "record", "label", "member", "score", "decision",
        "true_probability", "entropy",
    ]  # fmt: skip
    assert len(scores) == 120
    assert scores["true_probability"].between(0, 1).all()
    assert scores["entropy"].between(0, 1 + 1e-6).all()
    assert str(scores.dtypes["score"]) == "float32"
    hits = scores.member & scores.decision
    attack = report["attack"]
    assert attack["precision"]["value"] == hits.sum() / scores.decision.sum()
    assert attack["recall"]["value"] == hits.sum() / 60
    assert attack["accuracy"]["value"] == (scores.member == scores.decision).mean()
    expected = roc_auc_score(scores.member, scores.score)
    assert attack["auc"]["value"] == pytest.approx(expected, abs=1e-12)
    best = max(
        balanced_accuracy_score(scores.member, scores.score >= threshold)
        for threshold in scores.score
    )
    assert attack["best_balanced_accuracy"]["value"] == pytest.approx(best, abs=1e-12)
    assert best > 0.6
    per_class = {
        label: (own.member & own.decision).sum() / own.decision.sum()
        for label, own in scores.groupby("label")
    }
    for of_class in report["per_class"]:
        assert of_class["precision"]["value"] == per_class[of_class["class"]]
        assert set(of_class["train_accuracy"]) >= RATE
    whole = report["target"]["test_accuracy"]["value"]
    by_class = [c["test_accuracy"]["value"] for c in report["per_class"]]
    assert whole == pytest.approx(np.mean(by_class))
    summary = findings.metrics["summary"]
    values = list(per_class.values())
    assert summary["class_precision_median"]["mean"] == np.median(values)
    assert summary["class_precision_mean"]["mean"] == pytest.approx(np.mean(values))
    assert summary["auc"]["std"] is None
    assert summary["auc"]["low"] is None


def test_the_curve_is_scikit_learns_and_ends_at_one() -> None:
    findings = run(controlled(leak=1.0), controlled(leak=1.0, seed=1))
    assert list(findings.curves.columns) == ["replicate", "fpr", "tpr", "threshold"]
    for number, curve in findings.curves.groupby("replicate"):
        own = findings.scores[findings.scores.replicate == number]
        fpr, tpr, _ = roc_curve(own.member, own.score, drop_intermediate=False)
        area = np.trapezoid(curve.tpr, curve.fpr)
        assert area == pytest.approx(np.trapezoid(tpr, fpr), abs=1e-12)
        assert curve.iloc[0][["fpr", "tpr"]].tolist() == [0, 0]
        assert curve.iloc[-1][["fpr", "tpr"]].tolist() == [1, 1]


def test_the_targets_accuracies_are_of_its_own_kinds() -> None:
    whole = controlled(leak=50.0)
    accuracies = one(run(whole))["target"]
    target = whole.of(whole.model == 0)
    assert accuracies["train_accuracy"]["value"] == 1.0
    assert accuracies["test_accuracy"]["value"] == target.correct[~target.member].mean()


def test_a_sound_attack_passes_both_controls() -> None:
    controls = one(run(controlled(leak=2.0)))["controls"]
    assert controls["negative"]["p_value"] > 0.01
    assert controls["negative"]["auc"]["value"] == pytest.approx(0.5, abs=0.15)
    assert controls["positive"]["p_value"] < 1e-6
    assert controls["positive"]["auc"]["value"] > 0.9


def test_shadows_that_saw_the_targets_data_are_caught() -> None:
    """The control model has no business to know the target's members."""
    sound = one(run(controlled(leak=2.0)))["controls"]["negative"]
    leaking = one(run(controlled(leak=2.0, control_leak=2.0)))["controls"]["negative"]
    assert leaking["p_value"] < 1e-6 < sound["p_value"]
    assert leaking["auc"]["low"] > 0.6


def test_a_biased_split_is_caught() -> None:
    """Members that are easier records than non-members: any model tells them."""
    whole = controlled(leak=2.0)
    easy = (whole.model == CONTROL) & whole.member
    probabilities = whole.probabilities.copy()
    probabilities[easy] /= 4
    probabilities[easy, whole.label[easy]] += 0.75
    biased = replace(whole, probabilities=probabilities)
    assert one(run(biased))["controls"]["negative"]["p_value"] < 1e-6


def test_an_attack_that_finds_nothing_fails_the_positive_control() -> None:
    class Blind(threshold.Scorer):
        def score(self, outputs: Outputs) -> Any:
            return np.zeros(len(outputs.label), dtype=np.float32)

    whole = controlled(leak=2.0)
    found = evaluate(
        Blind,
        TypeAdapter(MembershipAttack).validate_python({"kind": "membership.threshold"}),
        [whole],
        needs_shadows=False,
        seed=1,
    )
    assert one(found)["controls"]["positive"]["p_value"] == 1.0
    assert one(found)["controls"]["positive"]["auc"]["value"] == 0.5


def test_the_negative_control_is_level_over_many_draws() -> None:
    """Its p-values are those of a true null hypothesis: one in ten below .1."""
    values = [
        one(run(controlled(seed=seed), kind="threshold"))["controls"]["negative"]
        for seed in range(3)
    ]
    assert len({v["p_value"] for v in values}) == 1  # the control rows are the same
    halves = [
        one(run(outputs(num_shadows=0, seed=s), kind="threshold"))["controls"]
        for s in range(100)
    ]
    small = sum(h["negative"]["p_value"] < 0.1 for h in halves)
    assert small <= 22  # 10 expected, deviation 3


def test_outputs_without_a_control_use_halves_of_the_non_members() -> None:
    control = one(run(outputs(leak=3.0)))["controls"]["negative"]
    assert "halves" in control["what"]
    assert control["p_value"] > 0.01


def test_what_passes_the_minimum_of_rows_passes_with_its_control() -> None:
    """The planted leak has half the rows: that is no fault of the user's."""
    whole = outputs(num_shadows=1, per_kind=30, leak=3.0)  # 10 of a kind and class
    assert one(run(whole, min_rows=10))["controls"]["positive"]["p_value"] < 0.01


@pytest.mark.parametrize("kind", [True, False])
def test_a_target_with_one_kind_only_is_refused(kind: bool) -> None:
    whole = outputs()
    rows = whole.of((whole.model > 0) | (whole.member == kind))
    with pytest.raises(UserError, match="target has .* allowed: at least 1 and 2"):
        run(rows)


def test_an_attack_that_needs_shadows_says_so() -> None:
    with pytest.raises(UserError, match="allowed without: membership.threshold"):
        run(outputs(num_shadows=0))
    run(outputs(num_shadows=0), kind="threshold")


def test_a_target_with_a_single_non_member_is_one_line() -> None:
    whole = outputs(num_shadows=0, per_kind=10)
    rows = whole.of(whole.member | (whole.record == 19))
    with pytest.raises(UserError, match="10 members and 1 non-members; allowed: .* 2"):
        run(rows, kind="threshold")
    rows = whole.of(whole.member | (whole.record >= 18))
    run(rows, kind="threshold")


def test_the_same_seed_gives_the_same_findings() -> None:
    first, second = (run(controlled(leak=1.0)) for _ in range(2))
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.scores, second.scores)


def attack(place: Path, name: str, **settings: Any) -> Path:
    spec = {
        "study": "s", "name": "a", "grid": {"members": 60}, "seed": 1,
        "settings": {"kind": "membership.shadow", **settings},
    }  # fmt: skip
    code = main(
        [
            "attack", "--spec", json.dumps(spec),
            "--input", "outputs.0", str(place / "0"), str(place / "1"),
            "--input", "outputs.1", str(place / "2"),
            "--out", str(place / name),
        ]
    )  # fmt: skip
    assert code == 0
    return place / name


def test_the_verb_writes_one_folder_the_same_each_time(tmp_path: Path) -> None:
    first, second = controlled(leak=1.0), controlled(leak=1.0, seed=1)
    save_outputs(tmp_path / "0", first.of(first.model <= 1))
    save_outputs(tmp_path / "1", first.of(first.model > 1))
    save_outputs(tmp_path / "2", second)
    for number in range(3):
        (tmp_path / str(number) / "record.json").write_text("{}")
    one_, two = attack(tmp_path, "one"), attack(tmp_path, "two")
    names = {p.name for p in one_.iterdir()}
    assert names == {
        "metrics.json", "curves.csv", "scores.parquet", "record.json", "telemetry.json"
    }  # fmt: skip
    for name in names - {"telemetry.json"}:
        assert (one_ / name).read_bytes() == (two / name).read_bytes()
    metrics = read_json(one_ / "metrics.json")
    assert set(metrics) == {
        "kind", "name", "grid", "dataset", "replicates", "summary"
    }  # fmt: skip
    assert metrics["kind"] == "membership.shadow"
    assert metrics["grid"] == {"members": 60}
    assert set(metrics["dataset"]) == {
        "name", "title", "records", "classes", "stand_in_for", "remarks"
    }  # fmt: skip
    assert [r["replicate"] for r in metrics["replicates"]] == [0, 1]
    # blocks were joined: the same as from one folder
    whole = run(first, second).metrics
    assert metrics["replicates"] == json.loads(json.dumps(whole["replicates"]))
    record = read_json(one_ / "record.json")
    assert set(record["inputs"]) == {"outputs.0.0", "outputs.0.1", "outputs.1.0"}
    assert record["spec"]["settings"]["kind"] == "membership.shadow"
    scores = pd.read_parquet(one_ / "scores.parquet")
    assert scores.replicate.value_counts().to_dict() == {0: 120, 1: 120}
