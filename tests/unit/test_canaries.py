"""Audits by canaries: from the step that makes them to the bound, and bad input."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.text import Text

from core_samples import train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.canaries import derive
from whatelse.datasets.store import (
    Dataset,
    canaries,
    given_split,
    open_dataset,
    write_dataset,
)
from whatelse.errors import UserError
from whatelse.figures import privacy_table
from whatelse.figures.results import load
from whatelse.figures.settings import PrivacyTable
from whatelse.membership import audit, epsilon
from whatelse.membership.canaries import evaluate
from whatelse.membership.settings import Audit, Epsilon
from whatelse.models.signals import Signals
from whatelse.records import read_json, write_json
from whatelse.studies.resolve import Resolved, load_study
from whatelse.training.plan import draw_plan, expected_members
from whatelse.training.settings import TrainSpec

MODULES: dict[str, Any] = {"audit": audit, "epsilon": epsilon}
SETTINGS: dict[str, Any] = {
    "audit": Audit(kind="membership.audit"),
    "epsilon": Epsilon(kind="membership.epsilon"),
}


def pictures(folder: Path, records: int = 120, **more: Any) -> Dataset:
    """Pictures whose class is a bright row; the first two thirds are to train on."""
    rng = np.random.default_rng(1)
    labels = np.arange(records) % 4
    inputs = rng.integers(0, 120, (records, 1, 8, 8), dtype=np.uint8)
    inputs[np.arange(records), 0, labels] += 100
    split = np.where(np.arange(records) < records * 2 // 3, "train", "test")
    write_dataset(
        folder, inputs=inputs, labels=labels,
        info={
            "name": "toy", "title": "Toy", "scale": 1 / 255,
            "class_names": [f"c{i}" for i in range(4)],
        },
        settings={"source": "npz"},
        **{"attributes": {"age": list(range(records)), "split": split}, **more},
    )  # fmt: skip
    return open_dataset(folder)


def with_canaries(place: Path, **step: Any) -> Dataset:
    pictures(place / "toy")
    spec = json.dumps({"kind": "canaries", "count": 40, **step})
    out = place / "canaries"
    words = ["derive", "--spec", spec, "--data", str(place / "toy"), "--out", str(out)]
    assert main(words) == 0
    return open_dataset(out)


# ---- the step


@pytest.mark.parametrize("records", ["wrong-labels", "noise", "plain"])
def test_canaries_are_made(tmp_path: Path, records: str) -> None:
    made, plain = (
        with_canaries(tmp_path, records=records),
        open_dataset(tmp_path / "toy"),
    )
    flags, training = canaries(made), given_split(made)
    assert flags.sum() == 40
    assert training[flags].all()
    added = 40 if records == "noise" else 0
    assert made.num_records == 120 + added
    assert training.sum() == 80 + added
    own = slice(0, 120)
    np.testing.assert_array_equal(made.inputs[own], plain.inputs)
    changed = made.labels[own] != plain.labels
    expected = flags[own] if records == "wrong-labels" else np.zeros(120, bool)
    np.testing.assert_array_equal(changed, expected)
    assert made.attributes["age"].iloc[:120].tolist() == list(range(120))
    assert "40 canaries" in made.info["remarks"][-1]
    if records == "noise":
        noise = made.inputs[flags]
        assert len(np.unique(made.labels[flags])) == 4
        # over the range, and no two alike
        assert noise.min() < 20
        assert noise.max() > 150
        assert len(np.unique(noise.reshape(40, -1), axis=0)) == 40
    again = derive({"kind": "canaries", "count": 40, "records": records}, plain)
    other = derive(
        {"kind": "canaries", "count": 40, "records": records, "seed": 1}, plain
    )
    assert again.attributes["canary"] == made.attributes["canary"].tolist()
    assert not np.array_equal(again.labels, other.labels) or records == "plain"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"count": 80}, "preprocess.count: 80 of 80 training records; allowed: 2..79"),
        ({"count": 1}, "greater than or equal to 2"),
        ({"records": "odd"}, "wrong-labels"),
    ],
)
def test_a_step_that_cannot_be_is_refused(
    tmp_path: Path, step: dict[str, Any], message: str
) -> None:
    data = pictures(tmp_path / "toy")
    with pytest.raises(Exception, match=re.escape(message)):
        derive({"kind": "canaries", "count": 10, **step}, data)


def test_without_a_split_there_is_nothing_to_mark(tmp_path: Path) -> None:
    data = pictures(tmp_path / "toy", attributes={})
    with pytest.raises(UserError, match="attribute 'split': missing"):
        derive({"kind": "canaries", "count": 10}, data)
    with pytest.raises(UserError, match="attribute 'canary': missing"):
        canaries(data)
    odd = pictures(tmp_path / "odd", attributes={"canary": ["yes"] * 120})
    with pytest.raises(UserError, match="allowed: true, false"):
        canaries(odd)


# ---- coins


def test_coins_are_fair_and_independent_of_each_other_and_of_company() -> None:
    parts, flags = np.arange(1500) < 1200, np.arange(1500) < 1000

    def plan(models: range, replicate: int = 0) -> Any:
        return draw_plan(
            np.arange(1500) % 3, models, members=None, non_members=None, seed=1,
            replicate=replicate, parts=parts, canaries=flags,
        )  # fmt: skip

    drawn = plan(range(40))
    coins = drawn.train[:, :1000]
    assert drawn.train[:, 1000:1200].all()
    assert not drawn.train[:, 1200:].any()
    np.testing.assert_array_equal(drawn.test, np.tile(flags, (40, 1)))
    assert coins.mean() == pytest.approx(0.5, abs=0.01)
    # no halves: how many are in varies as coins have it
    assert coins.sum(1).std() == pytest.approx(np.sqrt(250), rel=0.3)
    apart = np.corrcoef(coins)[np.triu_indices(40, 1)]
    assert abs(apart).max() < 0.15
    np.testing.assert_array_equal(plan(range(7, 9)).train, drawn.train[7:9])
    assert not np.array_equal(plan(range(1), replicate=1).train[0], drawn.train[0])
    assert expected_members(drawn, flags) == 200 + 500
    assert expected_members(drawn, None) == drawn.train[0].sum()


# ---- the attacks


def signals(
    models: int, *, leak: float, size: int = 300, seed: int = 0, privacy: Any = None
) -> Signals:
    """Margins of canaries that differ by canary and model, and by `leak` if in."""
    records = size + 100
    flags = np.arange(records) < size
    parts = np.arange(records) < size + 50
    label = np.arange(records) % 4
    plan = draw_plan(
        label, range(models), members=None, non_members=None, seed=seed, replicate=0,
        parts=parts, canaries=flags,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=(1, records), scale=2.0) + rng.normal(
        size=(models, records)
    )
    margin = margin + leak * plan.train
    return Signals(
        model=plan.models, train=plan.train,
        # right about 4 of 5 that it trains on, and 1 of 2 others
        correct=np.tile(np.arange(records) % 10, (models, 1))
        < np.where(plan.train, 8, 5),
        values=margin.astype(np.float32)[..., None], pool=plan.test[0], label=label,
        about={
            "name": "toy", "title": "Toy", "records": records, "classes": 4,
            "class_names": [f"c{i}" for i in range(4)],
            "stand_in_for": None, "remarks": [],
            **({"privacy": privacy} if privacy else {}),
        },
    )  # fmt: skip


def run(kind: str, replicates: list[Signals]) -> Any:
    return evaluate(MODULES[kind], SETTINGS[kind], replicates, seed=3)


@pytest.mark.parametrize("kind", ["audit", "epsilon"])
@pytest.mark.parametrize(("leak", "low", "high"), [(6.0, 1.5, 9.0), (0.0, 0.0, 0.5)])
def test_a_leak_is_bounded_and_chance_is_not(
    kind: str, leak: float, low: float, high: float
) -> None:
    promised = {"epsilon": 0.8, "delta": 1e-5}
    made = [signals(120, leak=leak, seed=s, privacy=promised) for s in range(2)]
    found = run(kind, made)
    for report in found.metrics["replicates"]:
        said = report["audit"]
        assert low <= said["epsilon_lower"] <= high
        assert (said["delta"], said["confidence"]) == (1e-5, 0.95)
        assert said["epsilon"] == 0.8
        assert said["epsilon_exceeded"] == (1.0 if leak else 0.0)
        assert report["privacy"] == promised
        # of the 50 that all train on and the 50 that nobody does; canaries left out
        assert report["target"]["train_accuracy"]["value"] == 0.8
        assert report["target"]["test_accuracy"]["value"] == 0.5
        controls = report["controls"]
        assert controls["positive"]["auc"]["low"] > 0.75
        assert controls["negative"]["p_value"] > 0.001
    summary = found.metrics["summary"]
    assert summary["epsilon"]["mean"] == 0.8
    assert summary["epsilon_exceeded"]["mean"] == (1.0 if leak else 0.0)
    rows = found.scores[found.scores["replicate"] == 0]
    if kind == "audit":
        # a row a canary, the coins of the target
        assert len(rows) == 300
        np.testing.assert_array_equal(rows["member"], made[0].train[0, :300])
    else:
        # a row a model: one canary alone is judged by, on every other model
        assert len(rows) == 60
        (canary,) = rows["record"].unique()
        np.testing.assert_array_equal(rows["member"], made[0].train[1::2, canary])


def test_shadows_tell_how_hard_a_canary_is() -> None:
    alone, helped = (
        run("audit", [signals(models, leak=2.0)]) for models in (1, 12)
    )  # fmt: skip
    assert helped.metrics["summary"]["auc"]["mean"] > 0.88
    assert alone.metrics["summary"]["auc"]["mean"] < 0.84
    (report,) = alone.metrics["replicates"]
    assert "tossed afterwards" in report["controls"]["negative"]["what"]
    assert "privacy" not in report
    assert report["audit"]["epsilon_exceeded"] is None
    assert "epsilon" not in alone.metrics["summary"]


def test_the_negative_control_finds_coins_that_hang_together() -> None:
    """Were two models given the same coins, their scores would tell each other's."""
    honest = signals(12, leak=3.0)
    train = honest.train.copy()
    train[1] = train[0]
    values = honest.values + 3.0 * (train & ~honest.train)[..., None]
    tied = Signals(
        honest.model, train, honest.correct, values, honest.pool, honest.label,
        honest.about,
    )  # fmt: skip
    (report,) = run("audit", [tied]).metrics["replicates"]
    assert report["controls"]["negative"]["p_value"] < 1e-6


