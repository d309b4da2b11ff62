"""Property inference: who holds what, what is kept of it, what is made of that."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.models.layers import dense
from whatelse.models.settings import Gru, Mlp, TextCnn
from whatelse.models.stacked import build, initial
from whatelse.properties.adversary_settings import Property, PropertyAdversary
from whatelse.properties.observe import (
    ADVERSARY,
    TARGET,
    Alternating,
    PropertyObserver,
    cast,
    cramers_v,
    has_property,
    pearson,
)
from whatelse.properties.pooling import pooled
from whatelse.records import read_json
from whatelse.training.adversary import Stage
from whatelse.training.blocks import load_block, load_tensors, save_tensors
from whatelse.training.device import resident
from whatelse.training.ensemble import TrainingData
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import Averaging, ByLot, Gradients
from whatelse.training.participants import Scene
from whatelse.training.program import Program, Rows, Vectors

SEED = 5
CPU = torch.device("cpu")
COLOUR = {"attribute": "colour", "values": ["red"]}
ADVERSARY_SPEC = {"kind": "property", "property": COLOUR, "control_every": 4}
SPEC = {
    "architecture": {"kind": "mlp", "hidden": [16], "activation": "relu"},
    "protocol": {
        "kind": "gradients", "iterations": 60, "batch_size": 8, "learning_rate": 0.1,
    },
    "participants": 2, "adversary": ADVERSARY_SPEC, "seed": SEED, "replicate": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes by the first feature; a colour by the second, nothing to do with it.

    One record in four is red.
    """
    folder = tmp_path_factory.mktemp("data") / "toy"
    rng = np.random.default_rng(4)
    inputs = rng.random((400, 12), dtype=np.float32)
    red = np.arange(400) % 4 == 0
    inputs[:, 1] = np.where(red, 2.0, 0.0)
    write_dataset(
        folder,
        inputs=inputs,
        labels=(inputs[:, 0] > 0.5).astype(np.int64),
        info={"name": "toy", "title": "Toy", "class_names": ["low", "high"]},
        settings={"source": "npz"},
        attributes={"colour": np.where(red, "red", "blue").tolist()},
    )
    return folder


def stage(data: Path, count: int = 2, batch: int = 8) -> Stage:
    dataset = open_dataset(data)
    rows = np.arange(320)
    held_out = np.arange(320, 400)
    protocol = Gradients(
        kind="gradients", iterations=60, batch_size=batch, learning_rate=0.1
    )
    return Stage(dataset, rows, held_out, count, protocol, ByLot(), SEED, ("t",))


def adversary(**changes: Any) -> dict[str, Any]:
    return {**ADVERSARY_SPEC, **changes}


LOT = np.random.default_rng(0)


def reds(rows: Rows) -> int:
    return int((rows % 4 == 0).sum())


@pytest.mark.parametrize("count", [2, 5])
def test_target_and_adversary_alone_hold_the_property(data: Path, count: int) -> None:
    people = cast(adversary(), stage(data, count)).participants
    assert len(people) == count
    every = np.concatenate([person.rows for person in people])
    assert sorted(every) == list(range(320))  # nothing twice, nothing left
    assert reds(people[TARGET].rows) == reds(people[ADVERSARY].rows) == 40
    assert not sum(reds(person.rows) for person in people[2:])


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_every_second_batch_has_the_property(data: Path, fraction: float) -> None:
    target = cast(adversary(fraction=fraction), stage(data)).participants[TARGET]
    assert isinstance(target, Alternating)
    for t in range(20):
        batch = target.batch(t, 8)
        assert len(batch) == 8
        assert set(batch) <= set(target.rows)
        assert reds(batch) == (8 * fraction if t % 2 == 0 else 0)
        assert target.has_it(t) == (t % 2 == 0)


def test_a_property_may_come_and_go(data: Path) -> None:
    made = cast(adversary(every=3, during=[6, 18]), stage(data))
    target = made.participants[TARGET]
    assert [t for t in range(20) if reds(target.batch(t, 8))] == [6, 9, 12, 15]


