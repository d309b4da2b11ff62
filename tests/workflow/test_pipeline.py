"""The workflow as a whole: its form, one run, the report, repeated runs, reruns."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from checkouts import STUDY, Checkout

pytestmark = pytest.mark.workflow


def test_linters_find_nothing(clean: Checkout) -> None:
    said = clean.snakemake("--lint")
    assert "in a good condition" in said
    clean.call("snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.parametrize("target", ["all", "membership"])
def test_every_target_resolves(clean: Checkout, target: str) -> None:
    said = clean.snakemake("--dry-run", "--quiet", "rules", "host", "--", target)
    assert re.search(r"^train_block +2$", said, flags=re.MULTILINE)


def test_all_studies_resolve_together(repository: Path, clean: Checkout) -> None:
    studies = sorted(str(p) for p in clean.root.glob("config/studies/*.yaml"))
    assert len(studies) >= 2
    clean.whatelse("check", *studies)
    said = clean.snakemake(
        "--dry-run",
        "--quiet",
        "rules",
        "host",
        "--config",
        f"studies={yaml.safe_dump(studies)}",
    )
    assert re.search(rf"^track_study +{len(studies)}$", said, flags=re.MULTILINE)


def test_hundreds_of_blocks_resolve(clean: Checkout) -> None:
    clean.edit_study({"models.net.shadows": 1999, "models.net.block": 10})
    said = clean.snakemake("--dry-run", "--quiet", "rules", "host")
    assert re.search(r"^train_block +400$", said, flags=re.MULTILINE)


def test_run_makes_everything_once(undisturbed: Checkout, tmp_path: Path) -> None:
    said = undisturbed.said
    assert "shadow" in said
    assert "threshold" in said
    assert "results/report.html" in said
    assert undisturbed.strays() == []
    assert not any((undisturbed.root / "results" / "progress").rglob("*.safetensors"))
    before = {p: p.stat().st_mtime_ns for p in undisturbed.results.rglob("*.*")}
    again = undisturbed.run()
    assert "Nothing to do" in again.stdout
    assert again.stderr == ""
    assert undisturbed.planned() == {}
    after = {p: p.stat().st_mtime_ns for p in undisturbed.results.rglob("*.*")}
    assert after == before


def test_report_stands_alone(undisturbed: Checkout) -> None:
    text = (undisturbed.results / "report.html").read_text(encoding="utf-8")
    loaded = re.findall(r"""(?:src|href)=["'](?!data:|#)([^"'{$]+)["']""", text)
    fetched = re.findall(r"""@import[^;]+|<link[^>]+>""", text)
    assert [place for place in loaded if place.startswith(("http", "//"))] == []
    assert fetched == []
    title = yaml.safe_load(undisturbed.study.read_text())["title"]
    for words in (
        "What else has the model learned?",  # the start page
        title,  # the category
        "ROC of the attack", "Accuracy of the nets",  # labels
        "picture", "values", "Published numbers and ours",
        "ROC curves on linear and on logarithmic axes",  # captions
        "Claims of",
    ):  # fmt: skip
        assert words in text, words
    # the start page lists what was found, and nothing went wrong in making it
    assert "Three epochs give nobody away: auc <strong>" in text
    assert "System Message" not in text


def test_joint_models_from_data_to_mlflow(clean: Checkout) -> None:
    """What a participant saw, attacked, drawn, judged, tracked; nothing done twice."""
    study = clean.root / "config" / "studies" / "properties-digits.yaml"
    small = yaml.safe_load(study.read_text())
    joint = small["models"]["joint"]
    joint["collaboration"]["iterations"] = 130
    joint["adversary"]["during"] = [50, 130]
    crowd = {**joint, "foreach": {"participants": [2, 3]}}
    small |= {
        "models": {"joint": joint, "crowd": crowd},
        "figures": {name: small["figures"][name] for name in ("timeline", "layers")},
        "claims": small["claims"][:2],
    }
    study.write_text(yaml.safe_dump(small))
    name = "config/studies/properties-digits.yaml"
    said = clean.whatelse("run", name).stdout
    assert re.search(r"primes.participants-3 +1 ", said)
    assert "controls: all hold" in said
    assert not clean.strays()
    assert (clean.results / "figures/properties-digits/layers/figure.png").exists()
    # two joint models, of which one is of both entries, and three attacks
    keys = [key for key, count in clean.runs_by_key() if count == 1]
    assert sum("collaborations/" in key for key in keys) == 2
    assert sum("attacks/properties-digits/" in key for key in keys) == 3
    assert "Nothing to do" in clean.whatelse("run", name).stdout
    assert "0 to be made again" in clean.whatelse("adopt", name).stdout


def results_of(checkout: Checkout) -> dict[str, bytes]:
    """Return all bytes that a record vouches for, and the records."""
    return {
        str(path.relative_to(checkout.root)): path.read_bytes()
        for folder in ("datasets", "models", "outputs", "attacks", "figures", "claims")
        for path in sorted((checkout.results / folder).rglob("*.*"))
        if path.name not in ("telemetry.json", "history.jsonl")
    }


def test_equal_seed_equal_bytes(undisturbed: Checkout, clean: Checkout) -> None:
    clean.run()
    ours, theirs = results_of(clean), results_of(undisturbed)
    assert ours.keys() == theirs.keys()
    assert any(name.endswith("models.safetensors") for name in ours)
    assert any(name.endswith("metrics.json") for name in ours)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_another_seed_other_numbers(finished: Checkout) -> None:
    metrics, models = finished.metrics(), set(finished.results.glob("models/*"))
    finished.edit_study({"seed": 1, "figures": {}, "models.net.replicates": 1})
    finished.run()
    assert finished.metrics()["replicates"][0] != metrics["replicates"][0]
    (new,) = set(finished.results.glob("models/*")) - models
    assert all(
        next(new.glob(f"block_*/{name}")).read_bytes()
        != next(old.glob(f"block_*/{name}")).read_bytes()
        for old in models
        for name in ("models.safetensors", "plan.npz")
    )


ATTACKS_ON = {"run_attack": 2, "draw_figure": 2, "check_claims": 1, "track_study": 1}
MODELS_ON = {"train_block": 2, "query_block": 2} | ATTACKS_ON
ALL = {"prepare_dataset": 1} | MODELS_ON


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("membership/evaluate.py", ATTACKS_ON),
        ("membership/threshold.py", {"run_attack": 1, "draw_figure": 1,
                                     "check_claims": 1, "track_study": 1}),
        ("figures/roc.py", {"draw_figure": 1, "track_study": 1}),
        ("figures/trend.py", {}),
        ("claims/judge.py", {"check_claims": 1, "track_study": 1}),
        ("training/ensemble.py", MODELS_ON),
        ("datasets/loaders/digits.py", ALL),
        ("datasets/loaders/cifar.py", {}),
        ("records.py", ALL),
        ("studies/show.py", {}),
    ],
)  # fmt: skip
def test_an_edit_reruns_what_it_touches(
    finished: Checkout, file: str, jobs: dict[str, int]
) -> None:
    source = finished.root / "src" / "whatelse" / file
    source.write_text(source.read_text() + "\n# edited\n")
    assert finished.planned() == jobs


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"attacks.threshold.false_positive_rates": [0.2]},
         {"run_attack": 1, "draw_figure": 1, "check_claims": 1, "track_study": 1}),
        ({"figures.roc.title": "Other words"}, {"draw_figure": 1, "track_study": 1}),
        ({"title": "Other words"}, {}),
        ({"models.net.training.epochs": 4}, MODELS_ON),
        ({"models.net.replicates": 3},
         MODELS_ON | {"train_block": 1, "query_block": 1}),
    ],
)  # fmt: skip
def test_a_setting_reruns_what_it_touches(
    finished: Checkout, change: dict[str, object], jobs: dict[str, int]
) -> None:
    finished.edit_study(change)
    assert finished.planned() == jobs


def test_new_times_alone_rerun_nothing(finished: Checkout) -> None:
    for path in [
        *finished.root.glob("src/**/*.py"),
        *finished.root.glob("config/**/*"),
    ]:
        os.utime(path)
    assert finished.planned() == {}


def test_an_edited_figure_is_redrawn_alone(finished: Checkout) -> None:
    def times() -> dict[str, int]:
        return {
            str(path.parent.relative_to(finished.results)): path.stat().st_mtime_ns
            for path in finished.results.rglob("record.json")
        }

    source = finished.root / "src" / "whatelse" / "figures" / "roc.py"
    source.write_text(source.read_text() + "\n# edited\n")
    before = times()
    said = finished.run().stderr
    after = times()
    assert {name for name in after if after[name] != before[name]} == {
        f"figures/{STUDY}/roc"
    }
    assert "draw_figure" in said
    # and what is missing is made again
    shutil.rmtree(finished.results / "figures")
    assert finished.planned() == {"draw_figure": 2, "track_study": 1}