def test_all_shares_of_guesses_share_the_error() -> None:
    many = Audit(kind="membership.audit", guesses=(1.0, 1.0, 1.0, 1.0, 1.0))
    one = Audit(kind="membership.audit", guesses=(1.0,))
    made = signals(1, leak=3.0)
    margins, inside = made.values[:, :300, 0], made.train[:, :300]
    found = [audit.judge(each, margins, inside).bound for each in (many, one)]
    assert found[0]["epsilon_lower"] < found[1]["epsilon_lower"]
    assert found[0]["right"] == found[1]["right"]
    assert len(found[0]["tried"]) == 5


def test_from_the_data_set_to_the_bound(tmp_path: Path) -> None:
    """Every verb: models of few records learn their wrong labels by heart."""
    with_canaries(tmp_path)
    spec = {
        **train_spec(split="coins", members=None),
        "architecture": {"kind": "mlp", "hidden": [64]},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 0.02}, "epochs": 80,
            "batch_size": 30,
        },
    }  # fmt: skip
    private = copy.deepcopy(spec)
    private["training"]["privacy"] = {"clip": 1.0, "epsilon": 2}
    bounds = {}
    for name, own in (("open", spec), ("private", private)):
        place = tmp_path / name
        data = tmp_path / "canaries"
        assert train_block(place, data, "0:6", spec=own) == 0
        described = read_json(place / "b" / "model.json").get("privacy")
        asked = {"kind": "signals", "release": {"kind": "probabilities"}}
        words = ["query", "--spec", json.dumps(asked), "--data", str(data)]
        words += ["--block", str(place / "b"), "--out", str(place / "signals")]
        assert main([*words, "--device", "cpu"]) == 0
        attack = {
            "study": "s", "name": "a", "grid": {}, "seed": 1,
            "settings": {"kind": "membership.audit"},
        }  # fmt: skip
        words = ["attack", "--spec", json.dumps(attack), "--out", str(place / "a")]
        assert main([*words, "--input", "signals.0", str(place / "signals")]) == 0
        metrics = read_json(place / "a" / "metrics.json")
        (report,) = metrics["replicates"]
        bounds[name] = report["audit"]["epsilon_lower"]
        assert "privacy" not in metrics["dataset"]
        if name == "private":
            assert 1.9 < described["epsilon"] <= 2
            # 40 others and half of the canaries
            assert described["sampled"] == 30 / 60
            assert described["steps"] == 160
            assert report["privacy"] == described
            assert report["audit"]["epsilon_exceeded"] == 0.0
        else:
            assert described is None
    assert bounds["open"] > 1.0
    assert bounds["private"] < 0.5


