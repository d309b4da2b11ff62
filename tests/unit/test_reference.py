"""What a reference attack reports: numbers of its scores, controls that find faults."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.metrics import roc_auc_score, roc_curve

from core_samples import dataset, load_benchmark, train_block, train_spec
from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.findings import Findings
from whatelse.membership import (
    attack_p,
    attack_r,
    gradient_norm,
    label_only,
    lira,
    rmia,
)
from whatelse.membership.reference import evaluate
from whatelse.membership.settings import MembershipAttack
from whatelse.models.signals import Signals
from whatelse.records import read_json
from whatelse.training.plan import draw_plan

MODULES: dict[str, Any] = {
    "lira": lira, "rmia": rmia, "attack-p": attack_p, "attack-r": attack_r,
    "label-only": label_only, "gradient-norm": gradient_norm,
}  # fmt: skip
LIRA = ["lira", "rmia", "attack-p", "attack-r"]
EVERY = [*MODULES]


def signals(
    signal: str, models: range, *, leak: float = 0.0, size: int = 200, seed: int = 0,
    replicate: int = 0, others: int = 100, difficulty: float = 2.0, queries: int = 1,
) -> Signals:  # fmt: skip
    """Margins that differ by record, model, and by `leak` for what was trained on."""
    records = 2 * size + others
    label = np.arange(records) % 4
    plan = draw_plan(
        label, models, members=size, non_members=None, seed=seed, replicate=replicate,
        halves=True,
    )  # fmt: skip
    hard = np.random.default_rng(seed).normal(size=(1, records, 1), scale=difficulty)
    rng = np.random.default_rng([seed, replicate, models.start])
    margin = hard + rng.normal(size=(len(models), records, queries))
    margin = margin + leak * plan.train[..., None]
    values = {
        "margin": margin, "log_probability": -np.logaddexp(0, -margin),
        "right": margin > 0, "gradient_norm": margin,
    }[signal]  # fmt: skip
    return Signals(
        model=plan.models, train=plan.train, correct=margin[..., 0] > 0,
        values=values.astype(np.float32), pool=plan.test[0], label=label, about={
            "name": "toy", "title": "Toy", "records": records, "classes": 4,
            "class_names": [f"c{i}" for i in range(4)],
            "stand_in_for": None, "remarks": [],
        },
    )  # fmt: skip


def run(
    kind: str, *, references: int = 16, replicates: int = 1, changed: Any = None,
    settings: Any = None, **how: Any,
) -> Findings:  # fmt: skip
    module = MODULES[kind]
    targets = [
        signals(module.SIGNAL, range(1), replicate=r, **how) for r in range(replicates)
    ]
    there = signals(module.SIGNAL, range(1, max(references, 2) + 1), **how)
    there = there.of(slice(references))
    if changed:
        targets, there = changed(targets, there)
    given = json.dumps({"kind": f"membership.{kind}", **(settings or {})})
    return evaluate(
        module,
        TypeAdapter(MembershipAttack).validate_json(given),
        targets,
        there if len(there.model) else None,
        seed=1,
    )


def one(findings: Findings) -> dict[str, Any]:
    (report,) = findings.metrics["replicates"]
    return report


@pytest.mark.parametrize("kind", EVERY)
def test_numbers_are_those_of_the_scores(kind: str) -> None:
    found = run(kind, leak=2.0, settings={"false_positive_rates": [0.1, 0.01, 0.001]})
    rows, attack = found.scores, one(found)["attack"]
    assert rows.columns.tolist() == [
        "replicate", "record", "label", "member", "score", "decision"
    ]  # fmt: skip
    assert len(rows) == 400
    assert rows.member.sum() == 200
    fpr, tpr, _ = roc_curve(rows.member, rows.score, drop_intermediate=False)
    np.testing.assert_allclose(found.curves.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(found.curves.tpr, tpr, atol=1e-12)
    expected = roc_auc_score(rows.member, rows.score)
    assert attack["auc"]["value"] == pytest.approx(expected, abs=1e-12)
    for level in (0.1, 0.01):
        rate = attack["tpr_at_fpr"][f"{level:g}"]
        assert rate["value"] == pytest.approx(tpr[fpr <= level].max(), abs=1e-12)
        assert rate["low"] <= rate["value"] <= rate["high"]
    # 200 non-members do not resolve one in a thousand
    assert "needs at least 1000" in attack["tpr_at_fpr"]["0.001"]["refused"]
    summary = found.metrics["summary"]
    assert summary["tpr_at_0.01"]["mean"] == attack["tpr_at_fpr"]["0.01"]["value"]
    assert "tpr_at_0.001" not in summary
    json.dumps(found.metrics, allow_nan=False)


@pytest.mark.parametrize("kind", EVERY)
def test_accuracies_are_of_the_targets_halves(kind: str) -> None:
    accuracies = one(run(kind, leak=1.0))["target"]
    target = signals("margin", range(1), leak=1.0)
    member, correct = target.train[0], target.correct[0]
    assert accuracies["train_accuracy"]["value"] == correct[member].mean()
    outside = target.pool & ~member
    assert accuracies["test_accuracy"]["value"] == correct[outside].mean()


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_sound_attack_passes_both_controls(kind: str, mode: str) -> None:
    settings = {"mode": mode} if kind in ("lira", "rmia") else {}
    controls = one(run(kind, leak=2.0, settings=settings))["controls"]
    assert "reference model that saw neither" in controls["negative"]["what"]
    assert controls["negative"]["p_value"] > 0.01
    assert controls["negative"]["auc"]["value"] == pytest.approx(0.5, abs=0.15)
    assert controls["positive"]["auc"]["low"] > 0.75


@pytest.mark.parametrize("kind", LIRA)
def test_two_classes_and_sure_models_pass_the_positive_control(kind: str) -> None:
    def sure(targets: Any, there: Any) -> Any:
        about = {**there.about, "class_names": ["a", "b"]}
        label = there.label % 2
        shift = np.float32(30) if kind == "lira" else np.float32(0)
        made = [
            replace(
                s, about=about, label=label,
                values=s.values / (1 if kind == "lira" else 100) + shift,
            )
            for s in (*targets, there)
        ]  # fmt: skip
        return made[:-1], made[-1]

    assert one(run(kind, changed=sure))["controls"]["positive"]["auc"]["low"] > 0.75


def test_comparing_record_by_record_beats_one_threshold() -> None:
    """Records that differ by more than membership does hide it from the loss."""
    area = {
        kind: one(run(kind, leak=2.0, difficulty=4.0))["attack"]["auc"]["value"]
        for kind in LIRA
    }
    assert area["lira"] > 0.88
    assert area["attack-p"] < 0.72
    assert area["attack-p"] < area["attack-r"]
    assert area["attack-p"] < area["rmia"]


def test_a_reference_model_that_knows_the_targets_half_is_caught() -> None:
    """Were a target's half to leak into reference models, the control would tell."""

    def told(targets: Any, there: Any) -> Any:
        values = there.values + 3 * targets[0].train[0][:, None] * np.float32(1)
        return targets, replace(there, values=values.astype(np.float32))

    # signals of all reference models move alike: only one threshold for all sees it
    found = one(run("attack-p", changed=told))["controls"]["negative"]
    assert found["p_value"] < 1e-6

    def first(targets: Any, there: Any) -> Any:
        values = there.values.copy()
        values[0] += 3 * targets[0].train[0][:, None]
        return targets, replace(there, values=values)

    found = one(run("lira", leak=2.0, changed=first))["controls"]["negative"]
    assert found["p_value"] < 1e-6


