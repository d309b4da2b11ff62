"""``whatelse show``: the short table of a study."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse.cli import main
from whatelse.records import read_json, write_json

STUDY: dict[str, Any] = {
    "study": "toy",
    "question": "membership",
    "title": "A toy study",
    "seed": 1,
    "models": {"mine": {"external": "mine.npz"}},
    "attacks": {
        "loss": {"kind": "membership.threshold", "models": "mine"},
        "shadow": {
            "kind": "membership.shadow", "models": "mine",
            "foreach": {"min_rows": [5, 10]},
        },
    },
}  # fmt: skip


def spread(mean: float | None, std: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "std": std, "count": 1, "low": None, "high": None}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(STUDY))
    attacks = tmp_path / "results" / "attacks" / "toy"
    summary = {
        "train_accuracy": spread(1.0),
        "test_accuracy": spread(0.75, 0.0123),
        "accuracy": spread(0.5),
        "precision": spread(None),
        "recall": spread(0.25),
        "auc": spread(0.66666),
    }
    dataset = {"stand_in_for": "Purchase-100"}
    write_json(
        attacks / "loss" / "metrics.json",
        {"dataset": dataset, "summary": summary, "replicates": [{}, {}]},
    )
    dataset = {"stand_in_for": None}
    write_json(
        attacks / "shadow.min_rows-5" / "metrics.json",
        {"dataset": dataset, "summary": {"auc": spread(0.5)}, "replicates": [{}]},
    )
    write_json(
        tmp_path / "results" / "claims" / "toy" / "claims.json",
        {
            "counts": {"holds": 2, "fails": 1},
            "controls": {
                "claims": [
                    {"claim": "Leaks are found", "holds": True, "reason": "2 of 2"},
                    {"claim": "None is made up", "holds": False, "reason": "1 of 2"},
                ]
            },
        },
    )
    return tmp_path / "toy.yaml"


def show(study: Path, *more: str) -> int:
    return main(["show", str(study), "--results", str(study.parent / "results"), *more])


def test_a_study_says_what_data_stand_in_for(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacks = {
        name: {**own, "stand_in_for": "Yelp"} for name, own in STUDY["attacks"].items()
    }
    study.write_text(yaml.safe_dump({**STUDY, "attacks": attacks}))
    assert show(study) == 0
    said = capsys.readouterr().out
    assert "loss (stand-in for Yelp)" in said
    assert "shadow.min_rows-5 (stand-in for Yelp)" in said
    assert "Purchase" not in said


def test_dense_rounds_are_shown_where_there_are_any(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        **STUDY, "question": "properties",
        "attacks": {
            name: {"kind": "membership.threshold", "models": "mine"}
            for name in ("plain", "decayed")
        },
    }  # fmt: skip
    study.write_text(yaml.safe_dump(asked))
    folder = study.parent / "results" / "attacks" / "toy"
    for rounds in (0.0, 1.0):
        for name, dense in (("plain", 0.0), ("decayed", rounds)):
            summary = {"recall": spread(1.0), "dense_rounds": spread(dense)}
            write_json(
                folder / name / "metrics.json",
                {
                    "dataset": {"stand_in_for": None}, "summary": summary,
                    "replicates": [{}],
                },
            )  # fmt: skip
        assert show(study) == 0
        _, head, *rows = capsys.readouterr().out.strip().splitlines()
        assert ("dense rounds" in head) == bool(rounds)
        if rounds:
            shown = {row.split()[0]: row.split()[2] for row in rows[:2]}
            assert shown == {"plain": "0.000", "decayed": "1.000"}


def test_results_that_say_little_say_why(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacks = study.parent / "results" / "attacks" / "toy"
    metrics = read_json(attacks / "loss" / "metrics.json")
    why = "the joint model had not converged when it was attacked"
    for said in ([None, None], [None, why], [why, "another"]):
        metrics["replicates"] = [{"warning": one} for one in said]
        write_json(attacks / "loss" / "metrics.json", metrics)
        assert show(study) == 0
        lines = capsys.readouterr().out.splitlines()
        found = [line for line in lines if line.startswith("warning: ")]
        count = sum(one is not None for one in said)
        told = f"warning: loss: {count} of 2 seeds: {why}"
        assert found == ([told] if count else [])
    write_json(
        attacks / "loss" / "metrics.json", {**metrics, "replicates": [{"warning": why}]}
    )
    assert show(study) == 0
    assert f"warning: loss: {why}\n" in capsys.readouterr().out


def test_the_table(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(study) == 0
    title, head, *rows, claims, controls, failed = (
        capsys.readouterr().out.strip("\n").splitlines()
    )
    assert title == "A toy study"
    assert head.split("  ")[1] == "attack"
    cells = [[c.strip() for c in row.split("  ") if c.strip()] for row in rows]
    assert cells == [
        ["loss (stand-in for Purchase-100)", "2", "1.000", "0.750 ±0.012", "0.500",
         "-", "0.250", "0.667"],
        ["shadow.min_rows-5", "1", "-", "-", "-", "-", "-", "0.500"],
        ["shadow.min_rows-10", "not run yet"],
    ]  # fmt: skip
    assert claims == "claims: 1 fails, 2 holds"
    assert controls == "controls: FAILED"
    assert failed == "  None is made up: 1 of 2"
    # columns stand under their heads
    assert rows[0].index("1.000") == head.index("train acc.")
    assert rows[0].index("0.667") == rows[1].index("0.500") == head.index("AUC")


def test_rates_are_marked_and_queries_counted(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {
        "tpr_at_0.01": spread(0.1, 0.02), "queries": spread(18.0, 0.0),
        "synthesis_queries": spread(35.31, 2.87),
    }  # fmt: skip
    folder = study.parent / "results" / "attacks" / "toy" / "loss"
    # 5 of 500 non-members may pass at 1%, and 4 of 499; the fewest of any seed count
    for fewest, rate in ((250, "0.100 ±0.020"), (249, "0.100 ±0.020*")):
        classes = [
            [{"non_members": 250}, {"non_members": number}] for number in (fewest, 300)
        ]
        replicates = [{"per_class": own} for own in classes]
        write_json(
            folder / "metrics.json",
            {
                "dataset": {"stand_in_for": None}, "summary": summary,
                "replicates": replicates,
            },
        )  # fmt: skip
        assert show(study) == 0
        _, head, row, _, _, *after = capsys.readouterr().out.strip("\n").splitlines()
        heads, cells = (
            [c.strip() for c in line.split("  ") if c.strip()] for line in (head, row)
        )
        assert dict(zip(heads[-3:], cells[-3:], strict=True)) == {
            "TPR at 1%": rate, "queries": "18", "synthesis": "35.3 ±2.9"
        }  # fmt: skip
        said = (
            "  *: fewer than 5 false positives set the threshold, so the rate is rough."
        )
        assert (after[0] == said) == rate.endswith("*")


def test_one_query_is_said_below(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.parent / "results" / "attacks" / "toy"
    for queries in (1.0, 2.0):
        for name, count in (("loss", 1.0), ("shadow.min_rows-5", queries)):
            summary = {"auc": spread(0.5), "queries": spread(count, 0.0)}
            write_json(
                folder / name / "metrics.json",
                {
                    "dataset": {"stand_in_for": None}, "summary": summary,
                    "replicates": [{}],
                },
            )  # fmt: skip
        assert show(study) == 0
        printed = capsys.readouterr().out
        assert ("  queries: one answer of" in printed) == (queries == 1)
        assert (" AUC    queries\n" in printed) == (queries == 2)


def test_the_summary_for_other_tools(study: Path) -> None:
    out = study.parent / "summary"
    (out / "toy").mkdir(parents=True)
    (out / "toy" / "gone.json").write_text("{}")
    assert show(study, "--summary", str(out)) == 0
    assert sorted(p.name for p in (out / "toy").iterdir()) == [
        "loss.json", "shadow.min_rows-5.json"
    ]  # fmt: skip
    means = read_json(out / "toy" / "loss.json")
    assert means["auc"] == 0.66666
    assert means["precision"] is None


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A study of memorization: two kinds of attack, and one that has not run."""
    model = {
        "dataset": "digits", "members": 100, "shadows": 0,
        "architecture": {"kind": "mlp", "hidden": [4], "activation": "relu"},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 0.01},
            "epochs": 1, "batch_size": 10,
        },
    }  # fmt: skip
    study = {
        "study": "kept", "question": "memorization", "title": "Kept", "seed": 1,
        "datasets": {"digits": {"source": "digits"}},
        "models": {
            "benign": model,
            "lsb": {"from": "benign", "tampering": {"kind": "lsb", "bits": 8}},
        },
        "attacks": {
            "lsb": {"kind": "memorization.decode", "models": "lsb", "benign": "benign"},
            "sweep": {"kind": "memorization.low-bits", "models": "benign"},
            "later": {"kind": "memorization.low-bits", "models": "benign"},
        },
    }  # fmt: skip
    (tmp_path / "kept.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    attacks = tmp_path / "results" / "attacks" / "kept"
    summaries = {
        "lsb": {
            "test_accuracy": spread(0.9, 0.01),
            "accuracy_change": spread(0.0042, 0.001),
            "bit_error_rate": spread(0.125),
            "mape": spread(7.5),
            "mape_published": spread(39.91),
            "mape_floor": spread(7.25),
            "cosine_similarity": spread(0.5),
            "capacity": spread(99),
            "capacity_used": spread(0.9876, 0.001),
        },
        "sweep": {"test_accuracy": spread(0.8), "lossless_bits": spread(19.5, 0.5)},
    }
    for name, summary in summaries.items():
        write_json(
            attacks / name / "metrics.json",
            {
                "dataset": {"stand_in_for": None},
                "summary": summary,
                "replicates": [{}, {}],
            },
        )
    return tmp_path / "kept.yaml"


def test_memorization_has_the_columns_that_its_attacks_know(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = memory.parent / "summary"
    assert show(memory, "--summary", str(out)) == 0
    _, *rows = capsys.readouterr().out.strip("\n").splitlines()
    cells = [[c.strip() for c in row.split("  ") if c.strip()] for row in rows]
    assert cells == [
        ["attack", "seeds", "test acc.", "change", "bit errors", "MAPE", "min-max",
         "floor", "cosine", "capacity used", "lossless bits"],
        ["lsb", "2", "0.900 ±0.010", "+0.004 ±0.001", "0.125", "7.500", "39.910",
         "7.250", "0.500", "0.988 ±0.001", "-"],
        ["sweep", "2", "0.800", *["-"] * 7, "19.500 ±0.500"],
        ["later", "not run yet"],
    ]  # fmt: skip
    assert read_json(out / "kept" / "lsb.json") == {
        "test_accuracy": 0.9, "accuracy_change": 0.0042, "bit_error_rate": 0.125,
        "mape": 7.5, "mape_published": 39.91, "mape_floor": 7.25,
        "cosine_similarity": 0.5, "capacity_used": 0.9876,
    }  # fmt: skip


def test_a_study_that_has_not_run(
    study: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["show", str(study), "--results", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out.count("not run yet") == 3