def test_a_table_of_privacy(tmp_path: Path) -> None:
    promised = {"epsilon": 3.96, "delta": 1e-5}
    folders = []
    for name, leak, privacy in (("open", 6.0, None), ("private", 0.0, promised)):
        found = run("audit", [signals(3, leak=leak, privacy=privacy)])
        head = {"kind": "membership.audit", "name": name, "grid": {}}
        about = {k: v for k, v in found.dataset.items() if k != "class_names"}
        folder = tmp_path / name
        folder.mkdir()
        write_json(folder / "metrics.json", {**head, "dataset": about, **found.metrics})
        folders.append(folder)
    settings = PrivacyTable(
        kind="privacy_table", attacks=("open", "private"), title="T"
    )
    figure, data = privacy_table.draw(settings, load(folders, settings.attacks))
    words = [text.get_text() for text in figure.findobj(Text)]
    assert {"promised", "3.96"} <= set(words)
    assert "At least: the lower bound" in " ".join(words).replace("\n", " ")
    assert data["test_accuracy_mean"].tolist() == [0.5, 0.5]
    assert data["epsilon_mean"].isna().tolist() == [True, False]
    assert data["epsilon_lower_mean"][0] > 1.5
    assert data["epsilon_lower_mean"][1] < 0.5


# ---- the grammar