def test_another_target_is_the_control_and_costs_no_reference_model() -> None:
    def told(targets: Any, there: Any) -> Any:
        known = 3 * targets[0].train[0][:, None].astype(np.float32)
        return [
            targets[0],
            replace(targets[1], values=targets[1].values + known),
        ], there

    how: dict[str, Any] = {"leak": 2.0, "references": 4, "replicates": 2}
    for changed, low, high in ((None, 0.01, 1.0), (told, 0.0, 1e-6)):
        first = run("lira", changed=changed, **how).metrics["replicates"][0]
        control = first["controls"]["negative"]
        assert "another target" in control["what"]
        assert low <= control["p_value"] <= high


def test_the_negative_control_is_level_over_many_draws() -> None:
    """Its p-values are those of a true null hypothesis: one in ten below .1."""
    reports = [
        one(run("lira", leak=2.0, size=40, references=8, seed=seed, others=0))
        for seed in range(100)
    ]
    small = sum(r["controls"]["negative"]["p_value"] < 0.1 for r in reports)
    assert small <= 22  # 10 expected, deviation 3


@pytest.mark.parametrize(("kind", "references"), [("lira", 4), ("attack-p", 0)])
def test_few_references_leave_halves_of_the_non_members(
    kind: str, references: int
) -> None:
    control = one(run(kind, leak=3.0, references=references))["controls"]["negative"]
    assert "halves" in control["what"]
    assert control["p_value"] > 0.01


