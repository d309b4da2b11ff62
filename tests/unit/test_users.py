"""The audit of users: whose text did a language model learn from?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from core_samples import query_block, train_block, train_spec, training, words_of_users
from whatelse.cli import main
from whatelse.datasets.attributes import numbers_of
from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.membership.evaluate import evaluate
from whatelse.membership.settings import User
from whatelse.membership.user import Scorer
from whatelse.models.outputs import CONTROL, TARGET, Outputs, load_outputs
from whatelse.models.ranks import count_ranks, edges_of, ranks_of, right_of, shares
from whatelse.models.settings import Lstm, Ranks
from whatelse.training.blocks import load_block
from whatelse.training.next_word import language_model, targets_of

USERS, WINDOWS, LENGTH, WORDS = 40, 6, 8, 30
NET = Lstm(kind="lstm", embedding=24, hidden=24, layers=1)
RANKS: dict[str, Any] = {
    "kind": "ranks", "release": {"kind": "probabilities"}, "attribute": "author",
    "bins": 10, "scale": "linear",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who each repeat a phrase of their own, and what four models made of it."""
    place = tmp_path_factory.mktemp("users")
    rng = np.random.default_rng(5)
    phrases = rng.integers(3, WORDS + 1, (USERS, LENGTH + 1))
    rows = phrases.repeat(WINDOWS, 0)
    words_of_users(place / "data", rows[:, :-1], rows[:, -1], users=USERS, words=WORDS)
    spec = train_spec(
        architecture=NET.model_dump(), members=10, unit="author",
        training=training(
            loss="next-word", epochs=40, batch_size=8,
            optimizer={"kind": "adam", "learning_rate": 0.02},
        ).model_dump(mode="json"),
    )  # fmt: skip
    assert train_block(place, place / "data", "0:4", spec=spec) == 0
    return place


def test_authors_are_dealt_out_whole(place: Path) -> None:
    plan = load_block(place / "b").plan
    for rows in (plan.train, plan.test):
        whole = rows.reshape(4, USERS, WINDOWS)
        assert (whole.all(2) == whole.any(2)).all()
    assert (plan.train.sum(1) == 10 * WINDOWS).all()
    assert (plan.test.sum(1) == 20 * WINDOWS).all()
    assert not (plan.test[0] & (plan.train[1:] | plan.test[1:])).any()


def test_ranks_by_hand() -> None:
    answers = torch.tensor([[0.1, 0.5, 0.2, 0.2], [0.7, 0.1, 0.1, 0.1]])
    assert ranks_of(answers, torch.tensor([0, 2])).tolist() == [3, 1]
    assert ranks_of(answers, torch.tensor([1, 0])).tolist() == [0, 0]
    linear = edges_of(Ranks(**{**RANKS, "bins": 4}), 20)
    assert linear.tolist() == [5, 10, 15]
    log = edges_of(Ranks(**{**RANKS, "bins": 4, "scale": "log"}), 1000)
    np.testing.assert_allclose(log, [1, 10, 100])
    counts = count_ranks(torch.tensor([0, 5, 9, 19]), np.array([0, 0, 2, 2]), linear, 3)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    np.testing.assert_allclose(shares(counts)[0], [0.5, 0.5, 0, 0])
    assert shares(counts)[1].tolist() == [0, 0, 0, 0]
    assert right_of(torch.tensor([0, 1, 0]), np.array([1, 1, 1]), 2).tolist() == [0, 2]