STUDY: dict[str, Any] = {
    "study": "toy", "question": "membership", "title": "A toy", "seed": 1,
    "datasets": {
        "digits": {"source": "digits"},
        "split": {"from": "digits", "preprocess": {"kind": "split", "members": 900}},
        "canaries": {"from": "split", "preprocess": {"kind": "canaries", "count": 99}},
    },
    "models": {
        "net": {
            "dataset": "canaries", "architecture": {"kind": "mlp"}, "split": "coins",
            "training": {
                "optimizer": {"kind": "adam"}, "epochs": 2,
                "privacy": {"clip": 1.0, "epsilon": 4},
            },
            "shadows": 79, "replicates": 2, "block": 40,
        },
        "plain": {
            "dataset": "split", "architecture": {"kind": "mlp"}, "split": "given",
            "training": {"optimizer": {"kind": "adam"}, "epochs": 2}, "shadows": 0,
        },
    },
    "attacks": {
        "audit": {"kind": "membership.audit", "models": "net"},
        "epsilon": {"kind": "membership.epsilon", "models": "net"},
    },
}  # fmt: skip


def resolve(place: Path, section: str = "", entry: str = "", **more: Any) -> Resolved:
    study = copy.deepcopy(STUDY)
    if section:
        study[section][entry] = {**study[section].get(entry, {}), **more}
    path = place / "toy.yaml"
    path.write_text(yaml.safe_dump(study))
    return load_study(path)