def test_an_attack_may_use_some_of_the_reference_models() -> None:
    few = run("rmia", leak=2.0, settings={"references": 4})
    same = run("rmia", leak=2.0, references=4)
    np.testing.assert_array_equal(few.scores.score, same.scores.score)
    assert few.metrics == same.metrics


def test_gradients_against_those_of_references_beat_one_threshold() -> None:
    how: dict[str, Any] = {"leak": 2.0, "difficulty": 4.0}
    plain = one(run("gradient-norm", **how))["attack"]["auc"]["value"]
    found = one(run("gradient-norm", settings={"calibrated": True}, **how))
    assert found["attack"]["auc"]["value"] > max(0.88, plain + 0.1)
    for control, low in (("negative", 0.01), ("positive", None)):
        told = found["controls"][control]
        assert told["auc"]["low"] > 0.75 if low is None else told["p_value"] > low


def test_more_queries_say_more_than_one_label() -> None:
    area = {
        count: one(run("label-only", leak=2.0, queries=count))["attack"]["auc"]["value"]
        for count in (1, 25)
    }
    assert 0.5 < area[1] < area[25] - 0.05


def test_replicates_are_judged_one_by_one() -> None:
    both = run("lira", leak=2.0, replicates=2)
    assert both.scores.groupby("replicate").size().tolist() == [400, 400]
    assert both.metrics["summary"]["auc"]["count"] == 2
    alone, first = one(run("lira", leak=2.0)), both.metrics["replicates"][0]
    # but for the negative control, for which there is another target
    for report in (alone, first):
        report["controls"] = report["controls"]["positive"]
    assert first == alone