class Spy:
    """A scene that notes which records updates were asked of."""

    def __init__(self, scene: Scene) -> None:
        self.asked: list[Rows] = []
        self.number, self.model = scene.number, scene.model
        self.noise = scene.noise
        self._scene = scene

    def each(self, batches: Sequence[Rows]) -> list[Vectors]:
        self.asked += batches
        return self._scene.each(batches)

    def total(self, batches: Sequence[Rows]) -> Vectors:
        self.asked += batches
        return self._scene.total(batches)


class Watched(PropertyObserver):
    """Looks through a spy."""

    asked: list[Rows]
    others: list[Vectors]

    def look(self, scene: Scene, others: Vectors) -> None:
        spy = Spy(scene)
        super().look(spy, others)  # type: ignore[arg-type]
        self.asked += spy.asked
        self.others.append({k: v.clone() for k, v in others.items()})


def watched(data: Path, count: int, **changes: Any) -> tuple[Watched, Any]:
    here = stage(data, count)
    made = cast(adversary(**changes), here)
    assert isinstance(made.observer, PropertyObserver)
    made.observer.__class__ = Watched
    observer: Any = made.observer
    observer.asked, observer.others = [], []
    net = build(Mlp(kind="mlp", hidden=(16,)), (12,), 2)
    settings = Gradients(
        kind="gradients", iterations=20, batch_size=8, learning_rate=0.1
    )
    collaborate(
        net, settings, resident(here.dataset, CPU), made.participants, seed=SEED,
        observer=observer,
    )  # fmt: skip
    return observer, made


@pytest.mark.parametrize("count", [2, 4])
def test_nothing_of_the_target_is_in_what_the_adversary_makes(
    data: Path, count: int
) -> None:
    observer, made = watched(data, count)
    own = set(made.participants[ADVERSARY].rows) | set(range(320, 400))
    assert observer.asked
    assert all(set(batch) <= own for batch in observer.asked)
    kept = observer.kept()
    assert kept["observed.has_it"].tolist() == [1, 0] * 10
    assert kept["observed.iteration"].tolist() == list(range(20))
    assert kept["auxiliary.has_it"].tolist() == [0, 1] * 20
    for row, others in zip(kept["observed.features"], observer.others, strict=True):
        torch.testing.assert_close(row, pooled(others, 4096))


def test_updates_are_held_once(data: Path) -> None:
    """What is stored is where they were put, not a copy of it."""
    observer, _ = watched(data, 2)
    first, second = observer.kept(), observer.kept()
    for kind, rows in observer._rows.items():
        name = f"{kind}.features"
        assert first[name].data_ptr() == second[name].data_ptr() == rows.data_ptr()
        assert first[name].is_contiguous()
    # room for the 60 iterations of the stage: two of its own each, four for controls
    assert len(observer._rows["auxiliary"]) == 120
    assert len(observer._rows["planted.fit"]) == 30


