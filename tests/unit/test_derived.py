"""``whatelse derive``: splits by lot, and records added by somebody else."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import sparse

from core_samples import train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import Dataset, given_split, open_dataset, write_dataset
from whatelse.datasets.task import Task
from whatelse.errors import UserError
from whatelse.memorization.payload import Coding
from whatelse.memorization.payload_read import decode
from whatelse.records import canonical_json, read_json
from whatelse.sources import closure
from whatelse.steps import STEPS
from whatelse.studies.resolve import load_study
from whatelse.training.blocks import load_block

SPLIT = {"kind": "split", "members": 40, "seed": 0}
ABUSE = {
    "kind": "capacity-abuse", "inputs": 400, "secret": {"records": 1, "size": 4},
}  # fmt: skip


def pictures(folder: Path, *, classes: int = 3, **more: Any) -> Path:
    """Sixty pictures; half are of class 0, and so on downwards."""
    rng = np.random.default_rng(4)
    sizes = [30, 20, 10] if classes == 3 else [60 // classes] * classes
    write_dataset(
        folder,
        inputs=rng.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8),
        labels=rng.permutation(np.repeat(np.arange(classes), sizes)),
        info={
            "name": "toy", "title": "Toy", "scale": 1 / 255, "remarks": ["odd"],
            "class_names": [f"c{i}" for i in range(classes)], "licence": "none",
        },
        settings={"source": "npz"},
        **{"attributes": {"age": list(range(60)), "who": ["x", "y"] * 30}, **more},
    )  # fmt: skip
    return folder


def derive(data: Path, out: Path, settings: dict[str, Any]) -> int:
    words = ["derive", "--spec", json.dumps(settings), "--data", str(data)]
    return main([*words, "--out", str(out)])


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Dataset]:
    """Derive a data set, from the pictures or from another."""
    data = pictures(tmp_path / "toy")

    def call(settings: dict[str, Any], name: str = "out", of: Path = data) -> Dataset:
        assert derive(of, tmp_path / name, settings) == 0
        return open_dataset(tmp_path / name)

    return call


# ---- splits


def test_a_split_holds_the_classes_in_proportion(made: Callable[..., Dataset]) -> None:
    dataset = made(SPLIT)
    train = given_split(dataset)
    assert np.bincount(dataset.labels[train]).tolist() == [20, 13, 7]
    assert np.bincount(dataset.labels[~train]).tolist() == [10, 7, 3]


def test_a_split_changes_nothing_else(
    made: Callable[..., Dataset], tmp_path: Path
) -> None:
    before, after = open_dataset(tmp_path / "toy"), made(SPLIT)
    np.testing.assert_array_equal(before.inputs, after.inputs)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert list(after.attributes.columns) == ["age", "who", "split"]
    assert after.attributes["age"].tolist() == list(range(60))
    assert after.attributes["who"].tolist() == ["x", "y"] * 30
    for field in ("name", "title", "class_names", "scale", "licence", "remarks"):
        assert after.info[field] == before.info[field]


def test_a_split_follows_from_its_seed(
    made: Callable[..., Dataset], tmp_path: Path
) -> None:
    one, two = made(SPLIT, "one"), made(SPLIT, "two")
    other = made({**SPLIT, "seed": 1}, "other")
    assert (given_split(one) == given_split(two)).all()
    assert (given_split(one) != given_split(other)).any()
    records = [read_json(tmp_path / name / "record.json") for name in ("one", "two")]
    assert records[0] == records[1]
    assert records[0]["spec"] == SPLIT
    assert set(records[0]["inputs"]) == {"data"}


def test_a_split_replaces_an_older_one(made: Callable[..., Dataset]) -> None:
    first = made(SPLIT, "first")
    again = made({**SPLIT, "members": 12}, "again", first.folder)
    assert given_split(again).sum() == 12
    assert list(again.attributes.columns) == ["age", "who", "split"]


def test_a_data_set_without_attributes_gets_one(tmp_path: Path) -> None:
    data = pictures(tmp_path / "bare", attributes=None)
    assert derive(data, tmp_path / "out", SPLIT) == 0
    assert list(open_dataset(tmp_path / "out").attributes.columns) == ["split"]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({**SPLIT, "members": 60}, "preprocess.members: 60; allowed: below 60"),
        ({**SPLIT, "members": 10**9}, "preprocess.members: 1000000000; allowed: below"),
        # three classes do not go into two records
        ({**SPLIT, "members": 2}, "preprocess.members: 2: "),
        (ABUSE, "attribute 'split': missing; allowed: a data set with a split"),
    ],
)
def test_steps_that_cannot_be_are_one_line(
    tmp_path: Path, settings: dict[str, Any], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = pictures(tmp_path / "toy")
    assert derive(data, tmp_path / "out", settings) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert line in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train"] * 59 + ["valid"], "'valid'; allowed: train, test"),
        ([1] * 60, "'1'; allowed: train, test"),
        ([*["train"] * 59, None], "'None'; allowed: train, test"),
    ],
)
def test_a_split_of_other_words_is_refused(
    tmp_path: Path, words: list[Any], line: str
) -> None:
    data = pictures(tmp_path / "toy", attributes={"split": words})
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        given_split(open_dataset(data))
    assert "\n" not in str(caught.value)


def test_a_missing_data_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert derive(tmp_path / "none", tmp_path / "out", SPLIT) == 2
    assert "not a whole data set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---- capacity abuse


def test_synthetic_records_come_behind_the_old_ones(
    made: Callable[..., Dataset],
) -> None:
    clean = made(SPLIT, "clean")
    dataset = made({**ABUSE, "inputs": 900}, "abused", clean.folder)
    assert dataset.num_records == 60 + 900
    np.testing.assert_array_equal(dataset.inputs[:60], clean.inputs)
    np.testing.assert_array_equal(dataset.labels[:60], clean.labels)
    assert dataset.inputs.dtype == np.uint8
    train = given_split(dataset)
    np.testing.assert_array_equal(train[:60], given_split(clean))
    assert train[60:].all()
    # what is known of the old records is missing for the others
    ages = dataset.attributes["age"]
    assert ages[:60].tolist() == list(range(60))
    assert ages[60:].isna().all()
    assert dataset.attributes["who"][60:].isna().all()
    assert dataset.info["remarks"][0] == "odd"
    assert "900 synthetic" in dataset.info["remarks"][-1]
    assert dataset.info["title"] == "Toy, with 900 synthetic records"


@pytest.mark.parametrize(("classes", "bits"), [(2, 1), (3, 1), (4, 2), (10, 3)])
def test_labels_carry_whole_bits(tmp_path: Path, classes: int, bits: int) -> None:
    """Three classes hold one bit, ten three: labels from 2**bits on are never used."""
    data = pictures(tmp_path / "toy", classes=classes)
    assert derive(data, tmp_path / "clean", SPLIT) == 0
    # one picture of 4x4 in four bits a pixel: 64 bits beside sync word and header
    settings = {**ABUSE, "inputs": 900}
    assert derive(tmp_path / "clean", tmp_path / "abused", settings) == 0
    dataset = open_dataset(tmp_path / "abused")
    told = dataset.labels[60:]
    assert set(told.tolist()) == set(range(2**bits))
    stream = ((told[:, None] >> np.arange(bits - 1, -1, -1)) & 1).ravel()
    hidden = np.frombuffer(decode(stream, Coding(), size=8), np.uint8)
    nibbles = np.stack([hidden >> 4, hidden & 15], 1).ravel()
    # it is one of the training pictures, in the upper half of each pixel
    members = np.flatnonzero(given_split(dataset)[:60])
    small = dataset.inputs[members, 0].reshape(-1, 4, 2, 4, 2).mean((2, 4))
    distance = np.abs(small.reshape(-1, 16) - (nibbles * 16.0 + 8)).max(1)
    assert (distance <= 9).sum() == 1


def test_sparse_data_sets_grow_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((60, 40), dtype=np.float32) * (rng.random((60, 40)) < 0.2)
    tokens = [rng.integers(0, 40, 5).astype(np.int32) for _ in range(60)]
    write_dataset(
        tmp_path / "words", inputs=sparse.csr_array(rows), labels=np.arange(60) % 4,
        info={"name": "toy", "title": "Toy", "class_names": list("abcd")},
        settings={"source": "npz"},
        attributes={"split": ["train"] * 40 + ["test"] * 20, "tokens": tokens},
    )  # fmt: skip
    settings = {"kind": "capacity-abuse", "inputs": 500, "secret": {"records": 1}}
    assert derive(tmp_path / "words", tmp_path / "abused", settings) == 0
    dataset = open_dataset(tmp_path / "abused")
    assert dataset.is_sparse
    assert dataset.inputs.shape == (560, 40)
    np.testing.assert_array_equal(dataset.inputs[:60].toarray(), rows)
    # two words a document, as published
    assert np.diff(dataset.inputs.indptr)[60:].tolist() == [2] * 500
    np.testing.assert_array_equal(dataset.attributes["tokens"][7], tokens[7])
    assert dataset.attributes["tokens"][60:].isna().all()


def test_another_task_on_the_same_records(made: Callable[..., Dataset]) -> None:
    before = made({"kind": "split", "members": 40, "seed": 0}, "before")
    groups = {"kind": "task", "classes": {"many": ["c0"], "few": ["c1", "c2"]}}
    dataset = made({**groups, "keep_as": "was"}, of=before.folder)
    assert dataset.info["class_names"] == ["many", "few"]
    assert dataset.labels.tolist() == (before.labels > 0).astype(int).tolist()
    was = [f"c{label}" for label in before.labels]
    assert dataset.attributes["was"].tolist() == was
    assert dataset.attributes["who"].tolist() == ["x", "y"] * 30
    # the split is what it was
    assert (given_split(dataset) == given_split(before)).all()
    np.testing.assert_array_equal(dataset.inputs, before.inputs)
    people = made({"kind": "task", "attribute": "who"}, "people")
    assert people.info["class_names"] == ["x", "y"]
    assert people.labels.tolist() == [0, 1] * 30
    assert "former_label" in people.attributes


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"attribute": "size"}, "preprocess.attribute: 'size': no attribute of toy"),
        ({"classes": {"a": ["c0"], "b": ["c1"]}}, "'c2' belongs to none"),
        (
            {"attribute": "who", "keep_as": "age"},
            "keep_as: 'age': an attribute already",
        ),
        ({"attribute": "age"}, "class 0 has 1 record; allowed: at least 2"),
    ],
)
def test_tasks_that_cannot_be(
    tmp_path: Path, settings: dict[str, Any], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = pictures(tmp_path / "toy")
    assert derive(data, tmp_path / "out", {"kind": "task", **settings}) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="'c0' occurs twice"):
        Task.model_validate({"kind": "task", "classes": {"a": ["c0"], "b": ["c0"]}})


def test_a_step_is_in_its_code() -> None:
    for kind, module in STEPS.items():
        own = closure("whatelse.datasets.derived", module)
        assert {path.stem for path in own} >= {"derived", kind.replace("-", "_")}
    # a split has nothing to do with secrets
    split = closure("whatelse.datasets.derived", STEPS["split"])
    assert not any("memorization" in path.parts for path in split)


# ---- who trains is told nothing


NET = {
    "split": "given",
    "architecture": {"kind": "mlp", "hidden": [5]},
    "training": {"optimizer": {"kind": "adam"}, "epochs": 3},
    "shadows": 0,
}
STUDY = {
    "study": "toy", "question": "memorization", "title": "Toy", "seed": 3,
    "datasets": {
        "digits": {"source": "digits"},
        "clean": {"from": "digits", "preprocess": {"kind": "split", "members": 1200}},
        "abused": {
            "from": "clean", "preprocess": {"kind": "capacity-abuse", "inputs": 300},
        },
    },
    "models": {
        "benign": {"dataset": "clean", **NET}, "abused": {"dataset": "abused", **NET},
    },
    "attacks": {
        "read": {
            "kind": "memorization.decode", "models": "abused", "benign": "benign"
        },
    },
}  # fmt: skip


def words_of(value: Any) -> set[str]:
    """Every name and text in a description."""
    if isinstance(value, dict):
        return set(value).union(*map(words_of, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(words_of, value))
    return {value} if isinstance(value, str) else set()


def test_the_trainer_is_told_nothing_but_another_path(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    resolved = load_study(path)
    benign, abused = (
        next(a for a in resolved.of("train") if a.labels["entry"] == entry)
        for entry in ("benign", "abused")
    )
    assert benign.spec == abused.spec
    assert benign.modules == abused.modules
    assert set(benign.inputs) == set(abused.inputs) == {"data"}
    assert benign.inputs != abused.inputs
    clean, step = resolved.of("preprocess")
    assert (benign.inputs["data"], abused.inputs["data"]) == (
        [clean.folder], [step.folder]
    )  # fmt: skip
    # no word of the step is in what the trainer is told, nor any of its code
    special = words_of(step.spec) - {"kind", "seed"}
    assert {"capacity-abuse", "inputs", "secret"} <= special
    told = canonical_json(abused.spec)
    assert not [word for word in special if word in words_of(abused.spec)]
    assert "abuse" not in told
    assert "secret" not in told
    code = {file.as_posix() for file in closure(*abused.modules)}
    assert not any("memorization" in file for file in code)


def test_models_are_trained_alike_on_either(
    made: Callable[..., Dataset], tmp_path: Path
) -> None:
    """The verb's words differ in nothing but the path; records say no more."""
    clean = made(SPLIT, "clean")
    abused = made({**ABUSE, "inputs": 900}, "abused", clean.folder)
    spec = train_spec(split="given", members=None)
    for name, dataset in (("honest", clean), ("used", abused)):
        assert not train_block(tmp_path, dataset.folder, "0:1", spec=spec, name=name)
    honest, used = (
        read_json(tmp_path / name / "record.json") for name in ("honest", "used")
    )
    differ = {field for field in honest if honest[field] != used[field]}
    assert differ <= {"inputs", "outputs"}
    assert load_block(tmp_path / "honest").plan.train.sum() == 40
    assert load_block(tmp_path / "used").plan.train.sum() == 940