@pytest.mark.parametrize(
    ("kind", "how", "message"),
    [
        ("lira", {"references": 2}, "lira asks for 4 reference models, there are 2"),
        ("rmia", {"references": 0}, "rmia asks for 2 .*there are 0; allowed: more"),
        ("attack-r", {"settings": {"references": 18}}, "asks for 18 .*there are 16"),
        ("attack-r", {"references": 6}, "attack-r asks for 8 .*there are 6"),
        ("rmia", {"others": 0}, "members: 200 leave no record .*allowed: fewer"),
        ("attack-p", {"others": 0}, "members: 200 leave no record .*allowed: fewer"),
        (
            "label-only",
            {"others": 0, "queries": 9, "settings": {"queries": {"shift": 1}}},
            "members: 200 leave no record .*allowed: fewer",
        ),
        (
            "lira",
            {"others": 0, "settings": {"mode": "offline"}},
            "members: 200 leave no record .*allowed: fewer",
        ),
        (
            "gradient-norm",
            {"references": 2, "settings": {"calibrated": True}},
            "gradient-norm asks for 4 reference models, there are 2",
        ),
    ],
)
def test_what_is_missing_is_said(kind: str, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(kind, **how)
    assert "\n" not in str(caught.value)


def test_lira_needs_no_population() -> None:
    assert one(run("lira", others=0, leak=3.0))["attack"]["auc"]["value"] > 0.9
    assert run("attack-r", others=0).metrics["summary"]
    assert run("label-only", others=0).metrics["summary"]
    calibrated = {"calibrated": True}
    assert run("gradient-norm", others=0, settings=calibrated).metrics["summary"]


def test_several_queries_help_lira() -> None:
    area = {
        queries: one(run("lira", leak=1.0, queries=queries))["attack"]["auc"]["value"]
        for queries in (1, 9)
    }
    assert area[9] > area[1] + 0.05


# ---- from models on disk


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reference")
    dataset(place / "data", num_records=400)
    for name, models, replicate in (
        ("target-0", "0:1", 0), ("target-1", "0:1", 1), ("a", "1:3", 0), ("b", "3:9", 0)
    ):  # fmt: skip
        training = {**train_spec()["training"], "epochs": 100}
        spec = train_spec(
            split="halves", members=100, replicate=replicate, training=training
        )
        assert train_block(place, place / "data", models, name=name, spec=spec) == 0
        release = {"kind": "probabilities"}
        asked = {"kind": "signals", "release": release, "gradients": True}
        code = main(
            [
                "query", "--spec", json.dumps(asked), "--data", str(place / "data"),
                "--block", str(place / name), "--out", str(place / f"{name}-signals"),
                "--device", "cpu",
            ]
        )  # fmt: skip
        assert code == 0
    return place


@pytest.mark.parametrize("kind", EVERY)
def test_the_verb_writes_findings(place: Path, kind: str) -> None:
    spec = {
        "study": "s", "name": "a", "grid": {}, "seed": 1,
        "settings": {"kind": f"membership.{kind}"},
    }  # fmt: skip
    out = place / f"attack-{kind}"
    code = main(
        [
            "attack", "--spec", json.dumps(spec), "--out", str(out),
            "--input", "signals.0", str(place / "target-0-signals"),
            "--input", "signals.1", str(place / "target-1-signals"),
            "--input", "references", str(place / "a-signals"), str(place / "b-signals"),
        ]
    )  # fmt: skip
    assert code == 0
    metrics = read_json(out / "metrics.json")
    assert metrics["kind"] == f"membership.{kind}"
    assert [r["replicate"] for r in metrics["replicates"]] == [0, 1]
    for report in metrics["replicates"]:
        assert report["controls"]["positive"]["auc"]["low"] > 0.75
        assert report["target"]["train_accuracy"]["value"] > 0.9
    assert read_json(out / "record.json")["outputs"].keys() == {
        "curves.csv", "metrics.json", "scores.parquet"
    }  # fmt: skip


def test_references_of_other_records_are_refused() -> None:
    def change(targets: Any, there: Any) -> Any:
        return targets, replace(there, pool=~there.pool)

    with pytest.raises(UserError, match="about other records than the target"):
        run("lira", changed=change)


# ---- the benchmark


def test_the_benchmark_measures(repository: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(repository, "reference")
    benchmark.OTHERS = 50
    benchmark.write(tmp_path, 200, 40, 1)
    assert len([*tmp_path.iterdir()]) == 3
    row = benchmark.measure(tmp_path, "RMIA offline")
    assert row["attack"] == "RMIA offline"
    assert row["queries_per_record"] == 1
    assert row["score_gigabytes"] <= row["report_gigabytes"] < 4
    assert benchmark.main(["--references", "7"]) == 2
    assert benchmark.main(["--queries", "18", "0"]) == 2


def test_the_benchmark_says_how_many_queries(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = load_benchmark(repository, "reference")
    monkeypatch.setattr(benchmark, "OTHERS", 50)
    chosen = {name: benchmark.ATTACKS[name] for name in ("LiRA online", "attack P")}
    monkeypatch.setattr(benchmark, "ATTACKS", chosen)
    # here, in this process, of which the population is small
    monkeypatch.setattr(
        benchmark, "_measured", lambda place, name: benchmark.measure(Path(place), name)
    )
    words = ["--records", "200", "--references", "40", "--queries", "1", "3"]
    assert benchmark.main([*words, "--out", str(tmp_path)]) == 0
    found = read_json(tmp_path / "reference.json")
    assert found["queries_per_record"] == [1, 3]
    rows = [(row["attack"], row["queries_per_record"]) for row in found["attacks"]]
    assert rows == [("LiRA online", 1), ("attack P", 1), ("LiRA online", 3)]
    assert found["bar"]["seconds"] == 10