def test_averaging_shows_the_property_of_a_participants_records(
    data: Path, tmp_path: Path
) -> None:
    """P3 Fig. 9, by rounds of one run: the target holds the property in every other."""
    averaging = {
        "kind": "averaging", "rounds": 80, "batch_size": 8, "learning_rate": 0.1,
    }  # fmt: skip
    told = adversary(fraction=0.8)
    assert run(tmp_path, data, protocol=averaging, participants=3, adversary=told) == 0
    assert attack(tmp_path, data, "joint") == 0
    (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
    assert report["attack"]["auc"]["value"] > 0.8
    target = cast(told, stage(data, 3)).participants[TARGET]
    with_it, without = target.local(0), target.local(1)
    assert (reds(with_it), len(with_it)) == (40, 50)
    assert (reds(without), len(without)) == (0, 50)
    # fewer with it, where there are not as many others as that
    few = cast(adversary(fraction=0.25), stage(data, 3)).participants[TARGET]
    with_it, without = few.local(0), few.local(1)
    assert (reds(with_it), len(with_it), len(without)) == (20, 80, 80)


def test_a_run_with_the_property_is_told_from_one_without(
    data: Path, tmp_path: Path
) -> None:
    """P3 Fig. 9: the target's records have it in every round, or in none."""
    averaging = {
        "kind": "averaging", "rounds": 60, "batch_size": 8, "learning_rate": 0.1,
    }  # fmt: skip
    found = {}
    for absent in (False, True):
        told = adversary(fraction=0.8, every=1, absent=absent)
        name = f"absent-{absent}"
        assert (
            run(tmp_path, data, name, protocol=averaging, participants=3,
                adversary=told) == 0
        )  # fmt: skip
        assert attack(tmp_path, data, name) == 0
        metrics = read_json(tmp_path / "attack" / "metrics.json")
        assert "auc" not in metrics["summary"]
        found[absent] = metrics["summary"]["score_run"]["mean"]
        (report,) = metrics["replicates"]
        kind = "score_without" if absent else "score_with"
        assert report["attack"][kind] == found[absent]
    assert found[False] > found[True] + 0.3


def test_changes_count_alike_where_the_server_says_so(data: Path) -> None:
    weights = {}
    one = {"w": torch.tensor([[1.0]])}
    scene: Any = SimpleNamespace(
        number=1, noise=None, each=lambda rows: [one] * len(rows),
        total=lambda rows: one,
    )  # fmt: skip
    for rule in ("records", "equal"):
        protocol = Averaging(kind="averaging", rounds=60, batch_size=8, weights=rule)
        here = replace(stage(data, 3), protocol=protocol)
        made = cast(adversary(fraction=0.25), here)
        observer: Any = made.observer
        observer.look(scene, one)
        weights[rule] = observer.kept()["auxiliary.features"].flatten().tolist()
    assert weights["equal"] == [2, 2]
    # 80 records of its own, and an honest other's 80
    assert weights["records"] == pytest.approx([1 + 80 / 80] * 2)


@pytest.mark.parametrize("every", [1, 2, 3, 15, 20, 40])
def test_both_halves_of_the_stretches_have_the_property(every: int) -> None:
    chosen = PropertyAdversary.model_validate(adversary(every=every, control_every=4))
    chosen.refuse_too_short(240)
    with_it = [t // chosen.stretch() % 2 for t in range(240) if chosen.has_it(t)]
    assert set(with_it) == {0, 1}


def test_outside_of_its_time_nothing_is_told_apart(data: Path, tmp_path: Path) -> None:
    told = adversary(during=[20, 40])
    assert run(tmp_path, data, adversary=told) == 0
    assert attack(tmp_path, data, "joint") == 0
    (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
    scores = pd.read_parquet(tmp_path / "attack" / "scores.parquet")
    assert len(scores) == 60
    own = scores[scores["iteration"].between(20, 39)]
    assert own["has_it"].sum() == 10
    assert report["attack"]["score_without"] == pytest.approx(
        own["score"][~own["has_it"]].mean()
    )
    ranks = own["score"].rank()[own["has_it"]].sum()
    assert report["attack"]["auc"]["value"] == pytest.approx((ranks - 55) / 100)
    # what a ROC is drawn of, and what a time with the property is held against
    assert scores[scores["asked"]].equals(own)
    assert report["attack"]["score_outside"] == pytest.approx(
        scores["score"][~scores["asked"]].mean()
    )
    curve = pd.read_csv(tmp_path / "attack" / "curves.csv")
    rates = np.trapezoid(curve["tpr"], curve["fpr"])
    assert report["attack"]["auc"]["value"] == pytest.approx(rates)


def test_a_property_by_lot_is_not_inferred(data: Path, tmp_path: Path) -> None:
    """The negative control of a study: no record shows it."""
    found = []
    for replicate in range(4):
        told = adversary(property={"share": 0.5})
        protocol = {**SPEC["protocol"], "iterations": 200}  # type: ignore[dict-item]
        name = str(replicate)
        assert (
            run(tmp_path, data, name, adversary=told, protocol=protocol,
                replicate=replicate) == 0
        )  # fmt: skip
        assert attack(tmp_path, data, name) == 0
        metrics = read_json(tmp_path / "attack" / "metrics.json")
        found.append(metrics["summary"]["auc"]["mean"])
    assert abs(np.mean(found) - 0.5) < 0.1
    dataset = open_dataset(data)
    lot = [
        has_property(dataset, Property(share=0.3), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert lot[0].sum() == lot[2].sum() == 120
    assert (lot[0] == lot[1]).all()
    assert (lot[0] != lot[2]).any()


def test_an_author_is_with_one_participant_alone(data: Path, tmp_path: Path) -> None:
    """Also one who has records of both kinds."""
    dataset = open_dataset(data)
    author = np.arange(400) // 5  # with 1 or 2 reds among 5 records, or none
    author[np.arange(400) % 4 == 0] //= 2
    author += 1000 * (np.arange(400) % 4 == 2)  # some without any
    authors = tmp_path / "authors"
    write_dataset(
        authors, inputs=np.array(dataset.inputs), labels=dataset.labels,
        info=dataset.info, settings={"source": "npz"},
        attributes={
            "colour": dataset.attributes["colour"].tolist(),
            "author": author.astype(str).tolist(),
        },
    )  # fmt: skip
    people = cast(adversary(unit="author"), stage(authors, 4, batch=4)).participants
    every = np.concatenate([person.rows for person in people])
    assert sorted(every) == list(range(320))
    own = [set(author[person.rows]) for person in people]
    for number, mine in enumerate(own):
        assert mine
        assert all(not mine & other for other in own[number + 1 :])
    assert all(reds(person.rows) for person in people[:2])
    assert not sum(reds(person.rows) for person in people[2:])


def test_own_updates_get_a_background_of_honest_others(data: Path) -> None:
    """With n participants it is sums of n - 1 batches that are compared."""
    alone, _ = watched(data, 2)
    among, _ = watched(data, 5)
    # 2 examples an iteration, 8 for the controls at every fourth; 3 of a background
    assert len(alone.asked) == 20 * 2 + 5 * 8
    assert len(among.asked) == 20 * (2 + 3) + 5 * 8
    ours = among.kept()["auxiliary.features"].norm(dim=1).mean()
    theirs = among.kept()["observed.features"].norm(dim=1).mean()
    assert 0.7 < ours / theirs < 1.4


def test_the_active_attack_adds_the_property_to_its_loss(data: Path) -> None:
    here = stage(data)
    made = cast(adversary(alpha=0.75), here)
    mine = made.participants[ADVERSARY]
    assert mine.submit
    net = build(Mlp(kind="mlp", hidden=(16,), activation="relu"), (12,), 2)
    records = resident(here.dataset, CPU)
    rng = np.random.default_rng(0)
    model = {
        k: torch.from_numpy(rng.standard_normal(s, dtype=np.float32))
        for k, s in net.shapes.items()
    }
    program = Program(net, records, model)
    head = torch.zeros(2, 16)
    for t in range(3):
        scene = Scene(
            t, program.parameters, program.of_each,
            lambda b: program.of_sum(b)[0], lambda: program,
        )  # fmt: skip
        sent = mine.submit({}, scene)
        rows = torch.from_numpy(mine.batch(t, 8))
        leaves = {k: v.detach().clone().requires_grad_() for k, v in model.items()}
        head = head.detach().requires_grad_()
        hidden = torch.relu(
            dense(records.gather(rows)) @ leaves["0.weight"].t() + leaves["0.bias"]
        )
        task = functional.cross_entropy(
            hidden @ leaves["1.weight"].t() + leaves["1.bias"], records.labels[rows]
        )
        other = functional.cross_entropy(hidden @ head.t(), (rows % 4 == 0).long())
        loss = 0.25 * task + 0.75 * other
        found = torch.autograd.grad(loss, [*leaves.values(), head])
        for name, gradient in zip(leaves, found, strict=False):
            torch.testing.assert_close(sent[name], gradient, rtol=1e-4, atol=1e-6)
        head = head.detach() - 0.1 * found[-1]


@pytest.mark.parametrize(
    "settings",
    [
        TextCnn(kind="text-cnn", embedding=4, windows=(2,), filters=3),
        Gru(kind="gru", embedding=4, hidden=5),
    ],
    ids=["text-cnn", "gru"],
)
def test_the_active_attack_reads_words_too(data: Path, settings: Any) -> None:
    here = stage(data)
    mine = cast(adversary(alpha=0.75), here).participants[ADVERSARY]
    assert mine.submit
    net = build(settings, (12,), 2, words=9)
    inputs = torch.from_numpy(np.random.default_rng(0).integers(0, 10, (400, 12)))
    records = TrainingData(inputs, resident(here.dataset, CPU).labels)
    program = Program(net, records, initial(net, np.random.default_rng(1)))
    scene = Scene(
        0, program.parameters, program.of_each,
        lambda b: program.of_sum(b)[0], lambda: program,
    )  # fmt: skip
    sent = mine.submit({}, scene)
    # at the first its head is zero: what it sends is a part of the honest gradient
    honest, _ = program.of_sum([mine.batch(0, 8)])
    assert {k: v.shape for k, v in sent.items()} == net.shapes
    for name, value in honest.items():
        torch.testing.assert_close(sent[name], 0.25 * value, rtol=1e-4, atol=1e-7)


def test_what_is_kept_by_hand() -> None:
    update = {
        "conv.weight": torch.tensor([1.0, -5.0, 2.0, 0.0, 3.0, -4.0, 0.0, 0.0]).view(
            2, 1, 2, 2
        ),
        "conv.bias": torch.tensor([9.0]),
        "dense.weight": torch.tensor([[1.0, -7.0, 0.0], [2.0, 0.5, -0.5]]),
    }
    whole = [1, 5, 2, 0, 3, 4, 0, 0, 1, 7, 0, 2, 0.5, 0.5]
    assert pooled(update, 14).tolist() == whole
    # each filter and each row of a dense layer at its largest
    assert pooled(update, 13).tolist() == [5, 4, 7, 2]
    # then windows over all of it
    assert pooled(update, 3).tolist() == [5, 7]
    several = {"w": torch.arange(24.0).view(2, 3, 2, 2)}  # a filter for every input
    assert pooled(several, 9).tolist() == [3, 7, 11, 15, 19, 23]


def test_who_has_a_property(data: Path) -> None:
    dataset = open_dataset(data)
    found = has_property(dataset, Property.model_validate(COLOUR), LOT)
    assert np.flatnonzero(found).tolist() == list(range(0, 400, 4))
    own = has_property(dataset, Property(attribute="label", values=("high",)), LOT)
    assert (own == (dataset.labels == 1)).all()


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"attribute": "size", "values": ["s"]},
         "property.attribute: 'size': no attribute of toy; allowed: label, colour"),
        ({"attribute": "colour", "values": ["green"]},
         "property.values: ['green']: no records have one of them; allowed: some of "
         "blue, red"),
        ({"attribute": "colour", "values": ["red", "blue"]},
         "property.values: ['red', 'blue']: all records have one of them"),
    ],
)  # fmt: skip
def test_properties_that_are_none(data: Path, wanted: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        has_property(open_dataset(data), Property.model_validate(wanted), LOT)
    assert str(caught.value).startswith(line)


def test_cramers_v_by_hand() -> None:
    first = np.array([0, 0, 1, 1])
    assert cramers_v(first, first > 0) == pytest.approx(1)
    assert cramers_v(first, np.array([True, False, True, False])) == pytest.approx(0)
    # |Pearson's r| of two columns with two values each
    rng = np.random.default_rng(1)
    a, b = rng.random(500) < 0.3, rng.random(500) < 0.5
    b |= a
    assert cramers_v(a.astype(int), b) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_pearsons_r_by_hand() -> None:
    task = np.array([3, 3, 7, 7, 7])
    has = np.array([True, True, False, False, True])
    assert pearson(task, has) == pytest.approx(np.corrcoef(task, has)[0, 1])
    assert pearson(task, ~has) == pytest.approx(-np.corrcoef(task, has)[0, 1])
    assert pearson(np.array([0, 1, 2, 1, 1]), has) is None


def run(place: Path, data: Path, name: str = "joint", **changes: Any) -> int:
    spec = json.dumps({**SPEC, **changes})
    words = ["--data", str(data), "--out", str(place / name), "--device", "cpu"]
    words += ["--progress", str(place / f"{name}-progress")]
    return main(["collaborate", "--spec", spec, *words])


def attack(
    place: Path, data: Path, *joint: str, alone: str | None = None, **settings: Any
) -> int:
    told = {"kind": "properties.passive", **settings}
    spec = {"study": "s", "name": "a", "grid": {}, "seed": SEED, "settings": told}
    words = ["--input", "data", str(data), "--out", str(place / "attack")]
    for number, name in enumerate(joint):
        words += ["--input", f"observations.{number}", str(place / name)]
    if alone:
        words += ["--input", "alone.0", str(place / alone)]
    return main(["attack", "--spec", json.dumps(spec), *words])


@pytest.fixture(scope="module")
def joint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("joint")
    assert run(place, data) == 0
    assert attack(place, data, "joint") == 0
    return place


def test_what_is_asked_about_was_not_learned_from_at_the_same_iteration(
    joint: Path, data: Path, tmp_path: Path
) -> None:
    """Features that say which iteration they are of, and there the answer.

    Whoever learned from the iteration that is asked about knows all, others nothing.
    """
    shutil.copytree(joint / "joint", tmp_path / "joint")
    place = tmp_path / "joint" / "observations.safetensors"
    seen = load_tensors(place)
    for kind in ("auxiliary", "observed"):
        answer = 2 * seen[f"{kind}.iteration"] + seen[f"{kind}.has_it"]
        hot = functional.one_hot(answer.long(), num_classes=2 * 60)
        seen[f"{kind}.features"] = hot.float()
    alike = seen["observed.features"] @ seen["auxiliary.features"].T
    assert (alike.sum(1) == 1).all()  # one of the same iteration and kind, known to it
    save_tensors(place, seen)
    linear = {"kind": "logistic-regression"}
    assert attack(tmp_path, data, "joint", classifier=linear) == 0
    (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
    assert report["attack"]["auc"]["value"] == 0.5


def test_a_planted_property_is_inferred(joint: Path) -> None:
    metrics = read_json(joint / "attack" / "metrics.json")
    (report,) = metrics["replicates"]
    assert report["attack"]["auc"]["value"] > 0.95
    assert report["attack"]["score_with"] > report["attack"]["score_without"] + 0.3
    assert report["property"]["task_correlation"] < 0.15
    r = report["property"]["task_pearson"]
    assert abs(r) == pytest.approx(report["property"]["task_correlation"])
    assert metrics["summary"]["task_pearson"]["mean"] == r
    block = load_block(joint / "joint")
    labels = np.random.default_rng(4).random((400, 12), dtype=np.float32)[:, 0] > 0.5
    known, tested = labels[block.plan.train[0]], labels[block.plan.test[0]]
    majority = (tested == (known.mean() > 0.5)).mean()
    assert metrics["summary"]["task_majority"]["mean"] == pytest.approx(majority)
    assert report["controls"]["positive"]["auc"]["value"] > 0.9
    assert report["controls"]["negative"]["p_value"] > 0.001
    assert metrics["summary"]["auc"]["mean"] == report["attack"]["auc"]["value"]
    scores = pd.read_parquet(joint / "attack" / "scores.parquet")
    assert scores["iteration"].tolist() == list(range(60))
    assert scores["has_it"].tolist() == [True, False] * 30
    assert scores["score"].between(0, 1).all()


def test_logistic_regression_infers_it_too(joint: Path, data: Path) -> None:
    classifier = {"kind": "logistic-regression"}
    assert attack(joint, data, "joint", classifier=classifier) == 0
    (report,) = read_json(joint / "attack" / "metrics.json")["replicates"]
    assert report["attack"]["auc"]["value"] > 0.9


def test_which_words_moved_tells_a_property(tmp_path: Path) -> None:
    """P3's bag of words: a word in five is one of those who have the property.

    How far a row moves depends on much else, whether it moves on nothing else.
    """
    rng = np.random.default_rng(6)
    inputs = rng.integers(1, 101, (400, 10)).astype(np.uint16)
    red = np.arange(400) % 4 == 0
    inputs[red, :2] = rng.integers(101, 111, (red.sum(), 2))
    folder = tmp_path / "words"
    write_dataset(
        folder, inputs=inputs, labels=rng.integers(0, 2, 400),
        info={
            "name": "words", "title": "Words", "class_names": ["a", "b"],
            "vocabulary": [f"w{number}" for number in range(110)],
        },
        settings={"source": "blogs"},
        attributes={"colour": np.where(red, "red", "blue").tolist()},
    )  # fmt: skip
    net = {"kind": "gru", "embedding": 4, "hidden": 4}
    # every row of the embedding by itself, and the gates; or all of them pooled
    for name, most in (("all", 200), ("few", 16)):
        told = adversary(max_features=most)
        assert run(tmp_path, folder, name, architecture=net, adversary=told) == 0
    found = []
    for name, classifier in (
        ("all", "logistic-regression"), ("all", "random-forest"),
        ("few", "random-forest"),
    ):  # fmt: skip
        settings = {"classifier": {"kind": classifier}, "features": "moved"}
        assert attack(tmp_path, folder, name, **settings) == 0
        (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
        found.append(report["attack"]["auc"]["value"])
    assert min(found[:2]) > 0.99
    # a window moves as soon as one of its rows does
    assert found[2] < 0.9


def test_a_property_that_leaves_no_trace_is_not_inferred(
    data: Path, tmp_path: Path
) -> None:
    """Observed updates in which the colour was never seen by the net."""
    dataset = open_dataset(data)
    inputs = np.array(dataset.inputs)
    inputs[:, 1] = 0
    blind = tmp_path / "blind"
    write_dataset(
        blind, inputs=inputs, labels=dataset.labels, info=dataset.info,
        settings={"source": "npz"},
        attributes={"colour": dataset.attributes["colour"].tolist()},
    )  # fmt: skip
    protocol = {**SPEC["protocol"], "iterations": 200}  # type: ignore[dict-item]
    assert run(tmp_path, blind, protocol=protocol) == 0
    assert attack(tmp_path, blind, "joint") == 0
    (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
    assert report["attack"]["auc"]["low"] < 0.5 < report["attack"]["auc"]["high"]


def test_a_joint_model_is_a_block_and_repeats_to_the_byte(
    joint: Path, data: Path, tmp_path: Path
) -> None:
    block = load_block(joint / "joint")
    about = read_json(joint / "joint" / "collaboration.json")
    assert about["participants"] == [160, 160]
    assert about["test_accuracy"]["value"] > 0.6
    assert int(block.plan.test.sum()) == 80
    assert run(tmp_path, data) == 0
    for name in ("record.json", "models.safetensors", "observations.safetensors"):
        ours, theirs = tmp_path / "joint" / name, joint / "joint" / name
        assert ours.read_bytes() == theirs.read_bytes()
    curve = (tmp_path / "joint" / "history.jsonl").read_text()
    assert len(curve.splitlines()) == 60
    # each round was written there when it was over
    assert (tmp_path / "joint-progress" / "history.jsonl").read_text() == curve
    # another replicate is another draw
    assert run(tmp_path, data, "other", replicate=1) == 0
    other = load_block(tmp_path / "other")
    assert (other.plan.test != block.plan.test).any()


def test_without_an_adversary_nothing_is_kept(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip  # noqa: E501
    protocol = {"kind": "averaging", "rounds": 2, "batch_size": 8}
    assert run(tmp_path, data, adversary=None, participants=7, protocol=protocol) == 0
    assert load_tensors(tmp_path / "joint" / "observations.safetensors") == {}
    assert attack(tmp_path, data, "joint") == 2
    assert "an adversary of kind property" in capsys.readouterr().err


def test_accuracy_without_an_adversary_stands_beside(
    joint: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(joint / "joint", tmp_path / "joint")
    assert run(tmp_path, data, "alone", adversary=None) == 0
    assert attack(tmp_path, data, "joint", alone="alone") == 0
    summary = read_json(tmp_path / "attack" / "metrics.json")["summary"]
    expected = read_json(tmp_path / "alone" / "collaboration.json")["test_accuracy"]
    assert summary["alone_test_accuracy"]["mean"] == expected["value"] > 0.6


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"participants": 400}, "participants: 400 of 320 records; allowed: 2..320"),
        ({"participants": 60, "adversary": ADVERSARY_SPEC}, "batch_size: 8, 8 of"),
        ({"adversary": {"kind": "spy"}}, "adversary.kind: 'spy'; allowed: property"),
        ({"architecture": {"kind": "mlp", "hidden": [32] * 5, "activation": "relu"},
          "protocol": {"kind": "gradients", "iterations": 40, "learning_rate": 900.0},
          "adversary": None},
         "protocol.learning_rate: replicate 0 diverged"),
        ({"protocol": {"kind": "averaging", "rounds": 60},
          "adversary": adversary(alpha=0.5)}, "adversary.alpha: 0.5; allowed with"),
        ({"protocol": {"kind": "averaging", "rounds": 60},
          "adversary": adversary(examples=2)}, "adversary.examples: 2; allowed with"),
        ({"protocol": {"kind": "gradients", "iterations": 8}},
         "iterations: 8, of which 8 are looked at and 2 have controls"),
        ({"adversary": adversary(first=60)}, "of which 0 are looked at"),
        ({"adversary": adversary(during=[60, 70])},
         "adversary.during: [60, 70]; allowed: up to 60"),
        ({"adversary": adversary(during=[0, 20], first=20, control_every=2)},
         "looked at from 20 to 60; allowed: batches of either kind in the even and"),
        ({"adversary": adversary(during=[0, 10])}, "adversary.during: [0, 10], one"),
        ({"adversary": adversary(every=40)}, "60 are looked at and 15 have controls; "
         "allowed: at least 80 and 13"),
        ({"adversary": adversary(property={"share": 0.001})},
         "property.share: 0.001 of 400 records; allowed: at least one"),
        ({"adversary": adversary(unit="colour")},
         "adversary.unit: 'colour': 1 values with the property, 1 without; allowed: at "
         "least 2 and 2"),
        ({"protocol": {"kind": "averaging", "rounds": 60, "selected": 2},
          "participants": 3}, "protocol.selected: 2; allowed with an adversary that"),
        ({"protocol": {"kind": "averaging", "rounds": 60,
                       "defence": {"kind": "median"}}},
         "protocol.defence: median; allowed with an adversary that"),
        ({"adversary": adversary(max_features=10_000_000)}, "adversary.max_features"),
        ({"adversary": adversary(property={"attribute": "x", "values": [1]})},
         "property.attribute: 'x'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    data: Path, tmp_path: Path, changes: dict[str, Any], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(tmp_path, data, **changes) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not (tmp_path / "joint").exists()


def test_observations_that_are_not_whole_are_refused(
    joint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(joint / "joint", tmp_path / "joint")
    place = tmp_path / "joint" / "observations.safetensors"
    seen = load_tensors(place)
    one_kind = torch.ones_like(seen["observed.has_it"])
    save_tensors(place, {**seen, "observed.has_it": one_kind})
    assert attack(tmp_path, data, "joint") == 2
    assert "every observed batch is of one kind" in capsys.readouterr().err
    del seen["random.fit.features"]
    save_tensors(place, seen)
    assert attack(tmp_path, data, "joint") == 2
    assert "no random.fit.features" in capsys.readouterr().err


def test_the_control_by_lot_raises_no_false_alarm(data: Path, tmp_path: Path) -> None:
    """Its p-values are spread out, though records are drawn again and again."""
    values = []
    for replicate in range(12):
        assert run(tmp_path, data, str(replicate), replicate=replicate) == 0
        assert attack(tmp_path, data, str(replicate)) == 0
        (report,) = read_json(tmp_path / "attack" / "metrics.json")["replicates"]
        values.append(report["controls"]["negative"]["p_value"])
    assert min(values) > 0.002
    assert sum(value < 0.2 for value in values) <= 6


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="from must be before to"):
        PropertyAdversary.model_validate(adversary(during=[9, 3]))
    with pytest.raises(ValueError, match="needs attribute and values, or share"):
        Property(attribute="colour")
    with pytest.raises(ValueError, match=r"share: 0.5; allowed beside attribute"):
        Property(attribute="colour", values=("red",), share=0.5)
