"""Phrases that users wrote, and how far a language model memorised them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core_samples import train_block, train_spec, training, words_of_users
from whatelse.cli import main
from whatelse.datasets.phrases import ORDINARY, PHRASE, derive
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec
from whatelse.membership.exposure import exposures_of, find, log_probabilities
from whatelse.models.features import module_of
from whatelse.models.settings import Lstm
from whatelse.training.blocks import load_block

USERS, WINDOWS, LENGTH, WORDS = 30, 3, 8, 40
STEP = {"kind": "phrases", "count": 24, "copies": 8, "length": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users of random words, some of whom repeat a phrase, and a model of ten."""
    place = tmp_path_factory.mktemp("phrases")
    rng = np.random.default_rng(5)
    count = USERS * WINDOWS
    words_of_users(
        place / "data", rng.integers(1, WORDS + 1, (count, LENGTH)),
        rng.integers(1, WORDS + 1, count), users=USERS, words=WORDS,
    )  # fmt: skip
    arguments = ["derive", "--spec", json.dumps(STEP), "--data", str(place / "data")]
    assert main([*arguments, "--out", str(place / "told")]) == 0
    spec = train_spec(
        architecture=Lstm(kind="lstm", embedding=32, hidden=32, layers=1).model_dump(),
        members=10, non_members=10, unit="author",
        training=training(
            loss="next-word", epochs=60, batch_size=8,
            optimizer={"kind": "adam", "learning_rate": 0.01},
        ).model_dump(mode="json"),
    )  # fmt: skip
    assert train_block(place, place / "told", "0:1", spec=spec) == 0
    return place


def attack(place: Path) -> AttackSpec:
    settings = {"kind": "membership.exposure", "alternatives": 999}
    return AttackSpec(study="s", name="a", grid={}, seed=1, settings=settings)


def test_each_phrase_is_one_users(place: Path) -> None:
    before, told = open_dataset(place / "data"), open_dataset(place / "told")
    added = told.num_records - before.num_records
    assert added == STEP["count"] * STEP["copies"]
    np.testing.assert_array_equal(told.inputs[:-added], before.inputs)
    table = told.attributes[-added:]
    assert table.groupby(PHRASE).size().tolist() == [8] * 24
    assert table.groupby(PHRASE)["author"].nunique().max() == 1
    assert table["author"].nunique() == 24
    rows = np.column_stack([told.inputs[-added:, :4], told.labels[-added:]])
    assert len(np.unique(rows, axis=0)) == 24
    assert rows.min() >= ORDINARY
    assert (told.inputs[-added:, 4:] == 0).all()
    assert (told.attributes[PHRASE][:-added] == 0).all()


def test_exposure_by_hand() -> None:
    others = np.array([-9.0, -7.0, -5.0])
    found = exposures_of(np.array([-1.0, -6.0, -7.0, -20.0]), others)
    np.testing.assert_allclose(found, [2, 1, 2 - math.log2(3), 0])
    # of what was never seen it is 1 / ln 2 bits in the mean
    rng = np.random.default_rng(1)
    drawn = exposures_of(rng.normal(size=4000), rng.normal(size=9999))
    assert drawn.mean() == pytest.approx(1 / math.log(2), abs=0.1)


def test_log_probabilities_are_those_of_the_module(place: Path) -> None:
    block = load_block(place / "b")
    phrases = np.random.default_rng(0).integers(3, WORDS + 1, (5, 5))
    found = log_probabilities(block, phrases)
    alone = {name: value[0] for name, value in block.parameters.items()}
    module = module_of(block.architecture, alone)
    for phrase, total in zip(phrases, found, strict=True):
        words = torch.tensor(phrase[None, :-1]).float()
        with torch.inference_mode():
            logits = module.all_logits(words)  # type: ignore[operator]
        logs = logits[0].log_softmax(-1)
        by_hand = sum(float(logs[i, phrase[i + 1]]) for i in range(4))
        assert total == pytest.approx(by_hand, abs=1e-4)


def test_what_was_repeated_is_exposed(place: Path) -> None:
    inputs = {"data": [place / "told"], "models.0": [place / "b"]}
    found = find(attack(place), inputs)
    (replicate,) = found.metrics["replicates"]
    assert found.metrics["summary"]["exposure"]["mean"] > 7
    assert found.metrics["summary"]["exposure_unseen"]["mean"] < 3
    assert replicate["attack"]["auc"]["value"] > 0.95
    assert replicate["controls"]["negative"]["p_value"] > 0.001
    assert replicate["controls"]["positive"]["auc"]["value"] > 0.9
    assert found.scores["member"].sum() == replicate["phrases"]["seen"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 10}, r"^preprocess.length: 10 words; allowed: 2..9"),
        ({"count": 31}, r"^preprocess.count: 31 phrases; allowed: 2..30, the values"),
        ({"attribute": "town"}, r"^preprocess.attribute: 'town': no attribute of t"),
    ],
)
def test_bad_input_is_refused(
    place: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        derive({**STEP, **change}, open_dataset(place / "data"))


def test_no_phrases_are_refused(place: Path) -> None:
    inputs = {"data": [place / "data"], "models.0": [place / "b"]}
    with pytest.raises(UserError, match="t has no phrases; allowed: models on a data"):
        find(attack(place), inputs)


def test_no_attributes_are_refused(place: Path, tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "bare", inputs=np.zeros((4, 2), np.float32), labels=[0, 1, 0, 1],
        info={"name": "bare", "title": "Bare", "class_names": ["a", "b"]},
        settings={"source": "npz"},
    )  # fmt: skip
    inputs = {"data": [tmp_path / "bare"], "models.0": [place / "b"]}
    with pytest.raises(UserError, match="bare has no phrases; allowed: models on a"):
        find(attack(place), inputs)
