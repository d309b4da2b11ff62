"""Members by the words that move: what the adversary keeps, and what is made of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.datasets.vocabulary import bags_of_words, vocabulary_of
from whatelse.errors import UserError
from whatelse.models.settings import Gru
from whatelse.models.stacked import build
from whatelse.properties.membership import coverage
from whatelse.properties.words import ADVERSARY, cast
from whatelse.records import read_json
from whatelse.training.adversary import Stage
from whatelse.training.blocks import load_tensors
from whatelse.training.device import resident
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import Averaging, ByLot, Gradients
from whatelse.training.observations import MEMBERS, OWN, SEEN, STRANGERS
from whatelse.training.program import Rows

SEED = 3
WORDS, LENGTH, RECORDS = 300, 12, 240
SPEC: dict[str, Any] = {
    "architecture": {"kind": "gru", "embedding": 8, "hidden": 8},
    "protocol": {
        "kind": "gradients", "iterations": 40, "batch_size": 8, "learning_rate": 0.1,
    },
    "participants": 2, "adversary": {"kind": "membership"}, "seed": SEED,
    "replicate": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of 4 to 12 words of 300, drawn by lot."""
    folder = tmp_path_factory.mktemp("data") / "words"
    rng = np.random.default_rng(1)
    inputs = rng.integers(1, WORDS + 1, (RECORDS, LENGTH)).astype(np.uint16)
    inputs[np.arange(LENGTH) >= rng.integers(4, LENGTH + 1, RECORDS)[:, None]] = 0
    write_dataset(
        folder,
        inputs=inputs,
        labels=rng.integers(0, 2, RECORDS),
        info={
            "name": "words", "title": "Words", "class_names": ["a", "b"],
            "vocabulary": [f"w{number}" for number in range(WORDS)],
        },
        settings={"source": "blogs"},
    )  # fmt: skip
    return folder


def words_of(data: Path, rows: Rows) -> set[int]:
    return set(np.unique(open_dataset(data).inputs[rows]).tolist()) - {0}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", ["gradients", "averaging"])
def test_the_words_kept_are_those_of_the_others_batches(
    data: Path, count: int, kind: str
) -> None:
    dataset = open_dataset(data)
    rows, held_out = np.arange(200), np.arange(200, RECORDS)
    averages = kind == "averaging"
    settings: Gradients | Averaging = Gradients(
        kind="gradients", iterations=6, batch_size=8, learning_rate=0.1
    )
    if averages:
        settings = Averaging(kind="averaging", rounds=6, batch_size=8)
    stage = Stage(dataset, rows, held_out, count, settings, ByLot(), SEED, ("t",))
    made = cast({"kind": "membership", "first": 2}, stage)
    people = made.participants
    net = build(Gru(kind="gru", embedding=8, hidden=8), (LENGTH,), 2, words=WORDS)
    assert sorted(np.concatenate([person.rows for person in people])) == list(rows)
    assert made.observer
    collaborate(
        net, settings, resident(dataset, torch.device("cpu")), people, seed=SEED,
        observer=made.observer,
    )  # fmt: skip
    kept = {name: tensor.numpy() for name, tensor in made.observer.kept().items()}
    bits = np.unpackbits(kept[SEEN], axis=1)[:, :WORDS]
    assert len(bits) == 4  # from the round asked for
    others = [n for n in range(count) if n != ADVERSARY]
    for number, found in enumerate(bits, start=2):
        batches = [
            people[n].rows if averages else people[n].batch(number, 8) for n in others
        ]
        expected = words_of(data, np.concatenate(batches))
        assert set((np.flatnonzero(found) + 1).tolist()) == expected
        assert len(expected) <= made.about["most_words"]
    assert sorted(kept[OWN]) == sorted(people[ADVERSARY].rows)
    # members are those who were there, in a round that was looked at
    there = [
        people[n].rows if averages else people[n].batch(number, 8)
        for n in others
        for number in range(2, 6)
    ]
    assert set(kept[MEMBERS]) == set(np.concatenate(there))
    assert kept[STRANGERS].tolist() == held_out.tolist()


def test_rows_of_a_tied_embedding_say_nothing(data: Path) -> None:
    rows, held_out = np.arange(200), np.arange(200, RECORDS)
    protocol = Gradients(kind="gradients", iterations=6, batch_size=8)
    stage = Stage(
        open_dataset(data), rows, held_out, 2, protocol, ByLot(), SEED, ("t",)
    )  # fmt: skip
    observer = cast({"kind": "membership", "first": 2}, stage).observer
    assert observer
    seen: Any = None  # refused before anything of the round is looked at
    moved = {"embedding.weight": torch.ones(3, 2), "output.bias": torch.ones(3)}
    with pytest.raises(UserError, match=r"no embedding of its own.*lstm with tied: fa"):
        observer.look(seen, moved)