def test_an_audit_reads_all_models_of_a_replicate(tmp_path: Path) -> None:
    resolved = resolve(tmp_path)
    for attack in resolved.of("attack"):
        assert set(attack.inputs) == {"signals.0", "signals.1"}
        assert [len(own) for own in attack.inputs.values()] == [2, 2]
        assert f"whatelse.{attack.spec['settings']['kind']}" in attack.modules
    for block in resolved.of("train"):
        TrainSpec.model_validate_json(block.spec_json)
    assert {q.spec["kind"] for q in resolved.of("query")} == {"signals"}


ADAM = {"optimizer": {"kind": "adam"}, "epochs": 2}
PRIVATE = {**ADAM, "privacy": {"clip": 1.0, "epsilon": 4}}


@pytest.mark.parametrize(
    ("section", "entry", "more", "line"),
    [
        # no bound from the records of one model, as if they were independent
        ("models", "net", {"shadows": 7},
         "attacks.epsilon.models: net has 8 models a replicate; allowed: at least 80"),
        ("models", "net", {"split": "given"},
         "attacks.audit.models: net has no canaries, membership.audit needs them; "
         "allowed: an entry with split: coins"),
        ("attacks", "loss", {"kind": "membership.threshold", "models": "net"},
         "attacks.loss.models: net has canaries, membership.threshold takes them for "
         "other records; allowed: an entry without split: coins"),
        ("attacks", "lira", {"kind": "membership.lira", "models": "net"},
         "allowed: an entry without split: coins"),
        ("attacks", "detect",
         {"kind": "memorization.detect", "models": "plain", "innocent": "net",
          "unseen": "plain"},
         "attacks.detect.innocent: net has canaries; allowed: an entry without split"),
        ("models", "net", {"dataset": "split"},
         "models.net.split: coins, and its data set has no canaries; allowed: one"),
        ("models", "net", {"members": 10}, "members: 10; allowed with coins: left out"),
        ("models", "net", {"non_members": 9},
         "non_members: 9; allowed with coins: left out"),
        ("attacks", "audit", {"delta": 1e-6},
         "attacks.audit.delta: 1e-06, and net is promised epsilon at 1e-05; allowed: "
         "the same"),
        ("attacks", "audit", {"guesses": []}, "guesses"),
        ("attacks", "audit", {"confidence": 1.0}, "confidence"),
        ("models", "net", {"tampering": {"kind": "sign", "strength": 1.0}},
         "tampering: sign, which looks at records beside the gradients; allowed with"),
        ("models", "net", {"architecture": {"kind": "resnet"}},
         "architecture.norm: batch, which mixes the records of a batch; allowed with "
         "training.privacy: group, none"),
        ("models", "net", {"architecture": {"kind": "gru"}},
         "architecture.kind: gru, whose layers give no gradients of single records"),
        ("models", "more", {"from": "net", "training": PRIVATE}, "privacy"),
        ("models", "net", {"training": {**ADAM, "privacy": {"clip": 1.0}}},
         "exactly one of epsilon and noise"),
        ("models", "net",
         {"training": {**ADAM, "privacy": {"clip": -1.0, "noise": 1.0}}},
         "privacy.clip"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    tmp_path: Path, section: str, entry: str, more: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        resolve(tmp_path, section, entry, **more)
    assert "\n" not in str(caught.value)