def test_histograms_are_those_of_the_formulas(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data", **RANKS)])
    block, data = load_block(place / "b"), open_dataset(place / "data")
    model = language_model(block.architecture)
    target = outputs.of(outputs.model == TARGET)
    assert target.asked is not None
    assert target.right is not None
    for row, user in enumerate(target.record):
        own = slice(user * WINDOWS, (user + 1) * WINDOWS)
        words = torch.from_numpy(np.array(data.inputs[own])).float()
        parameters = {name: value[:1] for name, value in block.parameters.items()}
        logits = model.all_logits(parameters, words[None])[0]
        targets = targets_of(words, torch.from_numpy(np.array(data.labels[own])))
        ranks = []
        for window in range(WINDOWS):
            for place_of in range(LENGTH):
                wanted = int(targets[window, place_of])
                order = logits[window, place_of].argsort(descending=True).tolist()
                ranks.append(order.index(wanted))
        counts = np.histogram(ranks, bins=10, range=(0, WORDS + 1))[0]
        assert target.asked[row] == len(ranks)
        assert target.right[row] == ranks.count(0)
        np.testing.assert_allclose(
            target.probabilities[row], counts / len(ranks), atol=1.5 / len(ranks)
        )
        assert target.member[row] == block.plan.train[0, own].all()
    assert target.member.sum() == 10
    control = outputs.of(outputs.model == CONTROL)
    np.testing.assert_array_equal(control.record, target.record)
    np.testing.assert_array_equal(control.member, target.member)


def test_labels_put_right_and_wrong_words_into_different_bins(place: Path) -> None:
    asked = {**RANKS, "release": {"kind": "label"}, "bins": 2, "scale": "log"}
    assert edges_of(Ranks(**asked), WORDS + 1).tolist() == [1]
    outputs = load_outputs([query_block(place, place / "data", **asked)])
    assert outputs.asked is not None
    assert outputs.right is not None
    share = outputs.right / outputs.asked
    np.testing.assert_allclose(outputs.probabilities[:, 0], share, rtol=1e-6)
    np.testing.assert_allclose(outputs.probabilities[:, 1], 1 - share, atol=1e-6)
    found = evaluate(
        Scorer, User(kind="membership.user"), [outputs], needs_shadows=True, seed=1
    )
    # the phrases were learned by heart: what comes first is enough
    assert found.metrics["replicates"][0]["attack"]["auc"]["value"] > 0.9


def test_who_was_learned_from_is_told(place: Path) -> None:
    """Phrases were learned by heart, so the audit must find nearly everybody."""
    outputs = load_outputs([query_block(place, place / "data", **RANKS)])
    found = evaluate(
        Scorer, User(kind="membership.user"), [outputs], needs_shadows=True, seed=1
    )
    (replicate,) = found.metrics["replicates"]
    assert replicate["attack"]["auc"]["value"] > 0.9
    assert replicate["controls"]["negative"]["auc"]["value"] < 0.8
    assert replicate["controls"]["positive"]["auc"]["value"] > 0.9
    # of words, not of users
    trained = replicate["target"]["train_accuracy"]["value"]
    assert trained > replicate["target"]["test_accuracy"]["value"] + 0.3


def test_nothing_is_told_of_what_was_not_learned() -> None:
    rng = np.random.default_rng(2)

    def histograms(model: int, count: int) -> Outputs:
        return Outputs(
            np.full(count, model), np.arange(count), np.zeros(count, np.int64),
            np.arange(count) % 2 == 0, rng.dirichlet(np.ones(8), count).astype("f"), {},
        )  # fmt: skip

    scorer = Scorer(User(kind="membership.user"), histograms(1, 400), seed=1, name=(0,))
    rows = histograms(0, 400)
    assert 0.4 < roc_auc_score(rows.member, scorer.score(rows)) < 0.6


def test_a_part_of_a_user_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = train_spec(
        architecture=NET.model_dump(), members=40,
        training=training(loss="next-word", epochs=1).model_dump(mode="json"),
    )  # fmt: skip
    assert train_block(place, place / "data", "0:1", spec=spec, name="rows") == 0
    arguments = [
        "query", "--spec", json.dumps(RANKS), "--data", str(place / "data"),
        "--block", str(place / "rows"), "--out", str(place / "no"), "--device", "cpu",
    ]  # fmt: skip
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "learned from a part of '" in said
    assert "allowed: models with unit: author" in said


def test_no_such_attribute_is_refused(place: Path) -> None:
    spec = train_spec(unit="town")
    assert train_block(place, place / "data", "0:1", spec=spec, name="bad") == 2
    with pytest.raises(UserError, match=r"^unit: 'town': no attribute of t; allowed"):
        numbers_of(open_dataset(place / "data"), "town", "unit")