def test_bags_and_coverage_by_hand() -> None:
    rows = np.array([[3, 1, 3, 0], [2, 2, 2, 2], [4, 3, 2, 1]], dtype=np.uint16)
    bags = bags_of_words(rows, 4)
    assert bags.toarray().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]]
    bits = np.array([[1, 0, 1, 0], [0, 0, 1, 1]], dtype=np.uint8)
    packed = np.packbits(bits, axis=1)
    assert coverage(bags, packed).tolist() == [1.0, 0.0, 0.5]
    # many rounds at once give what a loop does
    rng = np.random.default_rng(0)
    many = rng.integers(0, 2, (1100, 60), dtype=np.uint8)
    records = bags_of_words(rng.integers(0, 61, (50, 9)), 60)
    sets = [set(row.indices.tolist()) for row in records]
    by_hand = [
        max(len(own & set(np.flatnonzero(bit).tolist())) / len(own) for bit in many)
        for own in sets
    ]
    packed = np.packbits(many, axis=1)
    assert coverage(records, packed).tolist() == pytest.approx(by_hand)


def run(place: Path, data: Path, name: str = "joint", **changes: Any) -> int:
    spec = json.dumps({**SPEC, **changes})
    words = ["--data", str(data), "--out", str(place / name), "--device", "cpu"]
    words += ["--progress", str(place / f"{name}-progress")]
    return main(["collaborate", "--spec", spec, *words])


def attack(place: Path, data: Path, name: str = "joint", **settings: Any) -> int:
    told = {"kind": "properties.membership", **settings}
    spec = {"study": "s", "name": "a", "grid": {}, "seed": SEED, "settings": told}
    words = ["--input", "data", str(data), "--input", "observations.0"]
    out = ["--out", str(place / "attack")]
    return main(["attack", "--spec", json.dumps(spec), *words, str(place / name), *out])


def found(place: Path) -> dict[str, Any]:
    (report,) = read_json(place / "attack" / "metrics.json")["replicates"]
    assert isinstance(report, dict)
    return report


def test_whoever_was_in_a_batch_is_found(data: Path, tmp_path: Path) -> None:
    assert run(tmp_path, data) == 0
    assert attack(tmp_path, data) == 0
    report = found(tmp_path)
    assert report["attack"]["recall"]["value"] == 1
    assert report["attack"]["precision"]["value"] > 0.95
    assert report["attack"]["dense_rounds"] == 0
    assert report["controls"]["positive"]["auc"]["low"] > 0.75
    assert report["controls"]["negative"]["p_value"] > 0.01
    # the larger a batch, the more fits into it
    protocol = {**SPEC["protocol"], "batch_size": 90}
    assert run(tmp_path, data, "large", protocol=protocol) == 0
    assert attack(tmp_path, data, "large") == 0
    large = found(tmp_path)["attack"]
    assert large["recall"]["value"] == 1
    assert large["precision"]["value"] < 0.8


@pytest.mark.parametrize("why", ["weight decay", "noise"])
def test_a_dense_gradient_is_named(data: Path, tmp_path: Path, why: str) -> None:
    """The trap: every row moves, so everybody looks like a member."""
    more: dict[str, Any] = {"weight_decay": 1e-4}
    if why == "noise":
        more = {"privacy": {"clip": 1.0, "noise": 0.1}}
    assert run(tmp_path, data, protocol={**SPEC["protocol"], **more}) == 0
    assert attack(tmp_path, data) == 0
    report = found(tmp_path)
    assert report["attack"]["dense_rounds"] == 1
    assert report["attack"]["precision"]["value"] == 0.5
    metrics = read_json(tmp_path / "attack" / "metrics.json")
    assert "dense gradient" in json.dumps(metrics["dataset"]["remarks"])
    if why == "noise":
        about = read_json(tmp_path / "joint" / "collaboration.json")
        assert metrics["summary"]["epsilon"]["mean"] == about["privacy"]["epsilon"] > 1


def test_sharing_less_hides_some(data: Path, tmp_path: Path) -> None:
    protocol = {**SPEC["protocol"], "shared": 0.02}
    assert run(tmp_path, data, protocol=protocol) == 0
    assert attack(tmp_path, data) == 0
    assert found(tmp_path)["attack"]["recall"]["value"] < 0.8


def test_bad_input_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(line: str) -> None:
        (said,) = capsys.readouterr().err.splitlines()
        assert line in said

    flat = tmp_path / "flat"
    write_dataset(
        flat, inputs=np.ones((40, 3), np.float32), labels=np.arange(40) % 2,
        info={"name": "flat", "title": "Flat", "class_names": ["a", "b"]},
        settings={"source": "npz"},
    )  # fmt: skip
    with pytest.raises(UserError, match="no rows of word numbers"):
        vocabulary_of(open_dataset(flat))
    mlp = {"kind": "mlp", "hidden": [8]}
    assert run(tmp_path, flat, architecture=mlp) == 2
    refused("records of flat are no rows of word numbers")
    assert run(tmp_path, data, architecture=mlp) == 2
    refused("architecture: has no embedding")
    assert run(tmp_path, data, adversary={"kind": "membership", "first": 40}) == 2
    refused("adversary.first: 40; allowed: below 40")
    assert not (tmp_path / "joint").exists()
    assert run(tmp_path, data, "alone", adversary=None) == 0
    assert load_tensors(tmp_path / "alone" / "observations.safetensors") == {}
    assert attack(tmp_path, data, "alone") == 2
    refused("allowed: a joint model with an adversary of kind membership")
